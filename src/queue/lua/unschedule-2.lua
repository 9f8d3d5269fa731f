-- Removes a schedule.
-- KEYS: schedules, ticks
-- ARGV: id
-- Answers 1 when there was one.
redis.call('ZREM', KEYS[2], ARGV[1])
return redis.call('HDEL', KEYS[1], ARGV[1])
