//! Evaluation when data arrives: which rules a sample concerns, and the moments in between the slots at which
//! these are looked at. Pure but for the scheduler's clock, which comes in as an argument.
//!
//! Alerting rules only: what recording rules write stays on the grid of their slots. What depends on time
//! alone (a hold that is over, data that has become stale) is seen at the next slot.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use model::{ENDPOINT, Labels, Matcher, Timestamp};

use crate::question::one_of;
use crate::rules::GroupKey;

/// A rule is evaluated on arrival at most this often, on average: one look may be taken ahead of its time. Without it
/// samples that come somewhat sooner after each other, three in a row, would be looked at later and later.
const SPACING: Duration = Duration::from_secs(1);
/// After a wave so many times what it took passes before the next one,
const WAVE_REST_SHARE: u32 = 10;
/// but not more than this.
const WAVE_REST_MAX: Duration = Duration::from_millis(100);
/// When more hosts than this sent something, all are looked at.
const HOSTS_MAX: usize = 256;

/// Hosts by the label `endpoint`; a series without it counts as one of the host without a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hosts {
    /// These.
    Some(BTreeSet<Box<str>>),
    /// All of them.
    All,
}

impl Default for Hosts {
    fn default() -> Self {
        Self::Some(BTreeSet::new())
    }
}

impl Hosts {
    /// Adds the host of a series.
    pub(crate) fn add(&mut self, series: &Labels) {
        self.insert(host_of(series));
    }

    fn insert(&mut self, host: &str) {
        let Self::Some(hosts) = self else { return };
        if !hosts.contains(host) {
            hosts.insert(host.into());
        }
        if hosts.len() > HOSTS_MAX {
            *self = Self::All;
        }
    }

    fn merge(&mut self, other: &Self) {
        match other {
            Self::All => *self = Self::All,
            Self::Some(hosts) => hosts.iter().for_each(|host| self.insert(host)),
        }
    }

    /// Whether the host of an element or an alert is among them.
    pub(crate) fn contain(&self, labels: &Labels) -> bool {
        match self {
            Self::All => true,
            Self::Some(hosts) => hosts.contains(host_of(labels)),
        }
    }
}

fn host_of(labels: &Labels) -> &str {
    labels.get(ENDPOINT).unwrap_or("")
}

/// A moment at which rules look at what arrived, all with the same questions.
#[derive(Debug)]
pub(crate) struct Wave {
    /// When.
    pub(crate) at: Timestamp,
    /// Tells waves apart; from 1.
    pub(crate) number: u64,
    /// What is looked at.
    pub(crate) hosts: Hosts,
    /// The condition that picks these hosts; `None` for all.
    pub(crate) condition: Option<Matcher>,
}

impl Wave {
    fn new(at: Timestamp, number: u64, hosts: Hosts) -> Self {
        let condition = match &hosts {
            Hosts::All => None,
            Hosts::Some(hosts) => {
                one_of(ENDPOINT, &hosts.iter().map(AsRef::as_ref).collect::<BTreeSet<&str>>())
            }
        };
        // Without its condition a wave looks at everything.
        let hosts = if condition.is_some() { hosts } else { Hosts::All };
        Self { at, number, hosts, condition }
    }
}

/// What arrived samples concern.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Touched {
    /// Parts of questions that rules listen to, by number; none twice.
    pub(crate) parts: Vec<usize>,
    /// The hosts of the samples.
    pub(crate) hosts: Hosts,
}

/// A group whose turn it is to look by itself, since others could not look for it.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) group: Arc<GroupKey>,
    pub(crate) rules: BTreeSet<usize>,
    /// What they listen to.
    pub(crate) parts: Vec<usize>,
    pub(crate) wave: Arc<Wave>,
}

/// Rules that wait to look at what arrived.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// Parts by the time when they may be looked at.
    due: BTreeMap<Timestamp, Vec<usize>>,
    hosts: Hosts,
    /// By the number of the part.
    parts: Vec<PartOfWaiting>,
    /// No wave begins before.
    rests_until: Timestamp,
    /// What groups are to look at that were being evaluated when it was their turn.
    blocked: HashMap<Arc<GroupKey>, Touched>,
    turns: VecDeque<Turn>,
    waves: u64,
}

#[derive(Debug, Clone, Copy)]
struct PartOfWaiting {
    is_waiting: bool,
    /// Until when the looks of the past take, at one each [`SPACING`].
    taken_until: Timestamp,
}

impl PartOfWaiting {
    const NEW: Self = Self { is_waiting: false, taken_until: Timestamp::MIN };

    fn look(&mut self, now: Timestamp) {
        self.is_waiting = false;
        // A clock that was set back does not make the past longer.
        self.taken_until = self.taken_until.clamp(now, now.plus(SPACING)).plus(SPACING);
    }

    /// When it may be looked at. A clock that was set back must not hold it up.
    fn next(&self, now: Timestamp) -> Timestamp {
        self.taken_until.minus(SPACING).clamp(now, now.plus(SPACING))
    }
}

impl Waiting {
    /// Takes in what arrived.
    pub(crate) fn add(&mut self, touched: &Touched, now: Timestamp) {
        for part in &touched.parts {
            if *part >= self.parts.len() {
                self.parts.resize(*part + 1, PartOfWaiting::NEW);
            }
            let known = &mut self.parts[*part];
            if !known.is_waiting {
                known.is_waiting = true;
                self.due.entry(known.next(now)).or_default().push(*part);
            }
        }
        self.hosts.merge(&touched.hosts);
    }

    /// The next wave, and what it looks at: all that may be looked at now.
    pub(crate) fn next_wave(&mut self, now: Timestamp) -> Option<(Arc<Wave>, Vec<usize>)> {
        if now < self.rests_until && self.rests_until.since(now) <= WAVE_REST_MAX {
            return None;
        }
        // After the clock was set back nothing waits until it has caught up.
        let is_set_back =
            self.due.last_key_value().is_some_and(|(due, _)| due.since(now) > SPACING);
        let later = match is_set_back {
            true => BTreeMap::new(),
            false => self.due.split_off(&now.plus(Duration::from_millis(1))),
        };
        let due = std::mem::replace(&mut self.due, later);
        if due.is_empty() {
            return None;
        }
        let mut parts: Vec<usize> = due.into_values().flatten().collect();
        parts.sort_unstable();
        parts.dedup();
        for part in &parts {
            self.parts[*part].look(now);
        }
        let hosts = match self.due.is_empty() {
            true => std::mem::take(&mut self.hosts),
            false => self.hosts.clone(),
        };
        self.waves += 1;
        Some((Arc::new(Wave::new(now, self.waves, hosts)), parts))
    }

    /// A wave took so long: the next one waits for more to come in. Samples that come in one after the other
    /// would else be looked at by as many waves.
    pub(crate) fn rest(&mut self, took: Duration, now: Timestamp) {
        self.rests_until = now.plus((took * WAVE_REST_SHARE).min(WAVE_REST_MAX));
    }

    /// The next group that looks by itself.
    pub(crate) fn next_turn(&mut self) -> Option<Turn> {
        self.turns.pop_front()
    }

    /// Gives a group a turn to look by itself.
    pub(crate) fn take_turn(&mut self, turn: Turn) {
        self.turns.push_back(turn);
    }

    /// Has a group look again when it is no longer being evaluated. [`Waiting::release`] must follow.
    pub(crate) fn postpone(&mut self, group: &Arc<GroupKey>, parts: &[usize], hosts: &Hosts) {
        let touched = match self.blocked.get_mut(group) {
            Some(touched) => touched,
            None => self.blocked.entry(Arc::clone(group)).or_default(),
        };
        touched.parts.extend(parts);
        touched.hosts.merge(hosts);
    }

    /// The group is no longer being evaluated: what it missed is looked at, though it may be less than a second
    /// after the last time.
    pub(crate) fn release(&mut self, group: &GroupKey, now: Timestamp) {
        let Some(touched) = self.blocked.remove(group) else { return };
        self.add(&touched, now);
        self.due.entry(now).or_default().extend(touched.parts);
    }

    /// When there is a wave or a turn again.
    pub(crate) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        if !self.turns.is_empty() {
            return Some(Timestamp::MIN);
        }
        let rests_until = self.rests_until.min(now.plus(WAVE_REST_MAX));
        let first = self.due.first_key_value().map(|(due, _)| (*due).min(now.plus(SPACING)));
        first.map(|due| due.max(rests_until))
    }

    /// Forgets a group that is no more.
    pub(crate) fn forget(&mut self, group: &GroupKey) {
        self.blocked.remove(group);
        self.turns.retain(|turn| *turn.group != *group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Arc<GroupKey> {
        Arc::new(GroupKey { file: "f".to_owned(), name: name.to_owned() })
    }

    fn touched(parts: &[usize], host: &str) -> Touched {
        let mut touched = Touched { parts: parts.to_vec(), ..Touched::default() };
        touched.hosts.insert(host);
        touched
    }

    fn of(host: &str) -> Labels {
        Labels::from_pairs([("endpoint", host)])
    }

    /// The number of the next wave and what it looks at.
    fn wave(waiting: &mut Waiting, now: i64) -> Option<(u64, Vec<usize>)> {
        waiting.next_wave(Timestamp(now)).map(|(wave, parts)| (wave.number, parts))
    }

    #[test]
    fn what_may_be_looked_at_shares_a_wave_and_each_part_is_looked_at_once_a_second() {
        let mut waiting = Waiting::default();
        waiting.add(&touched(&[5, 1], "h1"), Timestamp(0));
        waiting.add(&touched(&[1, 0], "h2"), Timestamp(0));
        assert_eq!(wave(&mut waiting, 0), Some((1, vec![0, 1, 5])));
        waiting.add(&touched(&[1, 2], "h1"), Timestamp(300));
        assert_eq!(wave(&mut waiting, 300), Some((2, vec![1, 2])), "one look ahead");
        waiting.add(&touched(&[1, 7], "h1"), Timestamp(400));
        assert_eq!(wave(&mut waiting, 400), Some((3, vec![7])));
        assert_eq!(wave(&mut waiting, 400), None);
        assert_eq!(waiting.next_due(Timestamp(400)), Some(Timestamp(1000)));
        assert_eq!(wave(&mut waiting, 1000), Some((4, vec![1])));
        assert_eq!(waiting.next_due(Timestamp(1000)), None);
    }

    proptest::proptest! {
        #[test]
        fn samples_that_come_all_the_time_are_looked_at_once_a_second_and_once_more(
            pauses in proptest::collection::vec(1_i64..400, 1..200),
        ) {
            let (mut waiting, mut now, mut looks) = (Waiting::default(), 0, 0_i64);
            for pause in pauses {
                waiting.add(&touched(&[0], "h1"), Timestamp(now));
                looks += i64::from(wave(&mut waiting, now).is_some());
                now += pause;
            }
            proptest::prop_assert!(looks <= now / 1000 + 2, "{} looks in {} ms", looks, now);
        }
    }

    #[test]
    fn a_wave_looks_at_the_hosts_that_sent_or_at_all_when_they_are_many() {
        let mut waiting = Waiting::default();
        waiting.add(&touched(&[1], "h1"), Timestamp(0));
        waiting.add(&touched(&[1], "h.2"), Timestamp(0));
        let (wave, _) = waiting.next_wave(Timestamp(0)).expect("it is due");
        assert_eq!(
            wave.condition.as_ref().map(Matcher::to_string).as_deref(),
            Some(r#"endpoint=~"h\\.2|h1""#)
        );
        assert!(wave.hosts.contain(&of("h1")) && !wave.hosts.contain(&of("h3")));
        for host in 0..=HOSTS_MAX {
            waiting.add(&touched(&[1], &host.to_string()), Timestamp(5000));
        }
        let (wave, _) = waiting.next_wave(Timestamp(5000)).expect("it is due");
        assert!(wave.condition.is_none() && wave.hosts == Hosts::All);
    }

    #[test]
    fn hosts_are_looked_at_until_nothing_waits_for_them() {
        let mut waiting = Waiting::default();
        for _ in 0..2 {
            waiting.add(&touched(&[1], "h1"), Timestamp(0));
            assert!(waiting.next_wave(Timestamp(0)).is_some());
        }
        waiting.add(&touched(&[1, 2], "h2"), Timestamp(300));
        let (first, parts) = waiting.next_wave(Timestamp(300)).expect("the second part may");
        assert!(parts == [2] && first.hosts.contain(&of("h2")) && !first.hosts.contain(&of("h1")));
        let (second, parts) = waiting.next_wave(Timestamp(1000)).expect("a second later");
        assert!(parts == [1] && second.hosts.contain(&of("h2")));
        waiting.add(&touched(&[1], "h3"), Timestamp(9000));
        let (third, _) = waiting.next_wave(Timestamp(9000)).expect("it is due");
        assert!(third.hosts.contain(&of("h3")) && !third.hosts.contain(&of("h2")));
    }

    #[test]
    fn after_a_costly_wave_the_next_waits_a_moment_and_after_a_cheap_one_hardly() {
        let mut waiting = Waiting::default();
        for (took, rest) in [(1, 10), (8, 80), (5000, 100)] {
            waiting.rest(Duration::from_millis(took), Timestamp(0));
            waiting.add(&touched(&[took as usize], "h1"), Timestamp(0));
            assert_eq!(wave(&mut waiting, rest - 1), None, "{took}");
            assert_eq!(waiting.next_due(Timestamp(0)), Some(Timestamp(rest)));
            assert!(wave(&mut waiting, rest).is_some(), "{took}");
        }
    }

    #[test]
    fn what_comes_during_an_evaluation_is_looked_at_after_it() {
        let mut waiting = Waiting::default();
        for (part, host) in [(1, "h1"), (2, "h2")] {
            waiting.add(&touched(&[part], host), Timestamp(0));
            let (wave, parts) = waiting.next_wave(Timestamp(0)).expect("it is due");
            waiting.postpone(&key("a"), &parts, &wave.hosts);
        }
        waiting.release(&key("b"), Timestamp(20));
        assert_eq!(waiting.next_due(Timestamp(20)), None);
        waiting.add(&touched(&[2], "h3"), Timestamp(20));
        waiting.release(&key("a"), Timestamp(20));
        assert_eq!(waiting.next_due(Timestamp(20)), Some(Timestamp(20)));
        let (wave, parts) = waiting.next_wave(Timestamp(20)).expect("it is free");
        assert_eq!((parts, wave.at), (vec![1, 2], Timestamp(20)));
        assert!(["h1", "h2", "h3"].iter().all(|host| wave.hosts.contain(&of(host))));
    }

    #[test]
    fn a_group_that_is_no_more_takes_no_turn() {
        let mut waiting = Waiting::default();
        waiting.add(&touched(&[1], "h1"), Timestamp(0));
        let (wave, parts) = waiting.next_wave(Timestamp(0)).expect("it is due");
        for group in ["a", "b"] {
            let (rules, parts) = (BTreeSet::from([7]), parts.to_vec());
            waiting.take_turn(Turn { group: key(group), rules, parts, wave: Arc::clone(&wave) });
        }
        waiting.postpone(&key("c"), &parts, &wave.hosts);
        assert_eq!(waiting.next_due(Timestamp(5)), Some(Timestamp::MIN));
        waiting.forget(&key("a"));
        waiting.forget(&key("c"));
        waiting.release(&key("c"), Timestamp(5));
        let turns: Vec<_> = std::iter::from_fn(|| waiting.next_turn()).collect();
        assert_eq!(turns.iter().map(|turn| turn.group.name.as_str()).collect::<Vec<_>>(), ["b"]);
        assert_eq!(waiting.next_due(Timestamp(5)), None);
    }

    #[test]
    fn a_clock_that_was_set_back_holds_nobody_up_for_longer_than_a_second() {
        let mut waiting = Waiting::default();
        waiting.add(&touched(&[1], "h1"), Timestamp(1_000_000));
        assert!(wave(&mut waiting, 1_000_000).is_some());
        waiting.rest(Duration::from_secs(1), Timestamp(1_000_000));
        waiting.add(&touched(&[1], "h1"), Timestamp(1_000_010));
        waiting.add(&touched(&[1, 2], "h1"), Timestamp(5));
        assert_eq!(waiting.next_due(Timestamp(5)), Some(Timestamp(105)));
        assert_eq!(wave(&mut waiting, 5), Some((2, vec![1, 2])));
        waiting.add(&touched(&[1], "h1"), Timestamp(900));
        assert!((6..=1005).any(|now| wave(&mut waiting, now).is_some()), "within a second");
    }
}
