-- Moves jobs to the dead letters, and lets those go that were behind them. Repeating it is
-- harmless: what was buried is no longer pending.
-- KEYS: stream, dead, idle, partitions, blocked
-- ARGV: group, consumer, dead letters kept, ms they are kept, then for each entry: id, deliveries,
--       deliveries in all, reason, detail
-- Answers for each entry: 1 buried, 0 held by another, -1 gone; then the dead letters that were
--         dropped because they are too many, and too old.
local stream, group, consumer, keep = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local at = { stream = stream, heads = KEYS[4], blocked = KEYS[5] }
local now = now_ms()
local codes, dropped, moved = {}, 0, 0
local found = pending_between(stream, group, consumer, ARGV[5], ARGV[#ARGV - 4], (#ARGV - 4) / 5)
for i = 5, #ARGV, 5 do
  local id, deliveries, total, reason, detail = unpack(ARGV, i, i + 4)
  local code = standing(stream, group, id, consumer, deliveries, found)
  codes[#codes + 1] = code
  if code == HELD then
    local fell, partition = bury(stream, KEYS[2], keep, id, reason, detail, total, now)
    remove(stream, group, id)
    found[id] = nil
    dropped = dropped + fell
    moved = moved + leave(at, partition, id)
  end
end
if moved > 0 then wake(KEYS[3], moved, now) end
codes[#codes + 1] = dropped
codes[#codes + 1] = expire(KEYS[2], ARGV[4], now)
return codes
