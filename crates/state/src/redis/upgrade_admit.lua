-- ARGV: host, revision, wave, places in all, hosts that may be started or -1, offers a host gets,
-- lease, rest after a failure, whether the host is idle; then places and hold of each group. Answers
-- a word, or the number of the offer.
local host, lease = ARGV[1], tonumber(ARGV[7])
if redis.call('HGET', PLAN, 'revision') ~= ARGV[2] then
  return 'stale'
end
drop_expired(lease)
local progress = read(host)
local holds = redis.call('SISMEMBER', SET, host) == 1 or redis.call('ZSCORE', LEASES, host)
if holds then
  local is_unheard = progress and progress.phase == 'offered'
    and progress.attempts < tonumber(ARGV[6])
  if ARGV[9] == '0' or not is_unheard then
    return 'in_flight'
  end
else
  if progress then
    local may_retry = UNDERWAY[progress.phase] or progress.phase == 'failed' or progress.phase == 'lost'
    if not may_retry or progress.attempts >= tonumber(ARGV[6]) then
      return 'spent'
    end
    if now < progress.changed + tonumber(ARGV[8]) then
      return 'resting'
    end
  elseif tonumber(ARGV[5]) >= 0 and redis.call('HLEN', HOSTS) >= tonumber(ARGV[5]) then
    return 'wave_full'
  end
  local taken = math.max(redis.call('SCARD', SET), redis.call('ZCARD', LEASES))
  if taken >= tonumber(ARGV[4]) then
    return 'full'
  end
  for group = FIRST_GROUP, #KEYS do
    redis.call('ZREMRANGEBYSCORE', KEYS[group], '-inf', now)
    local own = redis.call('ZSCORE', KEYS[group], host) and 1 or 0
    local max = tonumber(ARGV[10 + 2 * (group - FIRST_GROUP)])
    if redis.call('ZCARD', KEYS[group]) - own >= max then
      return 'group_full'
    end
  end
end
take_place(host, now + lease)
for group = FIRST_GROUP, #KEYS do
  local hold = tonumber(ARGV[11 + 2 * (group - FIRST_GROUP)])
  redis.call('ZADD', KEYS[group], now + hold, host)
  if redis.call('PTTL', KEYS[group]) < hold then
    redis.call('PEXPIRE', KEYS[group], hold)
  end
end
local old_phase = progress and progress.phase
progress = progress or { wave = ARGV[3], attempts = 0 }
progress.phase, progress.reason, progress.started, progress.changed = 'offered', '', now, now
progress.attempts = progress.attempts + 1
write(host, old_phase, progress)
redis.call('HSET', COUNTS, 'last_started', now)
return tostring(progress.attempts)
