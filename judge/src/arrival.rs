//! Evaluation when data arrives: which rules a sample concerns, and the moments in between the slots at which
//! these are looked at. Pure but for the scheduler's clock, which comes in as an argument.
//!
//! Alerting rules only: what recording rules write stays on the grid of their slots. What depends on time
//! alone (a hold that is over, data that has become stale) is seen at the next slot.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use model::{ENDPOINT, Labels, Matcher, Timestamp};

use crate::question::one_of;
use crate::rules::GroupKey;

/// A group is evaluated on arrival at most this often.
pub(crate) const SPACING: Duration = Duration::from_secs(1);
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

/// A moment at which several groups look at what arrived, so that they share their questions.
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

/// Rules that arrived samples concern.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Touched {
    /// By group, with the numbers of the rules in it.
    pub(crate) rules: HashMap<Arc<GroupKey>, BTreeSet<usize>>,
    /// The hosts of the samples.
    pub(crate) hosts: Hosts,
}

impl Touched {
    /// Adds a rule of a group.
    pub(crate) fn touch(&mut self, group: &Arc<GroupKey>, rule: usize) {
        match self.rules.get_mut(group) {
            Some(rules) => drop(rules.insert(rule)),
            None => drop(self.rules.insert(Arc::clone(group), BTreeSet::from([rule]))),
        }
    }
}

/// A group whose turn it is in a wave.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) group: Arc<GroupKey>,
    pub(crate) rules: Vec<usize>,
    pub(crate) wave: Arc<Wave>,
}

impl From<Turn> for Touched {
    fn from(turn: Turn) -> Self {
        let rules = turn.rules.into_iter().collect();
        Self { rules: HashMap::from([(turn.group, rules)]), hosts: turn.wave.hosts.clone() }
    }
}

/// Groups that wait to look at what arrived.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    touched: Touched,
    due: BTreeSet<(Timestamp, Arc<GroupKey>)>,
    looked: HashMap<Arc<GroupKey>, Timestamp>,
    /// Groups whose turn came while they were being evaluated.
    blocked: HashSet<Arc<GroupKey>>,
    turns: VecDeque<Turn>,
    waves: u64,
}

impl Waiting {
    /// Takes in what arrived.
    pub(crate) fn add(&mut self, touched: Touched, now: Timestamp) {
        for (group, rules) in touched.rules {
            let known = self.touched.rules.entry(Arc::clone(&group)).or_default();
            if known.is_empty() {
                let next = self.looked.get(&group).map_or(now, |looked| looked.plus(SPACING));
                // A clock that was set back must not hold a group up.
                self.due.insert((next.clamp(now, now.plus(SPACING)), group));
            }
            known.extend(rules);
        }
        self.touched.hosts.merge(&touched.hosts);
    }

    /// The next group whose turn it is. All groups that may look now do so at the same moment.
    pub(crate) fn next_turn(&mut self, now: Timestamp) -> Option<Turn> {
        if self.due.first().is_some_and(|(due, _)| *due <= now) {
            self.begin_wave(now);
        }
        self.turns.pop_front()
    }

    /// Takes a turn back: the group is just being evaluated. [`Waiting::release`] must follow.
    pub(crate) fn postpone(&mut self, turn: Turn) {
        self.blocked.insert(Arc::clone(&turn.group));
        self.touched.rules.entry(turn.group).or_default().extend(turn.rules);
        self.touched.hosts.merge(&turn.wave.hosts);
    }

    /// The group is no longer being evaluated.
    pub(crate) fn release(&mut self, group: &GroupKey, now: Timestamp) {
        if let Some(group) = self.blocked.take(group) {
            self.due.insert((now, group));
        }
    }

    /// When there is a turn again.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        if !self.turns.is_empty() {
            return Some(Timestamp::MIN);
        }
        self.due.first().map(|(due, _)| *due)
    }

    /// Forgets a group that is no more.
    pub(crate) fn forget(&mut self, group: &GroupKey) {
        self.looked.remove(group);
        self.blocked.remove(group);
        self.touched.rules.remove(group);
    }

    fn begin_wave(&mut self, now: Timestamp) {
        self.waves += 1;
        let later = self.due.split_off(&(now.plus(Duration::from_millis(1)), Arc::default()));
        let due = std::mem::replace(&mut self.due, later);
        let hosts = if self.due.is_empty() && self.blocked.is_empty() {
            std::mem::take(&mut self.touched.hosts)
        } else {
            self.touched.hosts.clone()
        };
        let wave = Arc::new(Wave::new(now, self.waves, hosts));
        let mut turns = VecDeque::with_capacity(due.len());
        for (_, group) in due {
            let Some(rules) = self.touched.rules.remove(&group) else { continue };
            self.looked.insert(Arc::clone(&group), now);
            let rules = rules.into_iter().collect();
            turns.push_back(Turn { group, rules, wave: Arc::clone(&wave) });
        }
        // A few groups need not wait for many.
        if turns.len() < self.turns.len() {
            std::mem::swap(&mut turns, &mut self.turns);
        }
        self.turns.append(&mut turns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Arc<GroupKey> {
        Arc::new(GroupKey { file: "f".to_owned(), name: name.to_owned() })
    }

    fn touched(group: &str, rule: usize, host: &str) -> Touched {
        let mut touched = Touched::default();
        touched.rules.entry(key(group)).or_default().insert(rule);
        touched.hosts.insert(host);
        touched
    }

    fn turns(waiting: &mut Waiting, now: i64) -> Vec<(String, Vec<usize>, u64)> {
        let next = || waiting.next_turn(Timestamp(now));
        std::iter::from_fn(next)
            .map(|turn| (turn.group.name.to_owned(), turn.rules, turn.wave.number))
            .collect()
    }

    #[test]
    fn groups_that_may_look_share_a_wave_and_each_looks_once_a_second() {
        let mut waiting = Waiting::default();
        waiting.add(touched("a", 1, "h1"), Timestamp(0));
        waiting.add(touched("b", 2, "h1"), Timestamp(0));
        waiting.add(touched("a", 0, "h2"), Timestamp(0));
        let (a, b) = ("a".to_owned(), "b".to_owned());
        assert_eq!(turns(&mut waiting, 0), [(a.clone(), vec![0, 1], 1), (b, vec![2], 1)]);
        waiting.add(touched("a", 3, "h1"), Timestamp(400));
        assert_eq!(turns(&mut waiting, 400), []);
        assert_eq!(waiting.next_due(), Some(Timestamp(1000)));
        assert_eq!(turns(&mut waiting, 1000), [(a, vec![3], 2)]);
        assert_eq!(waiting.next_due(), None);
    }

    #[test]
    fn a_wave_looks_at_the_hosts_that_sent_or_at_all_when_they_are_many() {
        let mut waiting = Waiting::default();
        waiting.add(touched("a", 1, "h1"), Timestamp(0));
        waiting.add(touched("a", 1, "h.2"), Timestamp(0));
        let wave = waiting.next_turn(Timestamp(0)).expect("it is due").wave;
        assert_eq!(
            wave.condition.as_ref().map(Matcher::to_string).as_deref(),
            Some(r#"endpoint=~"h\\.2|h1""#)
        );
        let of = |host: &str| Labels::from_pairs([("endpoint", host)]);
        assert!(wave.hosts.contain(&of("h1")) && !wave.hosts.contain(&of("h3")));
        for host in 0..=HOSTS_MAX {
            waiting.add(touched("a", 1, &host.to_string()), Timestamp(5000));
        }
        let wave = waiting.next_turn(Timestamp(5000)).expect("it is due").wave;
        assert!(wave.condition.is_none() && wave.hosts == Hosts::All);
    }

    #[test]
    fn a_turn_that_comes_during_an_evaluation_is_taken_after_it() {
        let mut waiting = Waiting::default();
        waiting.add(touched("a", 1, "h1"), Timestamp(0));
        let turn = waiting.next_turn(Timestamp(0)).expect("it is due");
        waiting.postpone(turn);
        waiting.add(touched("a", 2, "h2"), Timestamp(10));
        assert_eq!(turns(&mut waiting, 10), []);
        waiting.release(&key("a"), Timestamp(20));
        let turn = waiting.next_turn(Timestamp(20)).expect("it is due");
        assert_eq!(turn.rules, [1, 2]);
        for host in ["h1", "h2"] {
            assert!(turn.wave.hosts.contain(&Labels::from_pairs([("endpoint", host)])), "{host}");
        }
    }

    #[test]
    fn a_few_groups_do_not_wait_for_many() {
        let mut waiting = Waiting::default();
        for group in ["a", "b", "c"] {
            waiting.add(touched(group, 0, "h1"), Timestamp(0));
        }
        let first = waiting.next_turn(Timestamp(0)).expect("it is due");
        waiting.add(touched("z", 0, "h2"), Timestamp(5));
        let order: Vec<(String, u64)> =
            turns(&mut waiting, 5).into_iter().map(|(group, _, wave)| (group, wave)).collect();
        assert_eq!((first.group.name.as_str(), first.wave.number), ("a", 1));
        let expected = [("z", 2), ("b", 1), ("c", 1)];
        assert_eq!(order, expected.map(|(group, wave)| (group.to_owned(), wave)));
    }

    #[test]
    fn a_turn_that_a_later_one_went_before_can_be_taken_again() {
        let mut waiting = Waiting::default();
        for group in ["a", "b", "c"] {
            waiting.add(touched(group, 1, "h1"), Timestamp(0));
        }
        assert!(waiting.next_turn(Timestamp(0)).is_some());
        waiting.add(touched("c", 2, "h2"), Timestamp(1000));
        let later = waiting.next_turn(Timestamp(1000)).expect("it goes first");
        assert_eq!((later.rules, later.wave.number), (vec![2], 2));
        let earlier = std::iter::from_fn(|| waiting.next_turn(Timestamp(1000))).last();
        let earlier = earlier.expect("the turn of the first wave");
        assert_eq!((earlier.group.name.as_str(), earlier.wave.number), ("c", 1));
        waiting.add(earlier.into(), Timestamp(1000));
        let again = waiting.next_turn(Timestamp(2000)).expect("a second later");
        assert_eq!((again.rules, again.wave.number), (vec![1], 3));
        assert!(again.wave.hosts.contain(&Labels::from_pairs([("endpoint", "h1")])));
    }

    #[test]
    fn a_clock_that_was_set_back_holds_nobody_up_for_longer_than_a_second() {
        let mut waiting = Waiting::default();
        waiting.add(touched("a", 1, "h1"), Timestamp(1_000_000));
        assert_eq!(turns(&mut waiting, 1_000_000).len(), 1);
        waiting.add(touched("a", 1, "h1"), Timestamp(5));
        assert_eq!(turns(&mut waiting, 1005).len(), 1);
    }
}
