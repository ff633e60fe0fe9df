-- KEYS: pending, taken, bodies, ranks, attempts, ages. ARGV: now, then id, rank, body of each. An id that is there
-- stays as it is.
local ranks, scores, ages = {}, {}, {}
for n = 2, #ARGV, 3 do
  if redis.call('HSETNX', KEYS[3], ARGV[n], ARGV[n + 2]) == 1 then
    local at = #ranks
    ranks[at + 1], ranks[at + 2] = ARGV[n], ARGV[n + 1]
    scores[at + 1], scores[at + 2] = ARGV[n + 1], ARGV[n]
    ages[at + 1], ages[at + 2] = ARGV[1], ARGV[n]
  end
end
if #ranks > 0 then
  redis.call('HSET', KEYS[4], unpack(ranks))
  redis.call('ZADD', KEYS[1], unpack(scores))
  redis.call('ZADD', KEYS[6], unpack(ages))
end
return 1
