-- KEYS: pending, taken, bodies, ranks, attempts, ages. ARGV: id, not before.
if redis.call('HEXISTS', KEYS[3], ARGV[1]) == 1 then
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('ZREM', KEYS[6], ARGV[1])
  redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
end
return 1
