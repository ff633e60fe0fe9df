-- KEYS: pending, taken, bodies, ranks, attempts, ages. ARGV: now, then id, rank, body of each. An id that is there
-- stays as it is.
local ids = {}
for n = 2, #ARGV, 3 do ids[#ids + 1] = ARGV[n] end
local known, seen = redis.call('HMGET', KEYS[3], unpack(ids)), {}
local bodies, ranks, scores, ages = {}, {}, {}, {}
for n = 1, #ids do
  local id = ids[n]
  if not known[n] and not seen[id] then
    seen[id] = true
    local at, from = #ranks, 3 * n - 1
    bodies[at + 1], bodies[at + 2] = id, ARGV[from + 2]
    ranks[at + 1], ranks[at + 2] = id, ARGV[from + 1]
    scores[at + 1], scores[at + 2] = ARGV[from + 1], id
    ages[at + 1], ages[at + 2] = ARGV[1], id
  end
end
if #ranks > 0 then
  redis.call('HSET', KEYS[3], unpack(bodies))
  redis.call('HSET', KEYS[4], unpack(ranks))
  redis.call('ZADD', KEYS[1], unpack(scores))
  redis.call('ZADD', KEYS[6], unpack(ages))
end
return 1
