-- ARGV: member, incarnation, lease, settle time, version seen, report. Answers nothing when a later
-- start of the member is there; else now, version, whether it settles, members, shares or nothing.
local looked = tonumber(redis.call('HGET', CIRCLE, 'looked') or '0')
local settle = tonumber(ARGV[4])
if now - looked > settle then
  redis.call('HSET', CIRCLE, 'settled_after', now + settle)
end
redis.call('HSET', CIRCLE, 'looked', now)
local own = read_member(me)
if own and tonumber(own.incarnation) > tonumber(incarnation) and own.ends > now then
  return false
end
redis.call('HSET', MEMBERS, me,
  string.format('%s|%d|', incarnation, now + tonumber(ARGV[3])) .. ARGV[6])
local settling = is_settling()
local members = {}
for _, name in ipairs(redis.call('HKEYS', MEMBERS)) do
  local member = read_member(name)
  if member.ends > now then
    members[#members + 1] = { name, member.incarnation, member.report }
  elseif not settling then
    redis.call('HDEL', MEMBERS, name)
  end
end
local version = redis.call('HGET', CIRCLE, 'version') or next_number('version')
local shares = false
if version ~= ARGV[5] then
  shares = {}
  local all = redis.call('HGETALL', SHARES)
  for at = 1, #all, 2 do
    local share = read_share(all[at + 1])
    shares[#shares + 1] = { all[at], share.holder, share.incarnation, share.fencing, share.turn,
      share.succeeded, share.cost }
  end
end
return { now, version, settling and 1 or 0, members, shares }
