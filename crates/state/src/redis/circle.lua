-- Goes before each script of circles. KEYS: members, shares, the circle itself. A member is
-- `incarnation|until|report`, a share `fencing|incarnation|turn|succeeded|cost|holder`; times in
-- milliseconds, `-` for none.
local MEMBERS, SHARES, CIRCLE = KEYS[1], KEYS[2], KEYS[3]
local me, incarnation = ARGV[1], ARGV[2]

local time = redis.call('TIME')
local micros = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now = math.floor(micros / 1000)

local function read_member(name)
  local text = redis.call('HGET', MEMBERS, name)
  if not text then return nil end
  local number, ends, report = string.match(text, '^(%-?%d+)|(%d+)|(.*)$')
  return { incarnation = number, ends = tonumber(ends), report = report }
end

local function read_share(text)
  if not text then return nil end
  local fencing, number, turn, succeeded, cost, holder =
    string.match(text, '^(%d+)|(%-?%d+)|([^|]*)|([^|]*)|(%-?%d+)|(.*)$')
  return { fencing = fencing, incarnation = number, turn = turn, succeeded = succeeded, cost = cost,
    holder = holder }
end

local function write_share(name, share)
  redis.call('HSET', SHARES, name, table.concat({ share.fencing, share.incarnation, share.turn,
    share.succeeded, share.cost, share.holder }, '|'))
end

-- One more than the last number, and never less than the time in microseconds: a server that has
-- lost its memory still gives out numbers that are higher than all before.
local function next_number(field)
  local last = tonumber(redis.call('HGET', CIRCLE, field) or '0')
  local number = string.format('%d', math.max(last + 1, micros))
  redis.call('HSET', CIRCLE, field, number)
  return number
end

local function is_settling()
  return now < tonumber(redis.call('HGET', CIRCLE, 'settled_after') or '0')
end

local function is_there()
  local member = read_member(me)
  return member and member.incarnation == incarnation and member.ends > now
end

