-- Order within a partition: of its jobs one at most is out, the head. It is in the stream, which
-- includes workers' hands, or delayed for a retry, and `heads` says where: `s` and the id of its
-- entry, or `d` and the ms at which it is due. Those behind it are in `blocked`, each as its
-- partition, a number of 16 digits that rises, and its packed fields.
-- `at` has the names of the keys: stream, delayed, heads, blocked.

-- The partition of an entry, if it has one. Another hand may have put in anything.
local function partition_of(fields)
  for i = 1, #fields, 2 do
    local value = fields[i] == 'partition' and fields[i + 1]
    if type(value) == 'string' and #value == 32 and not value:find('[^0-9a-f]') then return value end
  end
end

-- What is not a packed entry goes into the stream as it is, and from there to the dead letters:
-- an error here would be met again by every claim.
local function fields_of(packed)
  local read, fields = pcall(cmsgpack.unpack, packed)
  local ours = read and type(fields) == 'table' and #fields > 0 and #fields <= 64 and #fields % 2 == 0
  for i = 1, ours and #fields or 0 do
    ours = ours and (type(fields[i]) == 'string' or type(fields[i]) == 'number')
  end
  return ours and fields or { 'unreadable', packed }
end

local function head_at(at, partition) return redis.call('HMGET', at.heads, partition)[1] end

-- Whether a head is where it is said to be. An operator may have deleted it, or a worker settled
-- it that knows of no order. Another job that is due in the same ms passes for it, until it is.
local function alive(at, head)
  local place, where = (head or ''):match('^(.)(.*)$')
  if place == 's' then return #redis.pcall('XRANGE', at.stream, where, where) > 0 end
  return place == 'd'
    and #redis.pcall('ZRANGE', at.delayed, where, where, 'BYSCORE', 'LIMIT', 0, 1) > 0
end

-- Puts a job into the stream as the head.
local function lead(at, partition, fields)
  local id = redis.call('XADD', at.stream, '*', unpack(fields))
  redis.call('HSET', at.heads, partition, 's' .. id)
end

-- The first or the last of those behind the head. After the partition come digits, so ':' ends it.
local function first_behind(at, partition)
  return redis.call('ZRANGE', at.blocked, '[' .. partition, '(' .. partition .. ':',
    'BYLEX', 'LIMIT', 0, 1)[1]
end
local function last_behind(at, partition)
  return redis.call('ZRANGE', at.blocked, '(' .. partition .. ':', '[' .. partition,
    'BYLEX', 'REV', 'LIMIT', 0, 1)[1]
end

-- Makes the first of those behind the head, in the place of one that is gone. Tells how many jobs
-- the stream has more: 0 when nobody is behind.
local function advance(at, partition)
  local first = first_behind(at, partition)
  if not first then return 0 end
  lead(at, partition, fields_of(first:sub(49)))
  redis.call('ZREM', at.blocked, first)
  return 1
end

-- A job wants to go to the workers, and takes its place at the end. Tells how many jobs the stream
-- has more.
local function enter(at, partition, fields)
  local moved = 0
  if not alive(at, head_at(at, partition)) then
    moved = advance(at, partition)
    if moved == 0 then
      lead(at, partition, fields)
      return 1
    end
  end
  local last = last_behind(at, partition)
  local number = (last and tonumber(last:sub(33, 48)) or 0) + 1
  redis.call('ZADD', at.blocked, 0,
    partition .. string.format('%016.0f', number) .. cmsgpack.pack(fields))
  return moved
end

-- The next one after a head that is gone for good, whoever took it away. Tells how many jobs the
-- stream has more.
local function succeed(at, partition)
  local moved = advance(at, partition)
  if moved == 0 then redis.call('HDEL', at.heads, partition) end
  return moved
end

-- An entry was removed for good; if it was the head, the next one may go. Whoever calls has settled
-- the job already, and an error would tell its caller that nothing was done: hence pcall. What
-- fails here the sweep of reclaim mends.
local function leave(at, partition, id)
  if not partition then return 0 end
  local done, moved = pcall(function()
    return head_at(at, partition) == 's' .. id and succeed(at, partition) or 0
  end)
  return done and moved or 0
end
