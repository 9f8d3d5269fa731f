-- Takes over entries whose worker stopped renewing its lease, buries those that were delivered
-- too often, drops dead letters that are too old, and forgets consumers that hold nothing and have
-- not been seen for long.
-- KEYS: stream, dead, idle
-- ARGV: group, consumer, lease in ms, cursor, count, deliveries allowed, dead letters kept,
--       ms after which a consumer is forgotten, member of the idle set,
--       ms dead letters are kept
-- Answers: now, the next cursor, entries as { id, deliveries, fields }, { job, type } of those
--          buried, { too many, too old } dead letters dropped.
local stream, dead, group, consumer = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local now = now_ms()
local taken, buried, dropped = {}, {}, 0
local expired = expire(dead, ARGV[10], now)

local claimed = redis.pcall('XAUTOCLAIM', stream, group, consumer, ARGV[3], ARGV[4], 'COUNT', ARGV[5])
if claimed.err then
  if not claimed.err:find('NOGROUP', 1, true) then error(claimed) end
  return { now, '0-0', taken, buried, { dropped, expired } }
end

for _, entry in ipairs(claimed[2]) do
  local id, fields = entry[1], entry[2]
  local head = head_of(fields)
  local deliveries = redis.call('XPENDING', stream, group, id, id, 1)[1][4]
  local total = (tonumber(head.deliveries) or 0) + deliveries
  if total > tonumber(ARGV[6]) then
    -- The one that made it too many was this takeover, which no worker ever saw.
    dropped = dropped + bury(stream, dead, ARGV[7], id, 'abandoned', 'never settled', total - 1, now)
    remove(stream, group, id)
    buried[#buried + 1] = { head.id or id, head.type or '' }
  else
    taken[#taken + 1] = { id, deliveries, fields }
  end
end
-- With its last slot taken the worker must not be woken in the place of one that has room.
if #taken == tonumber(ARGV[5]) then redis.call('ZREM', KEYS[3], ARGV[9]) end

for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
  local one = {}
  for i = 1, #flat, 2 do one[flat[i]] = flat[i + 1] end
  if one.pending == 0 and one.idle > tonumber(ARGV[8]) and one.name ~= consumer then
    redis.call('XGROUP', 'DELCONSUMER', stream, group, one.name)
  end
end
return { now, claimed[1], taken, buried, { dropped, expired } }
