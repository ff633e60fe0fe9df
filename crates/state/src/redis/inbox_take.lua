-- KEYS: list, list of items under way. ARGV: how many. The oldest is on the right of both.
local items = {}
for n = 1, tonumber(ARGV[1]) do
  local item = redis.call('RPOPLPUSH', KEYS[1], KEYS[2])
  if not item then break end
  items[n] = item
end
return items
