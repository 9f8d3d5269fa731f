-- Moves schedules on to their next tick, and puts the job of the tick that is due into the queue,
-- in one step: so a tick fires once, whoever asks and however often. A schedule that was moved on,
-- changed or removed meanwhile is left alone.
-- KEYS: schedules, ticks, stream, delayed, idle, full, start of the dedup keys (they share its
--       hash tag), partitions, blocked
-- ARGV: critical, recovery, ms a dedup entry lasts,
--       then for each schedule: id, the tick that is due, JSON, its next tick, dedup hash, id of
--       the job, partition or '', body or '' for no job
-- Answers for each schedule: 1 moved on, 2 moved on and the job was there before, 0 not as it was,
--         -2 the queue is full; then ms until the next tick is due or -1.
local schedules, ticks, stream, delayed, full = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[6]
local at = { stream = stream, delayed = delayed, heads = KEYS[8], blocked = KEYS[9] }
local critical = tonumber(ARGV[1])
local now = now_ms()
local codes, fired, moved = {}, 0, 0
local depth = room(stream, delayed, KEYS[9], full, critical, tonumber(ARGV[2]), now)

for i = 4, #ARGV, 8 do
  local id, tick, json, next_tick, hash, job, partition, body = unpack(ARGV, i, i + 7)
  local present = redis.call('ZSCORE', ticks, id)
  local same = present and string.format('%.0f', present) == tick
    and redis.call('HMGET', schedules, id)[1] == json
  local code = same and 1 or 0
  if same and body ~= '' then
    if redis.call('EXISTS', KEYS[7] .. hash) == 1 then
      code = 2
    elseif not depth or depth + fired >= critical then
      code = -2
    else
      local head = table.concat({ job, 'scheduled', now, 1, 0 }, ' ')
      if partition ~= '' then
        moved = moved + enter(at, partition, { 'job', head, 'body', body, 'partition', partition })
      else
        redis.call('XADD', stream, '*', 'job', head, 'body', body)
        moved = moved + 1
      end
      redis.call('SET', KEYS[7] .. hash, 1, 'PX', ARGV[3])
      fired = fired + 1
    end
  end
  if code > 0 then redis.call('ZADD', ticks, next_tick, id) end
  codes[#codes + 1] = code
end
if depth and depth + fired >= critical then redis.call('SET', full, now) end
if moved > 0 then wake(KEYS[5], moved, now) end
codes[#codes + 1] = next_due(ticks, now)
return codes
