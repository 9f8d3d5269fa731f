-- Deletes dead letters for good.
-- KEYS: dead
-- ARGV: the ids of the letters
-- Answers for each: 1 deleted, -1 not there.
local codes = {}
for i = 1, #ARGV do
  codes[i] = redis.call('XDEL', KEYS[1], ARGV[i]) == 1 and 1 or -1
end
return codes
