-- What an entry says of its job. `job` has id, type, Unix ms of the enqueueing, attempt and earlier
-- deliveries in one value, because Redis and Lua pay for each that they hand on. Where `place` is
-- missing, the entry is of the older form, with a field for each, or not ours.
local function head_of(fields)
  local head = {}
  for i = 1, #fields, 2 do
    local name, value = fields[i], fields[i + 1]
    if name == 'job' then
      local id, kind, at, attempt, deliveries = value:match('^(%S+) (%S+) (%d+) (%d+) (%d+)$')
      if id then
        return { id = id, type = kind, at = at, attempt = attempt, deliveries = deliveries, place = i + 1 }
      end
    end
    head[name] = value
  end
  return head
end
