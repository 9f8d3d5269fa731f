-- Reads what came after a position on some channels, in order, a page of it.
-- KEYS: head, channels
-- ARGV: an epoch, should there be none; how the streams' names begin; the position in microseconds;
--   entries and bytes of a page; rows of the index to look through; channels to read from;
--   the number of names, names, prefixes
-- Answers epoch and position of the head, the position up to which this page is whole,
--   channels of which something is missing, whether there were too many channels to tell,
--   and channel, position, payload of each entry, one after the other.
local epoch, head = head_of(KEYS[1], ARGV[1], microseconds())
local after = tonumber(ARGV[3])
local most, most_bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local names = tonumber(ARGV[8])
local channels, seen, wide = {}, {}, 0

for i = 9, 8 + names do
  local name = ARGV[i]
  local last = redis.call('ZSCORE', KEYS[2], name)
  if last and tonumber(last) > after and not seen[name] then
    seen[name] = true
    channels[#channels + 1] = {name, tonumber(last)}
  end
end
if #ARGV > 8 + names then
  local rows = tonumber(ARGV[6])
  local found = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[3], '+inf', 'WITHSCORES', 'LIMIT', 0, rows + 1)
  local covered = {}
  for i = 1, #found, 2 do
    for p = 9 + names, #ARGV do
      if not seen[found[i]] and string.sub(found[i], 1, #ARGV[p]) == ARGV[p] then
        seen[found[i]] = true
        covered[#covered + 1] = {found[i], tonumber(found[i + 1])}
      end
    end
  end
  if #found > 2 * rows or #channels + #covered > tonumber(ARGV[7]) then
    wide = 1
  else
    for _, channel in ipairs(covered) do
      channels[#channels + 1] = channel
    end
  end
end

local each = math.max(1, math.floor(most / math.max(1, #channels)))
local missing, entries, whole = {}, {}, head
for _, channel in ipairs(channels) do
  local name, last = channel[1], channel[2]
  local rows = redis.call('XRANGE', ARGV[2] .. name, '(' .. ARGV[3] .. '-0', '+', 'COUNT', each)
  if #rows == 0 or tonumber(rows[1][2][2]) > after then
    missing[#missing + 1] = name
  end
  for _, row in ipairs(rows) do
    local at = string.match(row[1], '^(%d+)')
    entries[#entries + 1] = {tonumber(at), name, at, row[2][4]}
  end
  if #rows == each and entries[#entries][1] < last then
    -- This channel has more, which must not come after what another has later.
    whole = math.min(whole, entries[#entries][1])
  end
end

table.sort(entries, function(a, b) return a[1] < b[1] end)
local page, bytes = {}, 0
for _, entry in ipairs(entries) do
  if entry[1] > whole then
    break
  end
  bytes = bytes + #entry[4]
  if bytes > most_bytes and #page > 0 then
    whole = tonumber(page[#page - 1])
    break
  end
  page[#page + 1] = entry[2]
  page[#page + 1] = entry[3]
  page[#page + 1] = entry[4]
end
local function text(at) return string.format('%.0f', at) end
return {epoch, text(head), text(whole), missing, wide, page}
