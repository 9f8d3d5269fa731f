-- Wakes up to `count` parked workers, the last to have parked first: it is the likeliest to
-- be alive. A member of the idle set says how it wants to be woken: `t:<key>` has its key
-- changed, which client tracking reports; `p:<channel>` gets a message. Whoever calls has
-- changed the queue already, and an error would tell its caller that nothing was done: hence
-- pcall.
local function wake(idle, count, now)
  pcall(function()
    redis.call('ZREMRANGEBYSCORE', idle, '-inf', now)
    while count > 0 do
      local parked = redis.call('ZPOPMAX', idle, count)
      if #parked == 0 then return end
      for i = 1, #parked, 2 do
        local mode, name = parked[i]:sub(1, 1), parked[i]:sub(3)
        if mode == 't' then
          -- The key goes by itself when its worker is gone for good.
          redis.pcall('SET', name, now, 'PX', 3600000)
          count = count - 1
        else
          local heard = redis.pcall('PUBLISH', name, now)
          if type(heard) == 'number' and heard > 0 then count = count - 1 end
        end
      end
    end
  end)
end
