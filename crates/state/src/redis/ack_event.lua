-- KEYS: pending, taken, bodies, ranks, attempts. ARGV: ids. Answers how many were there.
local found = 0
for _, id in ipairs(ARGV) do
  redis.call('ZREM', KEYS[1], id)
  redis.call('ZREM', KEYS[2], id)
  redis.call('HDEL', KEYS[4], id)
  redis.call('HDEL', KEYS[5], id)
  found = found + redis.call('HDEL', KEYS[3], id)
end
return found
