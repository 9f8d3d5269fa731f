-- Puts jobs back: into the delayed set, or with no delay to the end of the stream. Repeating
-- it is harmless: what was put back is no longer pending. The head of a partition stays its head.
-- KEYS: stream, delayed, idle, partitions
-- ARGV: group, consumer, then for each entry: id, deliveries, the next attempt, the deliveries
--       the job carries with it, delay in ms
-- Answers for each entry: 1 put back, 0 held by another, -1 gone; then ms until the next job is due.
local stream, delayed, group, consumer = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local at = { heads = KEYS[4] }
local now = now_ms()
local codes, at_once = {}, 0
local found = pending_between(stream, group, consumer, ARGV[3], ARGV[#ARGV - 4], (#ARGV - 2) / 5)

for i = 3, #ARGV, 5 do
  local id, deliveries, attempt, carried, delay = unpack(ARGV, i, i + 4)
  local code = standing(stream, group, id, consumer, deliveries, found)
  codes[#codes + 1] = code
  if code == HELD then
    local entry = redis.call('XRANGE', stream, id, id)[1]
    if entry then
      local fields = entry[2]
      local head = head_of(fields)
      if head.place then
        fields[head.place] = table.concat({ head.id, head.type, head.at, attempt, carried }, ' ')
      else
        for f = 1, #fields, 2 do
          if fields[f] == 'attempt' then fields[f + 1] = attempt end
          if fields[f] == 'deliveries' then fields[f + 1] = carried end
        end
      end
      local partition = partition_of(fields)
      local leads = partition and head_at(at, partition) == 's' .. id
      local place
      if tonumber(delay) == 0 then
        place = 's' .. redis.call('XADD', stream, '*', unpack(fields))
        at_once = at_once + 1
      else
        redis.call('ZADD', delayed, now + delay, cmsgpack.pack(fields))
        place = string.format('d%.0f', now + delay)
      end
      if leads then redis.call('HSET', at.heads, partition, place) end
    end
    remove(stream, group, id)
    found[id] = nil
  end
end
if at_once > 0 then wake(KEYS[3], at_once, now) end
codes[#codes + 1] = next_due(delayed, now)
return codes
