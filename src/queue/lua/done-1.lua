-- Settles jobs that are done. Repeating it is harmless: what was settled is gone.
-- KEYS: stream
-- ARGV: group, consumer, then for each entry: id, deliveries
-- Answers for each entry: 1 settled, 0 held by another, -1 gone.
local codes, held = {}, {}
local found = pending_between(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[#ARGV - 1], (#ARGV - 2) / 2)
for i = 3, #ARGV, 2 do
  local code = standing(KEYS[1], ARGV[1], ARGV[i], ARGV[2], ARGV[i + 1], found)
  codes[#codes + 1] = code
  if code == HELD then held[#held + 1] = ARGV[i] end
end
if #held > 0 then remove(KEYS[1], ARGV[1], unpack(held)) end
return codes
