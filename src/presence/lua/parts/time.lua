-- The clock of Redis is everybody's, in milliseconds.
local function milliseconds()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- A server's numbers count for so long. Those whose time has passed go.
local function count_until(servers, instance, lasts)
  local now = milliseconds()
  redis.call('ZREMRANGEBYSCORE', servers, '-inf', string.format('%.0f', now))
  redis.call('ZADD', servers, string.format('%.0f', now + lasts), instance)
end

