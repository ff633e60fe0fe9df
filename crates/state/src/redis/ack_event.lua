-- KEYS: pending, taken, bodies, ranks, attempts, ages. ARGV: ids. Answers how many were there.
-- Mostly all of them were taken, and none came back before.
if redis.call('ZREM', KEYS[2], unpack(ARGV)) < #ARGV then
  redis.call('ZREM', KEYS[1], unpack(ARGV))
  redis.call('ZREM', KEYS[6], unpack(ARGV))
end
redis.call('HDEL', KEYS[4], unpack(ARGV))
if redis.call('EXISTS', KEYS[5]) == 1 then redis.call('HDEL', KEYS[5], unpack(ARGV)) end
return redis.call('HDEL', KEYS[3], unpack(ARGV))
