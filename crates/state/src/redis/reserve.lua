-- KEYS: the reservations of a place. ARGV: owner, milliseconds, names. Answers for each whether it is the owner's.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local held = redis.call('HMGET', KEYS[1], unpack(ARGV, 3))
local value = string.format('%d ', now + tonumber(ARGV[2])) .. ARGV[1]
local answers, fields = {}, {}
for n = 1, #held do
  local ends, holder
  if held[n] then ends, holder = string.match(held[n], '^(%d+) (.*)$') end
  local is_free = not holder or holder == ARGV[1] or tonumber(ends) <= now
  answers[n] = is_free and 1 or 0
  if is_free then
    fields[#fields + 1] = ARGV[n + 2]
    fields[#fields + 1] = value
  end
end
if #fields > 0 then
  redis.call('HSET', KEYS[1], unpack(fields))
  -- What somebody who died has left goes when nobody comes any more.
  if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
end
return answers
