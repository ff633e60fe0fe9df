-- KEYS: pending, taken, bodies, ranks, attempts. ARGV: how many, now, hidden until, how many may
-- come back at a time. Answers id, rank, attempts, body of each.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[2], 'LIMIT', 0, ARGV[4])) do
  redis.call('ZREM', KEYS[2], id)
  redis.call('ZADD', KEYS[1], redis.call('HGET', KEYS[4], id), id)
end
local events = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, tonumber(ARGV[1]) - 1)) do
  redis.call('ZREM', KEYS[1], id)
  redis.call('ZADD', KEYS[2], ARGV[3], id)
  local attempts = redis.call('HINCRBY', KEYS[5], id, 1)
  events[#events + 1] = { id, redis.call('HGET', KEYS[4], id), attempts, redis.call('HGET', KEYS[3], id) }
end
return events
