-- Stores a chain. Storing what is there already changes nothing, so repeating it is harmless.
-- KEYS: chains, version
-- ARGV: id, JSON
-- Answers 1 when there was none of that id.
local before = redis.call('HGET', KEYS[1], ARGV[1])
if before ~= ARGV[2] then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
  advance(KEYS[2])
end
return before and 0 or 1
