-- Takes over entries whose worker stopped renewing its lease, buries those that were delivered
-- too often, drops dead letters that are too old, forgets consumers that hold nothing and have
-- not been seen for long, and looks after some of the partitions.
-- KEYS: stream, dead, idle, delayed, partitions, blocked
-- ARGV: group, consumer, lease in ms, cursor, count, deliveries allowed, dead letters kept,
--       ms after which a consumer is forgotten, member of the idle set,
--       ms dead letters are kept, where the sweep of partitions goes on, how many it looks at
-- Answers: now, the next cursor, entries as { id, deliveries, fields }, { job, type } of those
--          buried, { too many, too old } dead letters dropped, { where the next sweep goes on,
--          partitions whose head was gone }.
local stream, dead, group, consumer = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local at = { stream = stream, delayed = KEYS[4], heads = KEYS[5], blocked = KEYS[6] }
local now = now_ms()
local taken, buried, dropped = {}, {}, 0
local expired = expire(dead, ARGV[10], now)

-- Lets partitions go on whose head is gone and has told nobody: deleted by an operator, settled by
-- a worker that knows of no order, or settled when there was no memory for the next. First those
-- that wait for it, in their order, then some at random of which nothing but the head is noted.
local function sweep(from, count)
  local mended, moved = 0, 0
  local function mend(partition)
    if alive(at, head_at(at, partition)) then return end
    moved = moved + succeed(at, partition)
    mended = mended + 1
  end
  for _ = 1, count do
    local member = redis.call('ZRANGE', at.blocked, from, '+', 'BYLEX', 'LIMIT', 0, 1)[1]
    if not member then
      from = '-'
      break
    end
    local partition = member:match('^(' .. ('%x'):rep(32) .. ')%d')
    if partition then mend(partition) end
    from = '(' .. (partition and partition .. ':' or member)
  end
  -- Who lacks the right for it leaves a few bytes behind, no more.
  for _, partition in ipairs(redis.pcall('HRANDFIELD', at.heads, count)) do mend(partition) end
  return from, mended, moved
end
-- Should memory be lacking, nothing else is to wait for it.
local swept, from, mended, moved = pcall(sweep, ARGV[11], tonumber(ARGV[12]))
if not swept then from, mended, moved = '-', 0, 0 end

local claimed = redis.pcall('XAUTOCLAIM', stream, group, consumer, ARGV[3], ARGV[4], 'COUNT', ARGV[5])
if claimed.err then
  if not claimed.err:find('NOGROUP', 1, true) then error(claimed) end
  if moved > 0 then wake(KEYS[3], moved, now) end
  return { now, '0-0', taken, buried, { dropped, expired }, { from, mended } }
end

for _, entry in ipairs(claimed[2]) do
  local id, fields = entry[1], entry[2]
  local head = head_of(fields)
  local deliveries = redis.call('XPENDING', stream, group, id, id, 1)[1][4]
  local total = (tonumber(head.deliveries) or 0) + deliveries
  if total > tonumber(ARGV[6]) then
    -- The one that made it too many was this takeover, which no worker ever saw.
    local why = 'never settled'
    local fell, partition = bury(stream, dead, ARGV[7], id, 'abandoned', why, total - 1, now)
    remove(stream, group, id)
    dropped = dropped + fell
    moved = moved + leave(at, partition, id)
    buried[#buried + 1] = { head.id or id, head.type or '' }
  else
    taken[#taken + 1] = { id, deliveries, fields }
  end
end
if moved > 0 then wake(KEYS[3], moved, now) end
-- With its last slot taken the worker must not be woken in the place of one that has room.
if #taken == tonumber(ARGV[5]) then redis.call('ZREM', KEYS[3], ARGV[9]) end

for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
  local one = {}
  for i = 1, #flat, 2 do one[flat[i]] = flat[i + 1] end
  if one.pending == 0 and one.idle > tonumber(ARGV[8]) and one.name ~= consumer then
    redis.call('XGROUP', 'DELCONSUMER', stream, group, one.name)
  end
end
return { now, claimed[1], taken, buried, { dropped, expired }, { from, mended } }
