-- How many jobs are in the queue, if it takes more: once full it does again when it has come down
-- to recovery. Nothing when it takes none.
local function room(stream, delayed, blocked, full, critical, recovery, now)
  local depth = redis.call('XLEN', stream) + redis.call('ZCARD', delayed) + redis.call('ZCARD', blocked)
  if redis.call('EXISTS', full) == 1 then
    if depth > recovery then return nil end
    redis.call('DEL', full)
  elseif depth >= critical then
    redis.call('SET', full, now)
    return nil
  end
  return depth
end
