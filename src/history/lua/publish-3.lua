-- Keeps a notification for those who come back and publishes it, as one step.
-- KEYS: head, channels, this channel's stream
-- ARGV: channel, its channel in Redis, payload, entries to keep, age in microseconds,
--   how long the index keeps a channel in microseconds, an epoch, should there be none
-- Answers how many subscribed connections Redis handed it to.
local now = microseconds()
local epoch, last = head_of(KEYS[1], ARGV[7], now)
local at = math.max(now, last + 1)
local text = string.format('%.0f', at)

-- What this channel had before tells a reader whether something is missing in between.
local before = redis.call('ZSCORE', KEYS[2], ARGV[1]) or '0'
local function keep()
  return redis.pcall('XADD', KEYS[3], 'MAXLEN', ARGV[4], text .. '-0', 'before', before, 'payload', ARGV[3])
end
local kept = keep()
if kept.err and string.find(kept.err, 'equal or smaller', 1, true) then
  -- Left over from a history that is gone, on a clock that went back since.
  redis.call('DEL', KEYS[3])
  kept = keep()
end
if kept.err then
  return kept
end

-- The payload is a JSON object. Its last brace makes room for the position.
local payload = string.sub(ARGV[3], 1, -2) .. ',"position":"' .. epoch .. '-' .. text .. '"}'
local receivers = redis.pcall('PUBLISH', ARGV[2], payload)
if type(receivers) == 'table' then
  redis.call('XDEL', KEYS[3], text .. '-0')
  return receivers
end

redis.call('XTRIM', KEYS[3], 'MINID', string.format('%.0f', at - ARGV[5]))
redis.call('PEXPIRE', KEYS[3], math.ceil(ARGV[5] / 1000))
redis.call('ZADD', KEYS[2], text, ARGV[1])
redis.call('HSET', KEYS[1], 'epoch', epoch, 'at', text)
if at % 16 < 1 then
  -- More leave than can come meanwhile, so the index ends at what is within its time.
  local old = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', at - ARGV[6]), 'LIMIT', 0, 32)
  if #old > 0 then
    redis.call('ZREM', KEYS[2], unpack(old))
  end
end
return receivers
