-- Counts the clients of each server.
-- KEYS: servers
-- ARGV: how the names of the servers' numbers begin, subscriptions
-- Answers instance and sum of its numbers, one after the other, of every server that counts now.
local answer = {}
local now = string.format('%.0f', milliseconds())
for _, instance in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf')) do
  local clients = 0
  for _, number in ipairs(redis.call('HMGET', ARGV[1] .. instance, unpack(ARGV, 2))) do
    clients = clients + (tonumber(number or 0) or 0)
  end
  answer[#answer + 1] = instance
  answer[#answer + 1] = clients
end
return answer
