-- Settles jobs that are done and have a partition, and lets those go that were behind them.
-- Repeating it is harmless: what was settled is gone, and lets nobody go a second time.
-- KEYS: stream, idle, partitions, blocked
-- ARGV: group, consumer, then for each entry: id, deliveries, partition
-- Answers for each entry: 1 settled, 0 held by another, -1 gone.
local stream, group, consumer = KEYS[1], ARGV[1], ARGV[2]
local at = { stream = stream, heads = KEYS[3], blocked = KEYS[4] }
local codes, moved = {}, 0
local found = pending_between(stream, group, consumer, ARGV[3], ARGV[#ARGV - 2], (#ARGV - 2) / 3)
for i = 3, #ARGV, 3 do
  local id, deliveries, partition = unpack(ARGV, i, i + 2)
  local code = standing(stream, group, id, consumer, deliveries, found)
  codes[#codes + 1] = code
  if code == HELD then
    remove(stream, group, id)
    found[id] = nil
    moved = moved + leave(at, partition, id)
  end
end
if moved > 0 then wake(KEYS[2], moved, now_ms()) end
return codes
