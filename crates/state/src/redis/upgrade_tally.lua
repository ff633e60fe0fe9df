-- ARGV: the lease of hosts that could not renew theirs. Answers the plan's revision, the
-- places taken, and the counts as names and numbers.
drop_expired(tonumber(ARGV[1]))
local taken = math.max(redis.call('SCARD', SET), redis.call('ZCARD', LEASES))
return { redis.call('HGET', PLAN, 'revision') or '0', taken, redis.call('HGETALL', COUNTS) }
