-- Copies an entry to the dead letters: why and when, then everything the entry had. An entry
-- whose body an operator deleted leaves its reason alone. One that another hand made may have
-- more fields than Lua can pass on: the first 64 values are enough to know it by.
local function bury(stream, dead, keep, id, reason, detail, deliveries, now)
  local entry = redis.call('XRANGE', stream, id, id)[1]
  local fields = entry and entry[2] or {}
  redis.call('XADD', dead, 'MAXLEN', '~', keep, '*', 'reason', reason, 'detail', detail,
    'buried_at', now, 'entry', id, 'delivered', deliveries,
    unpack(fields, 1, math.min(#fields, 64)))
end
