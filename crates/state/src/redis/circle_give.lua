-- ARGV: member, incarnation, then of each share its name, turn, succeeded, cost.
for at = 3, #ARGV, 4 do
  local share = read_share(redis.call('HGET', SHARES, ARGV[at]))
  if share and share.holder == me and share.incarnation == incarnation then
    share.holder = ''
    share.turn, share.succeeded, share.cost = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
    write_share(ARGV[at], share)
  end
end
next_number('version')
return 1
