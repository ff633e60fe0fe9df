-- KEYS: the lease, its fencing number. ARGV: owner, milliseconds. Answers the fencing number, or
-- false.
local holder = redis.call('GET', KEYS[1])
local fencing = tonumber(redis.call('GET', KEYS[2]) or '0')
if holder == ARGV[1] and fencing > 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return string.format('%d', fencing)
end
if holder and holder ~= ARGV[1] then
  return false
end
-- One more than the last number, and never less than the time in microseconds: a server that has
-- lost its memory still gives out a number that is higher than all before.
local time = redis.call('TIME')
fencing = math.max(fencing + 1, tonumber(time[1]) * 1000000 + tonumber(time[2]))
redis.call('SET', KEYS[2], string.format('%d', fencing))
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return string.format('%d', fencing)
