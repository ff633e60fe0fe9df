-- KEYS: the reservations of a place. ARGV: owner, names.
local held = redis.call('HMGET', KEYS[1], unpack(ARGV, 2))
local mine = {}
for n = 1, #held do
  if held[n] and string.match(held[n], '^%d+ (.*)$') == ARGV[1] then mine[#mine + 1] = ARGV[n + 1] end
end
if #mine > 0 then redis.call('HDEL', KEYS[1], unpack(mine)) end
return 1
