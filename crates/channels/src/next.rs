//! What next for a message: which bot tries it, when it is tried again, when it is given up. Pure.
//!
//! Main and backup bot take turns: four rounds over all bots, a second apart. Then the message is parked on the
//! failed queue and tried the same way again after ten minutes, twice; then it has finally failed.

use std::time::Duration;

use model::Timestamp;
use serde::{Deserialize, Serialize};

use crate::answer::{Answer, Fault};

/// The numbers of the scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Rounds over all bots before a message is parked.
    pub rounds: u32,
    /// Between two rounds.
    pub pause: Duration,
    /// How long a message is parked.
    pub park: Duration,
    /// How often a message is parked before it has finally failed.
    pub parks: u32,
    /// How often a phone rings again after a call that nobody took.
    pub recalls: u32,
    /// How long after it.
    pub recall_after: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            rounds: 4,
            pause: Duration::from_secs(1),
            park: Duration::from_secs(600),
            // Twice, so that an outage of a quarter of an hour costs nobody a message.
            parks: 2,
            recalls: 2,
            recall_after: Duration::from_secs(120),
        }
    }
}

/// How far a message has come. It is stored with the message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Attempts in all.
    pub attempts: u32,
    /// How often it was parked.
    pub parks: u32,
    /// Finished rounds since it was parked last.
    pub rounds: u32,
    /// Bots that failed in this round.
    pub tried: Vec<usize>,
    /// Bots that refused for good.
    pub gone: Vec<usize>,
    /// The better form was refused: it goes as plain text.
    pub is_plain: bool,
    /// A fresh access token did not help in this round.
    pub has_logged_in: bool,
    /// Where the recipient moved to.
    pub moved_to: Option<String>,
    /// Calls by the same bot that nobody took.
    pub unanswered: u32,
    /// It goes as one with the others to the same recipient that have the same word here; empty for those that go alone.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub together: String,
}

/// What to do with a message now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// This bot tries it.
    Try(usize),
    /// No bot may send yet.
    Wait(Timestamp),
    /// Every bot that may send failed in this round.
    EndRound,
}

/// What an attempt led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The platform has it.
    Done,
    /// Another attempt makes sense from this moment on.
    Again(Timestamp),
    /// It lies on the failed queue until this moment.
    Park(Timestamp),
    /// It has finally failed.
    GiveUp,
}

/// A bot that rests for longer than this takes no part in a round.
const ROUND_PATIENCE: Duration = Duration::from_secs(5);
/// In the last round before a message is parked: a bot that is only full is free again within a minute.
const LAST_ROUND_PATIENCE: Duration = Duration::from_secs(65);

impl Progress {
    /// The bot for the next attempt. `ready_at` says of each bot when it may send; the main bot is first.
    pub fn choose(&self, ready_at: &[Timestamp], plan: &Plan, now: Timestamp) -> Choice {
        let open = || {
            ready_at
                .iter()
                .enumerate()
                .filter(|(bot, _)| !self.gone.contains(bot) && !self.tried.contains(bot))
        };
        if let Some((bot, _)) = open().find(|(_, ready)| **ready <= now) {
            return Choice::Try(bot);
        }
        let soonest = open().map(|(_, ready)| *ready).min();
        let is_last = self.rounds + 1 >= plan.rounds;
        let patience = if is_last { LAST_ROUND_PATIENCE } else { ROUND_PATIENCE };
        match soonest {
            Some(at) if self.tried.is_empty() || at <= now.plus(patience) => Choice::Wait(at),
            _ => Choice::EndRound,
        }
    }

    /// Takes note of what `bot` answered, out of `bots`.
    pub fn after(
        &mut self,
        bot: usize,
        bots: usize,
        answer: &Answer,
        plan: &Plan,
        now: Timestamp,
    ) -> Step {
        self.attempts = self.attempts.saturating_add(1);
        match answer {
            Answer::Sent { .. } => return Step::Done,
            // Its window keeps the bot away; the attempt does not count.
            Answer::Limited { .. } => return Step::Again(now),
            Answer::Login { .. } if !self.has_logged_in => {
                self.has_logged_in = true;
                return Step::Again(now);
            }
            Answer::Plainer { .. } if !self.is_plain => {
                self.is_plain = true;
                return Step::Again(now);
            }
            Answer::Moved { to } if self.moved_to.as_ref() != Some(to) => {
                self.moved_to = Some(to.clone());
                return Step::Again(now);
            }
            // Whoever is at fault: the next bot may be of another kind, sit in another chat, or know the person.
            Answer::Plainer { .. } | Answer::Moved { .. } | Answer::Refused { .. } => {
                self.gone.push(bot);
                if self.gone.len() >= bots {
                    return Step::GiveUp;
                }
                // Another bot takes over at once.
                if (0..bots)
                    .any(|other| !self.gone.contains(&other) && !self.tried.contains(&other))
                {
                    return Step::Again(now);
                }
            }
            Answer::Later { .. } | Answer::Login { .. } => self.tried.push(bot),
        }
        if self.tried.len() + self.gone.len() < bots {
            return Step::Again(now);
        }
        self.end_round(plan, now)
    }

    /// Nobody took the call that `bot` made, out of `bots`: the phone rings again, twice, and then another bot tries.
    pub fn unanswered(&mut self, bot: usize, bots: usize, plan: &Plan, now: Timestamp) -> Step {
        self.unanswered += 1;
        if self.unanswered <= plan.recalls {
            return Step::Again(now.plus(plan.recall_after));
        }
        self.unanswered = 0;
        if !self.gone.contains(&bot) {
            self.gone.push(bot);
        }
        if self.gone.len() >= bots { Step::GiveUp } else { Step::Again(now) }
    }

    /// All bots had their turn.
    pub fn end_round(&mut self, plan: &Plan, now: Timestamp) -> Step {
        self.tried.clear();
        self.has_logged_in = false;
        self.rounds += 1;
        if self.rounds < plan.rounds {
            return Step::Again(now.plus(plan.pause));
        }
        self.rounds = 0;
        if self.parks >= plan.parks {
            return Step::GiveUp;
        }
        self.parks += 1;
        Step::Park(now.plus(plan.park))
    }

    /// What somebody asked to be sent again begins anew.
    pub fn afresh(&self) -> Self {
        Self { attempts: self.attempts, moved_to: self.moved_to.clone(), ..Self::default() }
    }
}

/// The answer of a platform that gave none.
pub fn unreachable(is_timeout: bool, text: &str) -> Answer {
    let code = if is_timeout { "timeout" } else { "unreachable" };
    Answer::Later { fault: Fault::new(code, text), wait: None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::answer::Whose;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn later() -> Answer {
        unreachable(true, "no answer")
    }

    fn refused(whose: Whose) -> Answer {
        Answer::Refused { fault: Fault::default(), whose }
    }

    fn limited() -> Answer {
        Answer::Limited { fault: Fault::default(), cool_down: Duration::from_secs(600) }
    }

    /// Tries until the last step that the answers lead to; says which bots tried, and when.
    fn play(answer: impl Fn(usize, Timestamp) -> Answer) -> (Vec<(usize, u64)>, Step, Progress) {
        let (mut progress, mut now, mut tries) = (Progress::default(), NOW, Vec::new());
        for _ in 0..1_000 {
            let step = match progress.choose(&[NOW, NOW], &Plan::default(), now) {
                Choice::Try(bot) => {
                    tries.push((bot, now.since(NOW).as_secs()));
                    progress.after(bot, 2, &answer(bot, now), &Plan::default(), now)
                }
                Choice::Wait(at) => Step::Again(at),
                Choice::EndRound => progress.end_round(&Plan::default(), now),
            };
            match step {
                Step::Again(at) | Step::Park(at) => now = now.max(at),
                Step::Done | Step::GiveUp => return (tries, step, progress),
            }
        }
        panic!("it never ends");
    }

    #[test]
    fn main_and_backup_take_turns_for_four_rounds_then_twice_after_ten_minutes() {
        let (tries, last, _) = play(|_, _| later());
        let round = |from: u64| (0..4).flat_map(move |r| [(0, from + r), (1, from + r)]);
        let expected: Vec<_> = [0, 603, 1206].into_iter().flat_map(round).collect();
        assert_eq!((tries, last), (expected, Step::GiveUp));
    }

    #[test]
    fn the_backup_carries_what_the_main_bot_cannot() {
        let (tries, last, _) =
            play(|bot, _| if bot == 0 { later() } else { Answer::Sent { id: None } });
        assert_eq!((tries, last), (vec![(0, 0), (1, 0)], Step::Done));
    }

    #[test]
    fn an_outage_of_a_quarter_of_an_hour_costs_nothing() {
        let back = NOW.plus(Duration::from_secs(900));
        let (tries, last, _) =
            play(|_, now| if now < back { later() } else { Answer::Sent { id: None } });
        assert_eq!((tries.last(), last), (Some(&(0, 1206)), Step::Done));
    }

    #[test]
    fn a_bot_that_refuses_for_good_is_not_asked_again() {
        let (tries, last, _) = play(|bot, _| if bot == 0 { refused(Whose::Bot) } else { later() });
        assert_eq!(tries.iter().filter(|(bot, _)| *bot == 0).count(), 1);
        assert_eq!((tries.len(), last), (13, Step::GiveUp));
        let (tries, last, _) = play(|_, _| refused(Whose::Bot));
        assert_eq!((tries, last), (vec![(0, 0), (1, 0)], Step::GiveUp), "at once, with the reason");
    }

    #[test]
    fn what_one_bot_refuses_for_good_the_other_is_asked_at_once_whoever_is_at_fault() {
        for whose in [Whose::Message, Whose::Recipient, Whose::Bot] {
            let (tries, last, _) =
                play(|bot, _| if bot == 0 { refused(whose) } else { Answer::Sent { id: None } });
            assert_eq!((tries, last), (vec![(0, 0), (1, 0)], Step::Done), "{whose:?}");
            let (tries, last, _) = play(|_, _| refused(whose));
            assert_eq!((tries, last), (vec![(0, 0), (1, 0)], Step::GiveUp), "{whose:?}");
        }
    }

    #[test]
    fn a_limit_costs_no_attempt_and_switches_the_bot() {
        let mut progress = Progress::default();
        let step = progress.after(0, 2, &limited(), &Plan::default(), NOW);
        assert_eq!((step, progress.tried.len()), (Step::Again(NOW), 0));
        let rests = NOW.plus(Duration::from_secs(600));
        assert_eq!(progress.choose(&[rests, NOW], &Plan::default(), NOW), Choice::Try(1));
        assert_eq!(progress.choose(&[rests, rests], &Plan::default(), NOW), Choice::Wait(rests));
        progress.tried.push(1);
        assert_eq!(
            progress.choose(&[rests, NOW], &Plan::default(), NOW),
            Choice::EndRound,
            "not for ten minutes"
        );
    }

    #[test]
    fn a_message_is_not_parked_while_the_backup_is_only_full() {
        let (mut progress, mut now) = (Progress::default(), NOW);
        let free = NOW.plus(Duration::from_secs(50));
        let mut tries = Vec::new();
        let last = loop {
            let step = match progress.choose(&[NOW, free], &Plan::default(), now) {
                Choice::Try(0) => {
                    tries.push(0);
                    progress.after(0, 2, &later(), &Plan::default(), now)
                }
                Choice::Try(bot) => {
                    tries.push(bot);
                    break progress.after(
                        bot,
                        2,
                        &Answer::Sent { id: None },
                        &Plan::default(),
                        now,
                    );
                }
                Choice::Wait(at) => Step::Again(at),
                Choice::EndRound => progress.end_round(&Plan::default(), now),
            };
            match step {
                Step::Again(at) => now = now.max(at),
                other => break other,
            }
        };
        assert_eq!((tries, last, now), (vec![0, 0, 0, 0, 1], Step::Done, free));
    }

    #[test]
    fn a_token_is_renewed_once_a_round_and_a_form_is_simplified_once() {
        let login = Answer::Login { fault: Fault::default() };
        let mut progress = Progress::default();
        assert_eq!(progress.after(0, 1, &login, &Plan::default(), NOW), Step::Again(NOW));
        let pause = NOW.plus(Duration::from_secs(1));
        assert_eq!(progress.after(0, 1, &login, &Plan::default(), NOW), Step::Again(pause));
        let plainer = Answer::Plainer { fault: Fault::default() };
        assert_eq!(progress.after(0, 1, &plainer, &Plan::default(), NOW), Step::Again(NOW));
        assert!(progress.is_plain);
        assert_eq!(progress.after(0, 1, &plainer, &Plan::default(), NOW), Step::GiveUp);
        let moved = Answer::Moved { to: "-1".to_owned() };
        assert_eq!(progress.after(0, 1, &moved, &Plan::default(), NOW), Step::Again(NOW));
        assert_eq!(progress.after(0, 1, &moved, &Plan::default(), NOW), Step::GiveUp, "in circles");
        assert_eq!(progress.afresh().moved_to.as_deref(), Some("-1"));
    }

    #[test]
    fn a_phone_that_nobody_takes_rings_twice_more_and_then_the_next_bot_tries() {
        let (mut progress, plan) = (Progress::default(), Plan::default());
        let again = Step::Again(NOW.plus(Duration::from_secs(120)));
        assert_eq!(progress.unanswered(0, 2, &plan, NOW), again);
        assert_eq!(progress.unanswered(0, 2, &plan, NOW), again);
        assert_eq!(progress.unanswered(0, 2, &plan, NOW), Step::Again(NOW));
        assert_eq!(progress.choose(&[NOW, NOW], &Plan::default(), NOW), Choice::Try(1));
        for _ in 0..2 {
            assert_eq!(progress.unanswered(1, 2, &plan, NOW), again, "as often as the first");
        }
        assert_eq!(progress.unanswered(1, 2, &plan, NOW), Step::GiveUp);
    }

    fn any_answer() -> impl Strategy<Value = Answer> {
        let fault = Fault::default;
        prop_oneof![
            Just(later()),
            Just(Answer::Login { fault: fault() }),
            Just(Answer::Plainer { fault: fault() }),
            Just(Answer::Moved { to: "x".to_owned() }),
            Just(refused(Whose::Bot)),
            Just(refused(Whose::Message)),
        ]
    }

    proptest! {
        #[test]
        fn every_message_comes_to_an_end(answers in prop::collection::vec(any_answer(), 1..40)) {
            let count = std::cell::Cell::new(0);
            let (tries, last, progress) = play(|_, _| {
                count.set(count.get() + 1);
                answers[count.get() % answers.len()].clone()
            });
            prop_assert_eq!(last, Step::GiveUp);
            prop_assert!(tries.len() <= 2 * 4 * 3 * 2 + 4, "{}", tries.len());
            prop_assert_eq!(usize::try_from(progress.attempts).unwrap(), tries.len());
        }
    }
}
