-- KEYS: list of items under way, list of those put aside. ARGV: how many of these are kept, 0 when the items are done;
-- items, the oldest first.
local count = #ARGV - 1
-- Mostly they are the oldest under way, all of them: then one cut does.
local tail = redis.call('LRANGE', KEYS[1], -count, -1)
local is_tail = #tail == count
for n = 1, count do
  is_tail = is_tail and tail[count + 1 - n] == ARGV[n + 1]
end
if is_tail then
  redis.call('LTRIM', KEYS[1], 0, -count - 1)
end
for n = 2, #ARGV do
  if not is_tail then redis.call('LREM', KEYS[1], -1, ARGV[n]) end
  if ARGV[1] ~= '0' then redis.call('LPUSH', KEYS[2], ARGV[n]) end
end
if ARGV[1] ~= '0' then redis.call('LTRIM', KEYS[2], 0, ARGV[1] - 1) end
return 1
