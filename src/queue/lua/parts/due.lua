-- Milliseconds until the first of a sorted set is due, a delayed job or the tick of a schedule: 0
-- when it is, -1 when there is none, or none that ever comes.
local function next_due(set, now)
  local first = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')
  if #first == 0 or tonumber(first[2]) >= 9e15 then return -1 end
  return math.max(0, tonumber(first[2]) - now)
end
