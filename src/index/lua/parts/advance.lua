-- Gives the chains a version they never had, in microseconds of the clock of Redis: after a
-- flush or a failover a plain counter would come by the same number again with other chains.
-- Workers are told by the change of the key or by the message, whichever they can hear.
local function advance(version)
  local time = redis.call('TIME')
  local before = tonumber(redis.call('GET', version) or 0)
  local after = string.format('%.0f', math.max(before + 1, time[1] * 1000000 + time[2]))
  redis.call('SET', version, after)
  redis.pcall('PUBLISH', version, after)
end
