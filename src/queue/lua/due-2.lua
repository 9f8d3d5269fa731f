-- Looks for schedules whose tick is due. It changes nothing, but for ticks that have lost their
-- schedule.
-- KEYS: schedules, ticks
-- ARGV: how many at most
-- Answers: now, { id, tick, JSON } of each, ms until the next tick is due or -1.
local schedules, ticks = KEYS[1], KEYS[2]
local now, due = now_ms(), {}
local found = redis.call('ZRANGEBYSCORE', ticks, '-inf', now, 'WITHSCORES', 'LIMIT', 0, ARGV[1])
for i = 1, #found, 2 do
  local json = redis.call('HMGET', schedules, found[i])[1]
  if json then
    due[#due + 1] = { found[i], string.format('%.0f', found[i + 1]), json }
  else
    redis.call('ZREM', ticks, found[i])
  end
end
return { now, due, next_due(ticks, now) }
