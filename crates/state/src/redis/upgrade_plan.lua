-- ARGV: the revision expected, the next one, rollout, body. Answers whether it was written.
if (redis.call('HGET', PLAN, 'revision') or '0') ~= ARGV[1] then
  return 0
end
if redis.call('HGET', PLAN, 'rollout') ~= ARGV[3] then
  redis.call('DEL', HOSTS, COUNTS)
end
redis.call('HSET', PLAN, 'revision', ARGV[2], 'rollout', ARGV[3], 'body', ARGV[4])
return 1
