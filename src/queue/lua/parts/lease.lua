-- How a lease stands. The holder is the consumer together with the count of deliveries: a
-- takeover raises the count, so a consumer that lost an entry and got it again does not
-- settle it under the lease it lost.
local HELD, LOST, GONE = 1, 0, -1

local function standing(stream, group, id, consumer, deliveries)
  local pending = redis.pcall('XPENDING', stream, group, id, id, 1)
  if pending.err then
    if pending.err:find('NOGROUP', 1, true) then return GONE end
    error(pending)
  end
  if #pending == 0 then return GONE end
  if pending[1][2] == consumer and pending[1][4] == tonumber(deliveries) then return HELD end
  return LOST
end

local function remove(stream, group, ...)
  redis.call('XACK', stream, group, ...)
  redis.call('XDEL', stream, ...)
end
