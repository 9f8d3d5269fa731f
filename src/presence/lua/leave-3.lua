-- Takes the numbers of a server away.
-- KEYS: servers, this server's numbers, the numbers that are to take their place
-- ARGV: the instance
redis.call('DEL', KEYS[2], KEYS[3])
redis.call('ZREM', KEYS[1], ARGV[1])
