-- Takes jobs for one worker: moves due jobs into the stream, reads new entries and, when there
-- are fewer than asked for, parks the worker. One script, so that no job can arrive between
-- the last look and the parking. What it read stays pending for the consumer: when the answer
-- is lost, recover finds it.
-- KEYS: stream, delayed, idle, ticks, partitions, blocked
-- ARGV: group, consumer, count, member of the idle set or '' not to park, how long it stays
--       there in ms, how many due jobs to move at most
-- Answers: now, ms until the next job is due or -1, the same of the next tick of a schedule, entries.
local stream, delayed, idle = KEYS[1], KEYS[2], KEYS[3]
local group, consumer, count, member = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local at = { stream = stream, delayed = delayed, heads = KEYS[5], blocked = KEYS[6] }
local now = now_ms()

-- A job of a partition whose time has come. A retry keeps its place if it is the head, and any
-- other takes one at the end.
local function come(partition, fields, packed)
  local head = head_of(fields)
  local again = head.attempt ~= '1' or head.deliveries ~= '0'
  local due = string.format('d%.0f', redis.call('ZSCORE', delayed, packed))
  if not again or head_at(at, partition) ~= due then return enter(at, partition, fields) end
  lead(at, partition, fields)
  return 1
end

-- Without memory nothing can be moved, but taking jobs is what gives memory back: hence pcall.
local moved, stalled = 0, false
for _, packed in ipairs(redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, ARGV[6])) do
  local fields = fields_of(packed)
  local partition = partition_of(fields)
  local done, more = true, 1
  if partition then
    done, more = pcall(come, partition, fields, packed)
  else
    local added = redis.pcall('XADD', stream, '*', unpack(fields))
    done = not (type(added) == 'table' and added.err)
  end
  if not done then
    stalled = true
    break
  end
  redis.call('ZREM', delayed, packed)
  moved = moved + more
end

local function read()
  return redis.pcall('XREADGROUP', 'GROUP', group, consumer, 'COUNT', count, 'STREAMS', stream, '>')
end

local entries = {}
if count > 0 then
  local reply = read()
  if reply and reply.err then
    if not reply.err:find('NOGROUP', 1, true) then error(reply) end
    -- First start, or somebody flushed: begin with everything that is there.
    redis.call('XGROUP', 'CREATE', stream, group, '0', 'MKSTREAM')
    reply = read()
    if reply and reply.err then error(reply) end
  end
  if reply then entries = reply[1][2] end
end

if member ~= '' then
  if #entries < count then
    redis.pcall('ZADD', idle, now + ARGV[5], member)
  else
    redis.call('ZREM', idle, member)
  end
end
if moved > #entries then wake(idle, moved - #entries, now) end
return { now, stalled and 1000 or next_due(delayed, now), next_due(KEYS[4], now), entries }
