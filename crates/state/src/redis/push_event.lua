-- KEYS: pending, taken, bodies, ranks, attempts. ARGV: id, rank, body. An id that is there stays as
-- it is.
if redis.call('HSETNX', KEYS[3], ARGV[1], ARGV[3]) == 1 then
  redis.call('HSET', KEYS[4], ARGV[1], ARGV[2])
  redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
end
return 1
