-- Says where the history is.
-- KEYS: head
-- ARGV: an epoch, should there be none
local epoch, at = head_of(KEYS[1], ARGV[1], microseconds())
return {epoch, string.format('%.0f', at)}
