-- Finds entries that Redis holds for this consumer and the consumer has never seen: the answer
-- that carried them was lost. It changes nothing.
-- KEYS: stream
-- ARGV: group, consumer, count, then the ids of the entries it has in hand
-- Answers: now, then for each entry: id, deliveries, fields.
local stream, group, consumer, count = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local known = {}
for i = 4, #ARGV do known[ARGV[i]] = true end

local found = {}
-- Those in hand and as many again as are asked for: more cannot be of use.
local pending = redis.pcall('XPENDING', stream, group, '-', '+', #ARGV - 3 + count, consumer)
if pending.err then
  if not pending.err:find('NOGROUP', 1, true) then error(pending) end
  pending = {}
end
for _, one in ipairs(pending) do
  local entry = not known[one[1]] and #found < count and redis.call('XRANGE', stream, one[1], one[1])[1]
  if entry then found[#found + 1] = { one[1], one[4], entry[2] } end
end
return { now_ms(), found }
