//! Groups of alerts and when each is told. Pure: news of alerts and the time come in, flushes go out.
//!
//! The timers are Alertmanager's: a new group waits `group_wait` for more, later news wait until `group_interval`
//! after the message before. Two things differ. A flush has only the alerts with news, unless a repeat is due or
//! the route asks for whole groups, so that a storm costs what its alerts cost. And a timer is nothing that
//! could be lost: it follows from when an alert began and when its group was told last, both of which are stored.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use db::alerts::{AlertStatus, DeliveryResult, StoredAlert, Told};
use model::{Fingerprint, Labels, Timestamp};

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
    groups: Vec<usize>,
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
    alerts: HashMap<Fingerprint, Known>,
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
    /// The groups as stored facts tell them: every alert that fires or whose end somebody waits for, and what was
    /// told about them. `has_tickets`: those of earlier flushes still are on the queues.
    pub(crate) fn rebuild(
        plan: Arc<Plan>,
        alerts: &[StoredAlert],
        told: &[Told],
        has_tickets: bool,
    ) -> Self {
        let inhibitor = Inhibitor::new(&plan.inhibit_rules);
        let mut groups = Self {
            plan,
            alerts: HashMap::new(),
            groups: Vec::new(),
            free: Vec::new(),
            by_labels: HashMap::new(),
            timers: BTreeSet::new(),
            holding: BTreeSet::new(),
            inhibitor,
            recheck: false,
            refused: Vec::new(),
            minute: 0,
            overflowed: 0,
        };
        let mut of_alert: HashMap<Fingerprint, Vec<&Told>> = HashMap::new();
        for entry in told {
            of_alert.entry(entry.fingerprint).or_default().push(entry);
        }
        for stored in alerts {
            let fingerprint = stored.alert.fingerprint();
            groups.join(fingerprint, News::of(stored, stored.alert.starts_at));
            let entries = of_alert.get(&fingerprint).map_or(&[][..], Vec::as_slice);
            groups.recall(fingerprint, stored, entries, has_tickets);
        }
        for id in 0..groups.groups.len() {
            groups.plan_repeat(id);
            groups.arm_all_news(id);
            groups.forget_if_empty(id);
        }
        groups
    }

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
        for id in ids {
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
        for id in ids {
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
            let mut groups: Vec<usize> =
                leaves.into_iter().map(|leaf| self.group_of(leaf, &news.labels)).collect();
            groups.shrink_to_fit();
            let known = Known { news: News { labels: Labels::empty(), ..news }, groups };
            self.alerts.insert(fingerprint, known);
        }
        let Some(known) = self.alerts.get_mut(&fingerprint) else { return };
        let is_over = news.status == AlertStatus::Resolved;
        known.news = news;
        if self.plan.inhibit_rules.is_empty() {
            // Nobody asks for them again, and those of a storm are large.
            known.news.labels = Labels::empty();
        }
        for id in self.groups_of(fingerprint) {
            let Some(group) = self.groups[id].as_mut() else { continue };
            if is_over {
                group.firing.remove(&fingerprint);
            } else {
                group.firing.insert(fingerprint);
            }
        }
    }

    fn groups_of(&self, fingerprint: Fingerprint) -> Vec<usize> {
        self.alerts.get(&fingerprint).map_or_else(Vec::new, |known| known.groups.to_vec())
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

    /// Takes over what was told about an alert before the restart.
    fn recall(
        &mut self,
        fingerprint: Fingerprint,
        stored: &StoredAlert,
        told: &[&Told],
        has_tickets: bool,
    ) {
        let ids = self.groups_of(fingerprint);
        for id in ids {
            let Some(group) = self.groups[id].as_mut() else { continue };
            let receiver = &self.plan.tree.leaves()[group.leaf].receiver;
            let mut is_news = false;
            for integration in self.plan.integrations_of(receiver) {
                let entry = told.iter().find(|entry| entry.receiver == integration.name);
                is_news |= !knows(entry.copied(), stored, has_tickets);
                let Some(entry) = entry else { continue };
                group.told_at = group.told_at.max(entry.sent.map(|sent| sent.at));
                let was_given_up = entry.result == DeliveryResult::Failed;
                let last_at = if was_given_up {
                    Some(entry.tried_at)
                } else {
                    entry.sent.map(|sent| sent.at)
                };
                let earliest = [group.full_at, last_at].into_iter().flatten().min();
                if stored.status != AlertStatus::Resolved {
                    group.full_at = earliest;
                }
            }
            if is_news {
                group.news.insert(fingerprint);
            }
        }
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

    fn flush(&mut self, id: usize, now: Timestamp, due: &mut Due) {
        let Some(group) = self.groups[id].as_mut() else { return };
        let leaf = &self.plan.tree.leaves()[group.leaf];
        let is_repeat = group.repeat_at.is_some_and(|at| at <= now);
        let is_young = |member: &Fingerprint| {
            let news = self.alerts.get(member).map(|known| &known.news);
            leaf.escalates_after.is_some_and(|after| {
                news.is_some_and(|news| {
                    news.status != AlertStatus::Resolved && news.starts_at.plus(after) > now
                })
            })
        };
        let (young, mut wanted) = std::mem::take(&mut group.news).into_iter().partition(is_young);
        group.news = young;
        let is_full = is_repeat || (leaf.options.whole_group && !wanted.is_empty());
        if is_full {
            wanted.extend(group.firing.iter().copied());
        }
        let muted = self.plan.muted(leaf, now);
        let reason_of = |member: &Fingerprint| {
            let known = self.alerts.get(member);
            muted.or_else(|| inhibited(&self.inhibitor, &known?.news))
        };
        let told = sort_out(group, wanted, reason_of, &mut due.held);
        if group.held.is_empty() {
            self.holding.remove(&id);
        } else {
            self.holding.insert(id);
        }
        if !told.is_empty() {
            let is_repeat = is_full || std::mem::take(&mut group.tells_again);
            let mut flush = describe(group, &self.alerts, &told, is_repeat);
            flush.repeat_interval = leaf.options.repeat.next(flush.since, now).since(now);
            due.flushes.push(flush);
            group.told_at = Some(now);
        }
        if is_full || group.full_at.is_none() {
            group.full_at = Some(now);
            self.plan_repeat(id);
        } else if let Some(repeat_at) = group.repeat_at {
            self.set_timer(id, repeat_at);
        }
        self.let_go(id, &told);
        self.arm_all_news(id);
        self.forget_if_empty(id);
    }

    /// Forgets the ends that are told.
    fn let_go(&mut self, id: usize, told: &[Fingerprint]) {
        for fingerprint in told {
            let Some(known) = self.alerts.get_mut(fingerprint) else { continue };
            if known.news.status == AlertStatus::Resolved {
                known.groups.retain(|of_alert| *of_alert != id);
                if known.groups.is_empty() {
                    self.alerts.remove(fingerprint);
                }
            }
        }
    }

    fn forget_if_empty(&mut self, id: usize) {
        let Some(group) = self.groups[id].as_ref() else { return };
        if !(group.firing.is_empty() && group.news.is_empty() && group.held.is_empty()) {
            return;
        }
        if let Some(due) = group.due {
            self.timers.remove(&(due, id));
        }
        self.by_labels.remove(&(group.leaf, group.labels.clone()));
        self.groups[id] = None;
        self.free.push(id);
        self.holding.remove(&id);
    }

    /// Looks again at what was held back by inhibition or the time.
    fn recheck_held(&mut self, now: Timestamp) {
        self.recheck = false;
        let holding: Vec<usize> = self.holding.iter().copied().collect();
        for id in holding {
            let Some(group) = self.groups[id].as_mut() else { continue };
            let leaf = &self.plan.tree.leaves()[group.leaf];
            let muted = self.plan.muted(leaf, now);
            let free: Vec<Fingerprint> = group
                .held
                .keys()
                .filter(|member| {
                    let known = self.alerts.get(*member);
                    let held = known.and_then(|known| inhibited(&self.inhibitor, &known.news));
                    muted.or(held).is_none()
                })
                .copied()
                .collect();
            for member in &free {
                group.held.remove(member);
                group.news.insert(*member);
            }
            if group.held.is_empty() {
                self.holding.remove(&id);
            }
            for member in free {
                self.arm(id, member, now);
            }
        }
    }
}

/// Notes what is held back, each reason once; answers with the others.
fn sort_out(
    group: &mut Group,
    wanted: BTreeSet<Fingerprint>,
    reason_of: impl Fn(&Fingerprint) -> Option<Reason>,
    noted: &mut Vec<Held>,
) -> Vec<Fingerprint> {
    let mut told = Vec::new();
    for fingerprint in wanted {
        let Some(reason) = reason_of(&fingerprint) else {
            group.held.remove(&fingerprint);
            told.push(fingerprint);
            continue;
        };
        if group.held.insert(fingerprint, reason) != Some(reason) {
            noted.push(Held { leaf: group.leaf, fingerprint, reason });
        }
    }
    told
}

/// An end is not held back by inhibition: who was told that the alert fires would wait for it for ever.
fn inhibited(inhibitor: &Inhibitor, news: &News) -> Option<Reason> {
    let may_be = news.status == AlertStatus::Firing;
    (may_be && inhibitor.inhibits(&news.labels)).then_some(Reason::Inhibited)
}

/// Whether a receiver knows the state of an alert, or is about to be told by a ticket that waits.
fn knows(told: Option<&Told>, stored: &StoredAlert, has_tickets: bool) -> bool {
    let Some(told) = told else { return stored.status != AlertStatus::Firing };
    let has_ticket = has_tickets && told.result == DeliveryResult::Retrying;
    if has_ticket || stored.status == AlertStatus::Stale {
        return true;
    }
    let is_firing = stored.status == AlertStatus::Firing;
    match told.sent {
        Some(sent) => {
            (sent.status == AlertStatus::Firing) == is_firing
                && stored.alert.starts_at <= sent.starts_at
        }
        None => !is_firing || told.result == DeliveryResult::Failed,
    }
}

fn describe(
    group: &Group,
    alerts: &HashMap<Fingerprint, Known>,
    told: &[Fingerprint],
    is_repeat: bool,
) -> Flush {
    let mut mark = std::hash::DefaultHasher::new();
    let (mut priority, mut firing) = (u8::MAX, 0_u64);
    let (mut event_at, mut since) = (Timestamp(i64::MAX), Timestamp(i64::MAX));
    mark.write_u64(group.labels.hash());
    for fingerprint in told {
        let Some(Known { news, .. }) = alerts.get(fingerprint) else { continue };
        (fingerprint.0, news.status.as_str(), news.at.0).hash(&mut mark);
        priority = priority.min(news.priority);
        event_at = event_at.min(news.at);
        since = since.min(news.starts_at);
        firing += u64::from(news.status != AlertStatus::Resolved);
    }
    if is_repeat {
        group.told_at.map(|at| at.0).hash(&mut mark);
    }
    Flush {
        leaf: group.leaf,
        labels: group.labels.clone(),
        alerts: told.to_vec(),
        left_out: (group.firing.len() as u64).saturating_sub(firing),
        is_repeat,
        repeat_interval: Duration::ZERO,
        priority,
        event_at,
        since,
        mark: mark.finish(),
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
