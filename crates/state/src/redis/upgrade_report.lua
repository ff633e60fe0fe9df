-- ARGV: host, rollout, phase, reason, lease, longest time underway. Answers whether anything was
-- changed.
local host, phase, reason = ARGV[1], ARGV[3], ARGV[4]
local progress = read(host)
local function go()
  for group = FIRST_GROUP, #KEYS do
    redis.call('ZREM', KEYS[group], host)
  end
  return leave(host)
end
if not progress then
  -- A place without progress is of an earlier rollout.
  return UNDERWAY[phase] and 0 or go()
end
if redis.call('HGET', PLAN, 'rollout') ~= ARGV[2] then
  return 0
end
if UNDERWAY[phase] then
  if not redis.call('ZSCORE', LEASES, host) then
    return 0
  end
  take_place(host, math.min(now + tonumber(ARGV[5]), progress.started + tonumber(ARGV[6])))
else
  go()
end
if progress.phase == phase and progress.reason == reason then
  return 0
end
turn(host, progress, phase, reason)
return 1
