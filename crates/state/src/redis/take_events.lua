-- KEYS: pending, taken, bodies, ranks, attempts, ages. ARGV: how many, of them for those that wait longest, now,
-- hidden until, how many may come back at a time, the first rank of priority 1. Answers ids, ranks, times they came
-- back, bodies.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[3], 'LIMIT', 0, ARGV[5])) do
  local rank = redis.call('HGET', KEYS[4], id)
  redis.call('ZREM', KEYS[2], id)
  redis.call('ZADD', KEYS[1], rank, id)
  redis.call('ZADD', KEYS[6], string.format('%d', math.fmod(rank, ARGV[6])), id)
  redis.call('HINCRBY', KEYS[5], id, 1)
end
local most = tonumber(ARGV[1])
local is_oldest = {}
local left = most
-- "Up to -1" would be all.
local oldest = {}
if tonumber(ARGV[2]) > 0 then oldest = redis.call('ZRANGE', KEYS[6], 0, ARGV[2] - 1) end
for _, id in ipairs(oldest) do
  is_oldest[id] = true
  left = left - 1
end
local ids = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, most - 1)) do
  if is_oldest[id] then
    is_oldest[id] = nil
    ids[#ids + 1] = id
  elseif left > 0 then
    left = left - 1
    ids[#ids + 1] = id
  end
end
-- Those of the oldest that are less urgent than all the others, in the order of age.
for _, id in ipairs(oldest) do
  if is_oldest[id] then ids[#ids + 1] = id end
end
local answer = { {}, {}, {}, {} }
local came_back = redis.call('EXISTS', KEYS[5]) == 1
-- No more values than a call may have.
for first = 1, #ids, 1000 do
  local part, taken = {}, {}
  for n = first, math.min(first + 999, #ids) do
    part[#part + 1] = ids[n]
    taken[#taken + 1] = ARGV[4]
    taken[#taken + 1] = ids[n]
  end
  redis.call('ZREM', KEYS[1], unpack(part))
  redis.call('ZREM', KEYS[6], unpack(part))
  redis.call('ZADD', KEYS[2], unpack(taken))
  local ranks = redis.call('HMGET', KEYS[4], unpack(part))
  local attempts = {}
  if came_back then attempts = redis.call('HMGET', KEYS[5], unpack(part)) end
  local bodies = redis.call('HMGET', KEYS[3], unpack(part))
  for n = 1, #part do
    local at = #answer[1] + 1
    answer[1][at] = part[n]
    answer[2][at] = ranks[n]
    answer[3][at] = attempts[n] or 0
    answer[4][at] = bodies[n]
  end
end
return answer
