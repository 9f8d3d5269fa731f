-- How a lease stands. The holder is the consumer together with the count of deliveries: a
-- takeover raises the count, so a consumer that lost an entry and got it again does not
-- settle it under the lease it lost.
local HELD, LOST, GONE = 1, 0, -1

-- Deliveries by id of what is pending for the consumer between two entries. Whoever settles or
-- renews passes its entries in ascending order, so one look nearly always finds them all.
-- Twice as many as there are leave room for others in between; what they crowd out, like what
-- is not ours, is asked for alone.
local function pending_between(stream, group, consumer, first, last, entries)
  local found = {}
  local pending = redis.pcall('XPENDING', stream, group, first, last, 2 * entries, consumer)
  if pending.err then
    if pending.err:find('NOGROUP', 1, true) then return found end
    error(pending)
  end
  for _, one in ipairs(pending) do found[one[1]] = one[4] end
  return found
end

local function standing(stream, group, id, consumer, deliveries, found)
  if found[id] then return found[id] == tonumber(deliveries) and HELD or LOST end
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
