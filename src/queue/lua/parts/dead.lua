-- Two bounds keep the dead letters from growing for ever; whoever drops some tells how many, so
-- that they are counted.

-- Drops letters that are older than `age` ms, the oldest first. Only some in one call: each is
-- read on the way, and the next call goes on.
local function expire(dead, age, now)
  local last = now - age - 1
  if last < 0 then return 0 end
  local old = redis.call('XRANGE', dead, '-', string.format('%.0f', last), 'COUNT', 64)
  for i, letter in ipairs(old) do old[i] = letter[1] end
  return #old > 0 and redis.call('XDEL', dead, unpack(old)) or 0
end

-- Copies an entry to the dead letters, and tells how many fell out for it, and its partition. A
-- letter says why and when, then has everything the entry had, with a field for each part of `job`: these are read by
-- people. An entry whose body an operator deleted leaves its reason alone. One that another hand
-- made may have more fields than Lua can pass on: the first 64 values are enough to know it by.
local function spelled_out(fields)
  local head = head_of(fields)
  if not head.place then return fields end
  local all = { 'id', head.id, 'type', head.type, 'at', head.at, 'attempt', head.attempt,
    'deliveries', head.deliveries }
  for i = 1, #fields, 2 do
    if i + 1 ~= head.place then
      all[#all + 1] = fields[i]
      all[#all + 1] = fields[i + 1]
    end
  end
  return all
end

local function bury(stream, dead, keep, id, reason, detail, deliveries, now)
  local entry = redis.call('XRANGE', stream, id, id)[1]
  local partition = partition_of(entry and entry[2] or {})
  local fields = spelled_out(entry and entry[2] or {})
  local before = redis.call('XLEN', dead)
  redis.call('XADD', dead, 'MAXLEN', '=', keep, '*', 'reason', reason, 'detail', detail,
    'buried_at', now, 'entry', id, 'delivered', deliveries,
    unpack(fields, 1, math.min(#fields, 64)))
  return before + 1 - redis.call('XLEN', dead), partition
end
