-- Puts dead letters back into the queue as jobs at their first attempt. A letter leaves in the
-- same step in which its job enters, so it goes back once, whoever asks and however often: asked
-- for again, it is not there. One of a partition takes its place at the end.
-- KEYS: stream, dead, delayed, idle, full, partitions, blocked
-- ARGV: critical, reasons of earlier deaths kept, then the ids of the letters
-- Answers for each letter: 1 put back, 0 it carries no job, -1 not there, -2 the queue is full.
--          Fewer answers than letters: Redis has no memory for the rest.
local stream, dead, critical, kept = KEYS[1], KEYS[2], tonumber(ARGV[1]), tonumber(ARGV[2])
local at = { stream = stream, delayed = KEYS[3], heads = KEYS[6], blocked = KEYS[7] }
local now = now_ms()
-- What a burial adds to a job, and what `job` has in one value.
local consumed = { reason = true, detail = true, buried_at = true, entry = true, delivered = true,
  id = true, type = true, at = true, attempt = true, deliveries = true, history = true }

-- The fields of the job in a letter; nil when it carries none.
local function job_in(letter)
  local has, rest = {}, {}
  for i = 1, #letter, 2 do
    local name, value = letter[i], letter[i + 1]
    if not consumed[name] then
      rest[#rest + 1] = name
      rest[#rest + 1] = value
    end
    -- The first of a name is the burial's own.
    has[name] = has[name] or value
  end
  local id, kind = (has.id or ''):match('^%S+$'), (has.type or ''):match('^%S+$')
  if not (id and kind and has.body) then return nil end

  local history = {}
  for line in (has.history or ''):gmatch('[^\n]+') do history[#history + 1] = line end
  history[#history + 1] = table.concat({ has.buried_at or 0, has.reason or '', has.detail or '' }, ' ')
  local first = math.max(1, #history - kept + 1)
  -- It is put in now: the age of the queue is not the age of an old mistake.
  local fields = { 'job', table.concat({ id, kind, now, 1, 0 }, ' '),
    'history', table.concat(history, '\n', first) }
  for _, value in ipairs(rest) do fields[#fields + 1] = value end
  return fields
end

-- Tells how many jobs the stream has more.
local function put(fields)
  local partition = partition_of(fields)
  if partition then return enter(at, partition, fields) end
  redis.call('XADD', stream, '*', unpack(fields))
  return 1
end

local codes, back, moved = {}, 0, 0
local depth = redis.call('XLEN', stream) + redis.call('ZCARD', KEYS[3]) + redis.call('ZCARD', KEYS[7])
local full = redis.call('EXISTS', KEYS[5]) == 1
for i = 3, #ARGV do
  local letter = redis.call('XRANGE', dead, ARGV[i], ARGV[i])[1]
  local fields = letter and job_in(letter[2])
  local code = letter and (fields and 1 or 0) or -1
  if code == 1 and (full or depth + back >= critical) then code = -2 end
  if code == 1 then
    local entered, more = pcall(put, fields)
    if not entered then
      if #codes == 0 then error(more) end
      break
    end
    moved = moved + more
    redis.call('XDEL', dead, ARGV[i])
    back = back + 1
  end
  codes[#codes + 1] = code
end
if moved > 0 then wake(KEYS[4], moved, now) end
return codes
