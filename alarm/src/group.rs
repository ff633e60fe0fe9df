//! Groups of alerts and when each is told. Pure: news of alerts and the time come in, flushes go out.
//!
//! The timers are Alertmanager's: a new group waits `group_wait` for more, later news wait until `group_interval`
//! after the message before. Two things differ. A flush has only the alerts with news, unless a repeat is due or
//! the route asks for whole groups, so that a storm costs what its alerts cost. And a timer is nothing that
//! could be lost: it follows from when an alert began and when its group was told last, both of which are stored.

mod flush;
mod rebuild;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use db::alerts::{AlertStatus, StoredAlert};
use model::{Fingerprint, FingerprintMap, Labels, Timestamp};

use crate::inhibit::Inhibitor;
use crate::pipeline::Reason;
use crate::plan::Plan;
use crate::route::Leaf;

/// The label of the one group of a way that takes what is new while there are too many groups.
const OVERFLOW: (&str, &str) = ("alarm_overflow", "true");

/// News of an alert.
#[derive(Debug, Clone)]
pub(crate) struct News {
    pub(crate) labels: Labels,
    pub(crate) status: AlertStatus,
    pub(crate) starts_at: Timestamp,
    pub(crate) priority: u8,
    /// When it came.
    pub(crate) at: Timestamp,
}

impl News {
    /// The alert as it stands, as news of `at`.
    pub(crate) fn of(stored: &StoredAlert, at: Timestamp) -> Self {
        Self {
            labels: stored.alert.labels.clone(),
            status: stored.status,
            starts_at: stored.alert.starts_at,
            priority: stored.priority,
            at,
        }
    }
}

/// Alerts of a group that are to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flush {
    /// Position of the way in the tree.
    pub(crate) leaf: usize,
    /// The labels of the group.
    pub(crate) labels: Labels,
    /// The alerts, in the order of their fingerprints.
    pub(crate) alerts: Vec<Fingerprint>,
    /// Alerts of the group that fire and are not among them.
    pub(crate) left_out: u64,
    /// Whether what was told before is told again.
    pub(crate) is_repeat: bool,
    /// After how long the group would be told again, as things stand.
    pub(crate) repeat_interval: Duration,
    /// The most urgent of the alerts.
    pub(crate) priority: u8,
    /// When the first of them had its news.
    pub(crate) event_at: Timestamp,
    /// When the first of them began.
    pub(crate) since: Timestamp,
    /// Another number for every other flush of the group, and the same for the same.
    pub(crate) mark: u64,
}

/// An alert that is not told for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) leaf: usize,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) reason: Reason,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) flushes: Vec<Flush>,
    pub(crate) held: Vec<Held>,
}

#[derive(Debug)]
struct Known {
    news: News,
    groups: Places,
}

/// The positions of the groups of an alert: nearly always one, and that takes no memory of its own.
#[derive(Debug, Clone)]
enum Places {
    One(usize),
    Several(Box<[usize]>),
}

impl Places {
    fn new(ids: Vec<usize>) -> Self {
        match ids.as_slice() {
            [id] => Self::One(*id),
            _ => Self::Several(ids.into_boxed_slice()),
        }
    }

    fn iter(&self) -> impl Iterator<Item = usize> {
        let ids = match self {
            Self::One(id) => std::slice::from_ref(id),
            Self::Several(ids) => ids,
        };
        ids.iter().copied()
    }

    fn remove(&mut self, id: usize) {
        *self = Self::new(self.iter().filter(|other| *other != id).collect());
    }
}

#[derive(Debug)]
struct Group {
    leaf: usize,
    labels: Labels,
    /// Firing and stale members.
    firing: BTreeSet<Fingerprint>,
    /// Members with something to tell.
    news: BTreeSet<Fingerprint>,
    /// Members that are not told although there is something to tell.
    held: BTreeMap<Fingerprint, Reason>,
    /// The timer as it is set.
    due: Option<Timestamp>,
    /// The message before.
    told_at: Option<Timestamp>,
    /// The oldest of what its firing members were told last.
    full_at: Option<Timestamp>,
    repeat_at: Option<Timestamp>,
    /// Whether its next message repeats what was told before.
    tells_again: bool,
}

/// All groups.
#[derive(Debug)]
pub(crate) struct Groups {
    plan: Arc<Plan>,
    alerts: FingerprintMap<Known>,
    groups: Vec<Option<Group>>,
    free: Vec<usize>,
    by_labels: HashMap<(usize, Labels), usize>,
    timers: BTreeSet<(Timestamp, usize)>,
    holding: BTreeSet<usize>,
    inhibitor: Inhibitor,
    recheck: bool,
    /// What is not told and was not noted yet.
    refused: Vec<Held>,
    /// The minute that times of the day were looked at last.
    minute: i64,
    /// Alerts that were put into an overflow group since they were counted last.
    overflowed: u64,
}

impl Groups {
    /// How many groups there are.
    pub(crate) fn len(&self) -> usize {
        self.by_labels.len()
    }

    /// How many alerts shared the common group of their way since this was asked last.
    pub(crate) fn take_overflowed(&mut self) -> u64 {
        std::mem::take(&mut self.overflowed)
    }

    /// When [`Groups::due`] has something to do, if no news come before.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        let timer = self.timers.first().map(|(at, _)| *at);
        // What is held back by the time of the day may be free in the next minute.
        let minute = (!self.holding.is_empty()).then(|| Timestamp((self.minute + 1) * 60_000));
        [timer, minute].into_iter().flatten().min()
    }

    /// Something happened to an alert.
    pub(crate) fn observe(&mut self, fingerprint: Fingerprint, news: News) {
        let (status, at) = (news.status, news.at);
        self.join(fingerprint, news);
        let ids = self.groups_of(fingerprint);
        for id in ids.iter() {
            let Some(group) = self.groups[id].as_mut() else { continue };
            match status {
                AlertStatus::Firing | AlertStatus::Resolved => {
                    group.held.remove(&fingerprint);
                    group.news.insert(fingerprint);
                    self.arm(id, fingerprint, at);
                }
                // Neither "firing" nor "resolved" would be true.
                AlertStatus::Stale => {
                    group.news.remove(&fingerprint);
                    let (leaf, reason) = (group.leaf, Reason::LeaseExpired);
                    self.refused.push(Held { leaf, fingerprint, reason });
                }
            }
        }
    }

    /// What held an alert back may be over: its groups look at it again.
    /// `is_repeat`: those who know of it are told again.
    pub(crate) fn offer(&mut self, fingerprint: Fingerprint, is_repeat: bool, now: Timestamp) {
        let ids = self.groups_of(fingerprint);
        for id in ids.iter() {
            if let Some(group) = self.groups[id].as_mut() {
                group.held.remove(&fingerprint);
                group.news.insert(fingerprint);
                group.tells_again |= is_repeat;
                self.arm(id, fingerprint, now);
            }
        }
    }

    /// Everything that is due at `now`.
    pub(crate) fn due(&mut self, now: Timestamp) -> Due {
        let minute = now.0.div_euclid(60_000);
        if self.recheck || (minute != self.minute && !self.holding.is_empty()) {
            self.recheck_held(now);
        }
        self.minute = minute;
        let mut due = Due { held: std::mem::take(&mut self.refused), ..Due::default() };
        while let Some((at, id)) = self.timers.first().copied()
            && at <= now
        {
            self.timers.pop_first();
            if let Some(group) = self.groups[id].as_mut() {
                group.due = None;
            }
            self.flush(id, now, &mut due);
        }
        due
    }

    fn join(&mut self, fingerprint: Fingerprint, news: News) {
        let firing = news.status == AlertStatus::Firing;
        let is_changed = if firing {
            self.inhibitor.begin(fingerprint, &news.labels)
        } else {
            self.inhibitor.end(fingerprint)
        };
        self.recheck |= is_changed && !self.holding.is_empty();
        if !self.alerts.contains_key(&fingerprint) {
            let plan = self.plan.clone();
            let leaves = plan.tree.leaves_of(&news.labels);
            let groups = leaves.into_iter().map(|leaf| self.group_of(leaf, &news.labels)).collect();
            let news = News { labels: Labels::empty(), ..news };
            self.alerts.insert(fingerprint, Known { news, groups: Places::new(groups) });
        }
        let Some(known) = self.alerts.get_mut(&fingerprint) else { return };
        let is_over = news.status == AlertStatus::Resolved;
        known.news = news;
        if self.plan.inhibit_rules.is_empty() {
            // Nobody asks for them again, and those of a storm are large.
            known.news.labels = Labels::empty();
        }
        for id in known.groups.iter() {
            let Some(group) = self.groups[id].as_mut() else { continue };
            if is_over {
                group.firing.remove(&fingerprint);
            } else {
                group.firing.insert(fingerprint);
            }
        }
    }

    fn groups_of(&self, fingerprint: Fingerprint) -> Places {
        let known = self.alerts.get(&fingerprint);
        known.map_or_else(|| Places::Several(Box::default()), |known| known.groups.clone())
    }

    fn group_of(&mut self, leaf: usize, alert: &Labels) -> usize {
        let mut labels = self.plan.tree.leaves()[leaf].options.group_by.labels_of(alert);
        if let Some(id) = self.by_labels.get(&(leaf, labels.clone())) {
            return *id;
        }
        if self.by_labels.len() >= self.plan.groups_max {
            // Told together is better than not told at all.
            self.overflowed += 1;
            labels = Labels::from_pairs([OVERFLOW]);
            if let Some(id) = self.by_labels.get(&(leaf, labels.clone())) {
                return *id;
            }
        }
        let group = Group {
            leaf,
            labels: labels.clone(),
            firing: BTreeSet::new(),
            news: BTreeSet::new(),
            held: BTreeMap::new(),
            due: None,
            told_at: None,
            full_at: None,
            repeat_at: None,
            tells_again: false,
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.groups[id] = Some(group);
                id
            }
            None => {
                self.groups.push(Some(group));
                self.groups.len() - 1
            }
        };
        self.by_labels.insert((leaf, labels), id);
        id
    }

    fn arm_all_news(&mut self, id: usize) {
        let Some(group) = self.groups[id].as_ref() else { return };
        let news: Vec<Fingerprint> = group.news.iter().copied().collect();
        for fingerprint in news {
            let at = self.alerts.get(&fingerprint).map(|known| known.news.at);
            self.arm(id, fingerprint, at.unwrap_or_default());
        }
    }

    /// Sets the timer of the group for news that came at `at`; an earlier timer stays.
    fn arm(&mut self, id: usize, fingerprint: Fingerprint, at: Timestamp) {
        let (Some(group), Some(known)) = (self.groups[id].as_ref(), self.alerts.get(&fingerprint))
        else {
            return;
        };
        let leaf = &self.plan.tree.leaves()[group.leaf];
        let wait_is_over = known.news.starts_at.plus(leaf.options.group_wait);
        let waited = match leaf.escalates_after {
            Some(_) => wait_is_over.max(at),
            // One that burns for long already waits no longer.
            None if wait_is_over <= at => at,
            None => at.plus(leaf.options.group_wait),
        };
        let due = match group.told_at {
            None => waited,
            Some(told_at) => waited.max(told_at.plus(leaf.options.group_interval)),
        };
        self.set_timer(id, due);
    }

    fn set_timer(&mut self, id: usize, at: Timestamp) {
        let Some(group) = self.groups[id].as_mut() else { return };
        if group.due.is_some_and(|due| due <= at) {
            return;
        }
        if let Some(due) = group.due.replace(at) {
            self.timers.remove(&(due, id));
        }
        self.timers.insert((at, id));
    }

    /// Sets the time of the next repeat after [`Group::full_at`].
    fn plan_repeat(&mut self, id: usize) {
        let Some(group) = self.groups[id].as_mut() else { return };
        let Some(told_at) = group.full_at else { return };
        let starts = group.firing.iter().filter_map(|member| self.alerts.get(member));
        let Some(since) = starts.map(|known| known.news.starts_at).min() else {
            group.repeat_at = None;
            return;
        };
        let repeat_at = self.plan.tree.leaves()[group.leaf].options.repeat.next(since, told_at);
        group.repeat_at = Some(repeat_at);
        self.set_timer(id, repeat_at);
    }
}

impl Plan {
    /// Why nobody is told by this way at this time.
    pub(crate) fn muted(&self, leaf: &Leaf, now: Timestamp) -> Option<Reason> {
        let holds = |name: &String| {
            self.intervals.get(name).is_some_and(|any| any.iter().any(|one| one.holds(now)))
        };
        if leaf.mute_times.iter().any(holds) {
            return Some(Reason::MuteTime);
        }
        let is_inactive = !leaf.active_times.is_empty() && !leaf.active_times.iter().any(holds);
        is_inactive.then_some(Reason::InactiveTime)
    }
}

#[cfg(test)]
mod tests;
