-- Writes a part of all numbers of a server beside those that are there. With the last part they
-- take their place at once, so nobody ever counts a part.
-- KEYS: servers, this server's numbers, the numbers that are to take their place
-- ARGV: the instance, how long the numbers count in milliseconds, which part this is, of how many,
--   subscription and number, one after the other
-- Answers whether the parts before were there.
if ARGV[3] == '1' then
  redis.call('DEL', KEYS[3])
elseif redis.call('EXISTS', KEYS[3]) == 0 then
  return 0
end
redis.call('HSET', KEYS[3], unpack(ARGV, 5))
redis.call('PEXPIRE', KEYS[3], ARGV[2])
if ARGV[3] == ARGV[4] then
  redis.call('RENAME', KEYS[3], KEYS[2])
  count_until(KEYS[1], ARGV[1], ARGV[2])
end
return 1
