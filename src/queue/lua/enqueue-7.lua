-- Puts jobs into the queue, all or none. Repeating it is harmless for every job that has a
-- dedup entry: it finds the entry and makes no second job.
-- KEYS: stream, delayed, idle, full, start of the dedup keys (they share its hash tag),
--       partitions, blocked
-- ARGV: critical, recovery,
--       then for each job: dedup hash or '', ms its entry lasts, id, type, traceparent or '',
--       Unix ms before which it is not to be done, partition or '', body
-- Answers 0 when the queue is full, else 1 (duplicate) or 0 (new) for each job.
local critical, recovery = tonumber(ARGV[1]), tonumber(ARGV[2])
local now = now_ms()

local duplicates, fresh, seen = {}, {}, {}
for i = 3, #ARGV, 8 do
  local hash = ARGV[i]
  local known = hash ~= '' and (seen[hash] or redis.call('EXISTS', KEYS[5] .. hash) == 1)
  seen[hash] = true
  duplicates[#duplicates + 1] = known and 1 or 0
  if not known then fresh[#fresh + 1] = i end
end
-- A full queue still knows what it has: a repeat needs no room.
if #fresh == 0 then return duplicates end

local depth = room(KEYS[1], KEYS[2], KEYS[7], KEYS[4], critical, recovery, now)
if not depth then return 0 end

-- The jobs for later go first: who may not write to the delayed set learns it before anything is
-- there that would make a repeat look like a duplicate.
local first = tonumber(redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]) or math.huge
local at = { stream = KEYS[1], delayed = KEYS[2], heads = KEYS[6], blocked = KEYS[7] }
local at_once, moved, sooner = {}, 0, 0
local function put(i)
  local hash, window, id, kind, traceparent, due, partition, body = unpack(ARGV, i, i + 7)
  due = tonumber(due)
  -- Its age begins when it is due: until then it waits on purpose.
  local fields = { 'job', table.concat({ id, kind, math.max(now, due), 1, 0 }, ' '), 'body', body }
  if traceparent ~= '' then
    fields[#fields + 1] = 'traceparent'
    fields[#fields + 1] = traceparent
  end
  if partition ~= '' then
    fields[#fields + 1] = 'partition'
    fields[#fields + 1] = partition
  end
  if due > now then
    redis.call('ZADD', KEYS[2], due, cmsgpack.pack(fields))
    -- Parked workers know when the first of the delayed was due, and would sleep until then.
    if due < first then sooner = 1 end
  elseif partition ~= '' then
    moved = moved + enter(at, partition, fields)
  else
    redis.call('XADD', KEYS[1], '*', unpack(fields))
    moved = moved + 1
  end
  if hash ~= '' then redis.call('SET', KEYS[5] .. hash, 1, 'PX', window) end
end
for _, i in ipairs(fresh) do
  if tonumber(ARGV[i + 5]) > now then put(i) else at_once[#at_once + 1] = i end
end
for _, i in ipairs(at_once) do put(i) end

if depth + #fresh >= critical then redis.call('SET', KEYS[4], now) end
wake(KEYS[3], moved + sooner, now)
return duplicates
