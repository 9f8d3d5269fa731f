-- Counts what is in the queue, in constant time, and ends a fullness that nobody noticed to be
-- over because nobody posted.
-- KEYS: stream, delayed, dead, full, blocked
-- ARGV: group, recovery
-- Answers: entries, those of them in workers' hands, delayed, blocked, dead, ms the oldest has
--          waited, 1 when full.
local now = now_ms()
local entries, delayed = redis.call('XLEN', KEYS[1]), redis.call('ZCARD', KEYS[2])
local blocked = redis.call('ZCARD', KEYS[5])
local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1])
if pending.err and not pending.err:find('NOGROUP', 1, true) then error(pending) end

local age = 0
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
if first then
  local at = head_of(first[2]).at or first[1]:match('^%d+')
  age = now - (tonumber(at) or now)
end
-- A delayed job waits on purpose; one that is overdue waits for a worker.
local due = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
if due then age = math.max(age, now - tonumber(due)) end

local full = redis.call('EXISTS', KEYS[4])
if full == 1 and entries + delayed + blocked <= tonumber(ARGV[2]) then
  redis.call('DEL', KEYS[4])
  full = 0
end
return { entries, pending.err and 0 or pending[1], delayed, blocked, redis.call('XLEN', KEYS[3]),
  math.max(0, age), full }
