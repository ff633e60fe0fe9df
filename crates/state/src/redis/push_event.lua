-- KEYS: pending, taken, bodies, ranks, attempts. ARGV: id, rank, body of each. An id that is there
-- stays as it is.
for n = 1, #ARGV, 3 do
  if redis.call('HSETNX', KEYS[3], ARGV[n], ARGV[n + 2]) == 1 then
    redis.call('HSET', KEYS[4], ARGV[n], ARGV[n + 1])
    redis.call('ZADD', KEYS[1], ARGV[n + 1], ARGV[n])
  end
end
return 1
