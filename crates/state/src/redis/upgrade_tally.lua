-- ARGV: the lease of a name that was put into the set by hand. Answers the plan's revision, the
-- places taken, and the counts as names and numbers.
drop_expired(tonumber(ARGV[1]))
local taken = math.max(redis.call('SCARD', SET), redis.call('ZCARD', LEASES))
return { redis.call('HGET', PLAN, 'revision') or '0', taken, redis.call('HGETALL', COUNTS) }
