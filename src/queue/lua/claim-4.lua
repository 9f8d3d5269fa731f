-- Takes jobs for one worker: moves due jobs into the stream, reads new entries and, when there
-- are fewer than asked for, parks the worker. One script, so that no job can arrive between
-- the last look and the parking. What it read stays pending for the consumer: when the answer
-- is lost, recover finds it.
-- KEYS: stream, delayed, idle, ticks
-- ARGV: group, consumer, count, member of the idle set or '' not to park, how long it stays
--       there in ms, how many due jobs to move at most
-- Answers: now, ms until the next job is due or -1, the same of the next tick of a schedule, entries.
local stream, delayed, idle = KEYS[1], KEYS[2], KEYS[3]
local group, consumer, count, member = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local now = now_ms()

-- What is not a packed entry goes into the stream as it is, and from there to the dead letters:
-- an error here would be met again by every claim.
local function fields_of(packed)
  local read, fields = pcall(cmsgpack.unpack, packed)
  local ours = read and type(fields) == 'table' and #fields > 0 and #fields <= 64
  return ours and #fields % 2 == 0 and fields or { 'unreadable', packed }
end

-- Without memory nothing can be moved, but taking jobs is what gives memory back: hence pcall.
local moved, stalled = 0, false
for _, packed in ipairs(redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, ARGV[6])) do
  local added = redis.pcall('XADD', stream, '*', unpack(fields_of(packed)))
  if type(added) == 'table' and added.err then
    stalled = true
    break
  end
  redis.call('ZREM', delayed, packed)
  moved = moved + 1
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
