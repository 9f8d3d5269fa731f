-- Copies an entry to the dead letters: why and when, then everything the entry had. An entry
-- whose body an operator deleted leaves its reason alone.
local function bury(stream, dead, keep, id, reason, detail, deliveries, now)
  local entry = redis.call('XRANGE', stream, id, id)[1]
  redis.call('XADD', dead, 'MAXLEN', '~', keep, '*', 'reason', reason, 'detail', detail,
    'buried_at', now, 'entry', id, 'delivered', deliveries, unpack(entry and entry[2] or {}))
end
