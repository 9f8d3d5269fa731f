-- Removes a chain.
-- KEYS: chains, version
-- ARGV: id
-- Answers 1 when there was one.
local removed = redis.call('HDEL', KEYS[1], ARGV[1])
if removed == 1 then advance(KEYS[2]) end
return removed
