-- Goes before each script of upgrades. KEYS: the hosts that hold a place, the ends of their leases,
-- the plan, the hosts' progress, counts by wave and phase, then one for each group. A host's
-- progress is `phase|attempts|wave|started|changed|reason`, times in milliseconds.
local SET, LEASES, PLAN, HOSTS, COUNTS = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local FIRST_GROUP = 6
local UNDERWAY = { offered = true, accepted = true, downloading = true, verifying = true,
  restarting = true, probation = true }
local EXPIRED_MAX = 1000
local SILENCE_MAX = 5000

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function read(host)
  local text = redis.call('HGET', HOSTS, host)
  if not text then return nil end
  local phase, attempts, wave, started, changed, reason =
    string.match(text, '^([a-z_]+)|(%d+)|(%d+)|(%d+)|(%d+)|(.*)$')
  return { phase = phase, attempts = tonumber(attempts), wave = wave, started = tonumber(started),
    changed = tonumber(changed), reason = reason }
end

local function write(host, old_phase, new)
  if old_phase then
    redis.call('HINCRBY', COUNTS, new.wave .. '|' .. old_phase, -1)
  end
  redis.call('HINCRBY', COUNTS, new.wave .. '|' .. new.phase, 1)
  redis.call('HSET', HOSTS, host, string.format('%s|%d|%s|%d|%d|%s', new.phase, new.attempts,
    new.wave, new.started, new.changed, new.reason))
end

local function turn(host, progress, phase, reason)
  local old = progress.phase
  progress.phase, progress.reason, progress.changed = phase, reason, now
  write(host, old, progress)
end

local function take_place(host, until_when)
  redis.call('SADD', SET, host)
  redis.call('ZADD', LEASES, until_when, host)
end

local function leave(host)
  redis.call('ZREM', LEASES, host)
  return redis.call('SREM', SET, host)
end

-- Takes back the places whose lease is over; their hosts are lost. A name that was put into the set
-- by hand gets a lease, so that it cannot hold its place for ever.
local function drop_expired(lease)
  -- When nobody has looked for a while, the server was away or every hbs was: hosts could not renew
  -- their leases, and go on with their work all the same.
  local looked = tonumber(redis.call('HGET', PLAN, 'looked') or '0')
  if now - looked > SILENCE_MAX then
    for _, host in ipairs(redis.call('ZRANGE', LEASES, 0, -1)) do
      redis.call('ZADD', LEASES, 'GT', now + lease, host)
    end
  end
  if now - looked > SILENCE_MAX / 5 then
    redis.call('HSET', PLAN, 'looked', now)
  end
  if redis.call('SCARD', SET) > redis.call('ZCARD', LEASES) then
    for _, host in ipairs(redis.call('SMEMBERS', SET)) do
      if not redis.call('ZSCORE', LEASES, host) then
        redis.call('ZADD', LEASES, now + lease, host)
      end
    end
  end
  for _, host in ipairs(redis.call('ZRANGEBYSCORE', LEASES, '-inf', now, 'LIMIT', 0, EXPIRED_MAX)) do
    leave(host)
    local progress = read(host)
    if progress and UNDERWAY[progress.phase] then
      turn(host, progress, 'lost', 'nothing was heard of it until its lease ended')
    end
  end
end
