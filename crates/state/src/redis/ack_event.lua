-- KEYS: pending, taken, bodies, ranks, attempts. ARGV: id. Answers whether it was there.
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[4], ARGV[1])
redis.call('HDEL', KEYS[5], ARGV[1])
return redis.call('HDEL', KEYS[3], ARGV[1])
