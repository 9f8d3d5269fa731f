-- The epoch, and the position given last. Where there is none, a new history begins now.
local function head_of(key, new_epoch, now)
  local head = redis.call('HMGET', key, 'epoch', 'at')
  if head[1] and head[2] then
    return head[1], tonumber(head[2])
  end
  redis.call('HSET', key, 'epoch', new_epoch, 'at', string.format('%.0f', now))
  return new_epoch, now
end

local function microseconds()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

