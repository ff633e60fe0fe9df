-- KEYS: pending, taken, bodies, ranks, attempts, ages. ARGV: ids. Answers how many were there.
redis.call('ZREM', KEYS[1], unpack(ARGV))
redis.call('ZREM', KEYS[2], unpack(ARGV))
redis.call('ZREM', KEYS[6], unpack(ARGV))
redis.call('HDEL', KEYS[4], unpack(ARGV))
redis.call('HDEL', KEYS[5], unpack(ARGV))
return redis.call('HDEL', KEYS[3], unpack(ARGV))
