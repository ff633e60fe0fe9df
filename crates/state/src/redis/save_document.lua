-- KEYS: the documents of a kind, their fencing numbers. ARGV: name, fencing number, body. Answers
-- whether it was saved.
local last = redis.call('HGET', KEYS[2], ARGV[1])
if last and tonumber(last) > tonumber(ARGV[2]) then
  return 0
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
