-- ARGV: member, incarnation, then of each share its name, turn, succeeded, cost. Answers for each
-- whether the member may begin the turn.
local answers = {}
local there = is_there()
for at = 3, #ARGV, 4 do
  local share = there and read_share(redis.call('HGET', SHARES, ARGV[at]))
  local answer = 'unknown'
  if share then
    answer = 'not yours'
    if share.holder == me and share.incarnation == incarnation and share.turn ~= ARGV[at + 1] then
      share.turn, share.succeeded, share.cost = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
      write_share(ARGV[at], share)
      answer = 'yours'
    end
  end
  answers[#answers + 1] = answer
end
return answers
