-- Writes numbers of clients that have changed, or none, and renews the time for which they count.
-- KEYS: servers, this server's numbers
-- ARGV: the instance, how long the numbers count in milliseconds,
--   subscription and number, one after the other; zero takes the subscription out
-- Answers whether the numbers were there and are.
if redis.call('EXISTS', KEYS[2]) == 0 then
  return 0
end
for i = 3, #ARGV, 2 do
  if ARGV[i + 1] == '0' then
    redis.call('HDEL', KEYS[2], ARGV[i])
  else
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
  end
end
if redis.call('PEXPIRE', KEYS[2], ARGV[2]) == 0 then
  -- Nobody hears anything any more.
  redis.call('ZREM', KEYS[1], ARGV[1])
  return 0
end
count_until(KEYS[1], ARGV[1], ARGV[2])
return 1
