-- KEYS: the lease. ARGV: owner. Answers whether it was the owner's.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
