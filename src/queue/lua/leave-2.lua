-- A worker leaves: nobody wakes it any more, and its name goes unless jobs are pending for it.
-- KEYS: stream, idle
-- ARGV: group, consumer, member of the idle set
local stream, group, consumer = KEYS[1], ARGV[1], ARGV[2]
-- When it is not there, it may have been woken a moment ago for a job that another must take.
if redis.call('ZREM', KEYS[2], ARGV[3]) == 0 then wake(KEYS[2], 1, now_ms()) end
local pending = redis.pcall('XPENDING', stream, group, '-', '+', 1, consumer)
if not pending.err and #pending == 0 then redis.call('XGROUP', 'DELCONSUMER', stream, group, consumer) end
return 1
