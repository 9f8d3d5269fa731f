-- Puts jobs into the queue, all or none. Repeating it is harmless for every job that has a
-- dedup entry: it finds the entry and makes no second job.
-- KEYS: stream, delayed, idle, full, start of the dedup keys (they share its hash tag)
-- ARGV: critical, recovery, dedup window in ms,
--       then for each job: dedup hash or '', id, type, traceparent or '', body
-- Answers 0 when the queue is full, else 1 (duplicate) or 0 (new) for each job.
local critical, recovery, window = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local depth = redis.call('XLEN', KEYS[1]) + redis.call('ZCARD', KEYS[2])
local now = now_ms()

if redis.call('EXISTS', KEYS[4]) == 1 then
  if depth > recovery then return 0 end
  redis.call('DEL', KEYS[4])
elseif depth >= critical then
  redis.call('SET', KEYS[4], now)
  return 0
end

local duplicates, added = {}, 0
for i = 4, #ARGV, 5 do
  local hash, id, kind, traceparent, body = unpack(ARGV, i, i + 4)
  if hash ~= '' and not redis.call('SET', KEYS[5] .. hash, 1, 'PX', window, 'NX') then
    duplicates[#duplicates + 1] = 1
  else
    local fields = { 'id', id, 'type', kind, 'at', now, 'attempt', 1, 'deliveries', 0, 'body', body }
    if traceparent ~= '' then
      fields[#fields + 1] = 'traceparent'
      fields[#fields + 1] = traceparent
    end
    redis.call('XADD', KEYS[1], '*', unpack(fields))
    duplicates[#duplicates + 1] = 0
    added = added + 1
  end
end

if depth + added >= critical then redis.call('SET', KEYS[4], now) end
if added > 0 then wake(KEYS[3], added, now) end
return duplicates
