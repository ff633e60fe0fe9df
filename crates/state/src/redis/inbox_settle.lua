-- KEYS: list of items under way, list of those put aside. ARGV: how many of these are kept, 0 when the items are done;
-- items.
for n = 2, #ARGV do
  redis.call('LREM', KEYS[1], -1, ARGV[n])
  if ARGV[1] ~= '0' then redis.call('LPUSH', KEYS[2], ARGV[n]) end
end
if ARGV[1] ~= '0' then redis.call('LTRIM', KEYS[2], 0, ARGV[1] - 1) end
return 1
