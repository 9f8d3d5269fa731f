-- Stores a schedule. One that is there already keeps its tick, so repeating it is harmless.
-- KEYS: schedules, ticks, idle
-- ARGV: id, JSON, its next tick in Unix ms, how many schedules there may be, what counts as never
-- Answers: 1 when there was none of that id, 0 when there was, -1 when there are too many; its tick.
local schedules, ticks, id = KEYS[1], KEYS[2], ARGV[1]
local before, tick = redis.call('HGET', schedules, id), redis.call('ZSCORE', ticks, id)
if before == ARGV[2] and tick and tonumber(tick) < tonumber(ARGV[5]) then return { 0, tick } end
if not before and redis.call('ZCARD', ticks) >= tonumber(ARGV[4]) then return { -1, ARGV[3] } end

local first = tonumber(redis.call('ZRANGE', ticks, 0, 0, 'WITHSCORES')[2]) or math.huge
redis.call('ZADD', ticks, ARGV[3], id)
redis.call('HSET', schedules, id, ARGV[2])
-- Parked workers know when the first tick was due, and would sleep until then.
if tonumber(ARGV[3]) < first then wake(KEYS[3], 1, now_ms()) end
return { before and 0 or 1, ARGV[3] }
