-- Puts jobs into the queue, all or none. Repeating it is harmless for every job that has a
-- dedup entry: it finds the entry and makes no second job.
-- KEYS: stream, delayed, idle, full, start of the dedup keys (they share its hash tag)
-- ARGV: critical, recovery,
--       then for each job: dedup hash or '', ms its entry lasts, id, type, traceparent or '', body
-- Answers 0 when the queue is full, else 1 (duplicate) or 0 (new) for each job.
local critical, recovery = tonumber(ARGV[1]), tonumber(ARGV[2])
local now = now_ms()

local duplicates, fresh, seen = {}, {}, {}
for i = 3, #ARGV, 6 do
  local hash = ARGV[i]
  local known = hash ~= '' and (seen[hash] or redis.call('EXISTS', KEYS[5] .. hash) == 1)
  seen[hash] = true
  duplicates[#duplicates + 1] = known and 1 or 0
  if not known then fresh[#fresh + 1] = i end
end
-- A full queue still knows what it has: a repeat needs no room.
if #fresh == 0 then return duplicates end

local depth = redis.call('XLEN', KEYS[1]) + redis.call('ZCARD', KEYS[2])
if redis.call('EXISTS', KEYS[4]) == 1 then
  if depth > recovery then return 0 end
  redis.call('DEL', KEYS[4])
elseif depth >= critical then
  redis.call('SET', KEYS[4], now)
  return 0
end

for _, i in ipairs(fresh) do
  local hash, window, id, kind, traceparent, body = unpack(ARGV, i, i + 5)
  if hash ~= '' then redis.call('SET', KEYS[5] .. hash, 1, 'PX', window) end
  local fields = { 'job', table.concat({ id, kind, now, 1, 0 }, ' '), 'body', body }
  if traceparent ~= '' then
    fields[#fields + 1] = 'traceparent'
    fields[#fields + 1] = traceparent
  end
  redis.call('XADD', KEYS[1], '*', unpack(fields))
end

if depth + #fresh >= critical then redis.call('SET', KEYS[4], now) end
wake(KEYS[3], #fresh, now)
return duplicates
