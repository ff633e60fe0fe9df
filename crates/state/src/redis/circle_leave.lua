-- ARGV: member, incarnation, and of a share that is no more its name; without one the member goes.
if ARGV[3] then
  local share = read_share(redis.call('HGET', SHARES, ARGV[3]))
  if share and share.holder == me and share.incarnation == incarnation then
    redis.call('HDEL', SHARES, ARGV[3])
  end
  return 1
end
local member = read_member(me)
if member and member.incarnation == incarnation then
  redis.call('HDEL', MEMBERS, me)
  next_number('version')
end
return 1
