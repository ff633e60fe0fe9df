-- ARGV: member, incarnation, then of each share its name, the fencing number held or 0, turn,
-- succeeded, cost. Answers the shares that are the member's now.
local taken = {}
if not is_there() then
  return taken
end
local settling = is_settling()
local changed = false
for at = 3, #ARGV, 5 do
  local name, held = ARGV[at], tonumber(ARGV[at + 1])
  local share = read_share(redis.call('HGET', SHARES, name))
  local free
  if not share then
    -- While it settles, who held a share before the memory was lost goes first.
    free = held > 0 or not settling
    share = { turn = ARGV[at + 2], succeeded = ARGV[at + 3], cost = ARGV[at + 4] }
  elseif share.holder == '' or share.holder == me then
    free = share.holder == '' or share.incarnation ~= incarnation
  else
    local holder = read_member(share.holder)
    local alive = holder and holder.incarnation == share.incarnation and holder.ends > now
    free = not alive and not settling
  end
  if free then
    share.fencing = next_number('fencing')
    if tonumber(share.fencing) <= held then
      share.fencing = string.format('%d', held + 1)
      redis.call('HSET', CIRCLE, 'fencing', share.fencing)
    end
    share.holder, share.incarnation = me, incarnation
    write_share(name, share)
    changed = true
  end
  if share.holder == me and share.incarnation == incarnation then
    taken[#taken + 1] = { name, share.holder, share.incarnation, share.fencing, share.turn,
      share.succeeded, share.cost }
  end
end
if changed then
  next_number('version')
end
return taken
