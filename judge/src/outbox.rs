//! Alerts on their way to one alarm: the latest word on every alert, not a log of words. Pure; time is an
//! argument.
//!
//! A new word on an alert replaces the old one in place, so the length is bounded by the number of live
//! alerts and not by how long the alarm is away. What changed (the transitions: it fires, it ended) goes
//! before what is only repeated (the refreshes). The end of the lease that a firing alert carries is computed
//! when it is sent, and is the longer the slower the alarm takes alerts; what was sent with a lease that turns
//! out too short is repeated before all else. So a backlog delays news, but can never turn into a false end.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use model::{Fingerprint, Timestamp};

use crate::pace::Pace;
use crate::told::{News, RENEWAL_MAX, Told};

/// The longest time that an alert is thought to wait for its repetition: the end of a judge is noticed after
/// four times this even at the slowest alarm.
const PATIENCE_MAX: Duration = Duration::from_secs(6 * 3600);
/// Two tasks that look at the clock one after the other may come here the other way round.
const JITTER: Duration = Duration::from_secs(5);
/// What stands in the place of a group for alerts of judge about itself.
pub(crate) const OWN_GROUP: &str = "judge;itself";

/// Limits of an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Firing and ended alerts are repeated this often.
    pub(crate) resend_delay: Duration,
    /// Alerts it holds at most. What has no room is offered again by the next evaluation of its rule.
    pub(crate) alerts_max: usize,
    /// Alerts in one request.
    pub(crate) batch_max: usize,
}

/// The outbox of one alarm.
#[derive(Debug)]
pub(crate) struct Outbox {
    limits: Limits,
    batch_size: usize,
    entries: HashMap<Fingerprint, Entry>,
    order: BTreeSet<(Lane, Timestamp, Fingerprint)>,
    /// Alerts by the time when half of the lease that they were sent with is over.
    expiring: BTreeSet<(Timestamp, Fingerprint)>,
    pace: Pace,
    /// Counts what groups said, to tell what a group no longer says.
    round: u64,
    by_group: HashMap<Arc<str>, HashSet<Fingerprint>>,
}

/// An alert that is handed out for sending, with the end that is sent: of its lease while it fires.
pub(crate) type Parcel = (Fingerprint, Arc<Told>, Timestamp);

#[derive(Debug)]
struct Entry {
    told: Arc<Told>,
    group: Arc<str>,
    confirmed_at: Timestamp,
    delivered: Option<(Timestamp, News)>,
    place: (Lane, Timestamp),
    half_lease: Option<Timestamp>,
    round: u64,
    /// Other groups by whose rules the same alert fires.
    seconds: Vec<Second>,
}

/// What a group says of an alert that another group speaks for: nothing is told of it until that one has nothing more
/// to say, so an end there is no end while it fires here.
#[derive(Debug)]
struct Second {
    group: Arc<str>,
    told: Arc<Told>,
    at: Timestamp,
    round: u64,
}

/// In this order they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    /// What judge says of itself.
    Own,
    Transition,
    Refresh,
}

impl Outbox {
    /// An empty outbox.
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            batch_size: limits.batch_max,
            entries: HashMap::new(),
            order: BTreeSet::new(),
            expiring: BTreeSet::new(),
            pace: Pace::default(),
            round: 0,
            by_group: HashMap::new(),
        }
    }

    /// Takes everything that a group has to say: its firing alerts and those that ended and are not
    /// forgotten. What it said before and no longer says is dropped. Answers how many found no room.
    pub(crate) fn publish(
        &mut self,
        group: &Arc<str>,
        alerts: &[Arc<Told>],
        now: Timestamp,
    ) -> usize {
        self.undo_future(now);
        self.round += 1;
        let mut without_room = 0;
        for told in alerts {
            let fingerprint = Fingerprint(told.labels.hash());
            without_room += usize::from(!self.put(fingerprint, group, told, now));
        }
        let is_left_over = |key: &&Fingerprint| {
            self.entries.get(key).is_none_or(|entry| entry.round_of(group) != Some(self.round))
        };
        let of_group = self.by_group.get(group).into_iter().flatten();
        let left_over: Vec<Fingerprint> = of_group.filter(is_left_over).copied().collect();
        for fingerprint in left_over {
            self.unsay(fingerprint, group);
        }
        if self.by_group.get(group).is_some_and(HashSet::is_empty) {
            self.by_group.remove(group);
        }
        without_room
    }

    /// Drops what a group said: another judge speaks for it now.
    pub(crate) fn forget(&mut self, group: &Arc<str>) {
        for fingerprint in self.by_group.remove(group).unwrap_or_default() {
            self.unsay(fingerprint, group);
        }
    }

    /// The next batch to send: what is about to run out of its lease, then transitions and the oldest first;
    /// empty when nothing is due. Handing out changes nothing: say [`Outbox::delivered`] or
    /// [`Outbox::refused`], or ask again.
    pub(crate) fn batch(&mut self, now: Timestamp) -> Vec<Parcel> {
        self.undo_future(now);
        let expiring = self.expiring.iter().take_while(|(at, _)| *at <= now);
        let mut due: Vec<Fingerprint> =
            expiring.take(self.batch_size).map(|(_, fingerprint)| *fingerprint).collect();
        let urgent: HashSet<Fingerprint> = due.iter().copied().collect();
        let is_due =
            |(lane, at, _): &&(Lane, Timestamp, Fingerprint)| *lane != Lane::Refresh || *at <= now;
        let others = self.order.iter().take_while(is_due).map(|(_, _, fingerprint)| *fingerprint);
        let others = others.filter(|fingerprint| !urgent.contains(fingerprint));
        due.extend(others.take(self.batch_size - due.len()));
        let patience = self.patience(now);
        let mut batch = Vec::with_capacity(due.len());
        for fingerprint in due {
            let Some(entry) = self.entries.get(&fingerprint) else { continue };
            if entry.told.news == News::Firing && now.since(entry.confirmed_at) > RENEWAL_MAX {
                let group = Arc::clone(&entry.group);
                self.unsay(fingerprint, &group);
            } else {
                let ends_at = entry.told.ends_at(now, patience);
                batch.push((fingerprint, entry.told.clone(), ends_at));
            }
        }
        self.pace.has_work(!batch.is_empty(), now);
        batch
    }

    /// How long it may take until an alert is sent again: the resend delay, or what the alarm's pace makes of
    /// it, up to [`PATIENCE_MAX`].
    pub(crate) fn patience(&self, now: Timestamp) -> Duration {
        let round = self.pace.round(self.entries.len(), now);
        self.limits.resend_delay.max(round).max(self.oldest_overdue(now)).min(PATIENCE_MAX)
    }

    /// When there is something to send next; `None` while the outbox is empty.
    pub(crate) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        let next = self.order.first().map(|(lane, at, _)| match lane {
            Lane::Refresh => *at,
            Lane::Own | Lane::Transition => now,
        });
        let expiring = self.expiring.first().map(|(at, _)| *at);
        [next, expiring].into_iter().flatten().min()
    }

    /// The alarm took these.
    pub(crate) fn delivered(&mut self, batch: &[Parcel], now: Timestamp) {
        self.batch_size = (self.batch_size * 2).min(self.limits.batch_max);
        self.pace.took(batch.len());
        self.mark(batch, now);
    }

    /// The alarm will never take this batch as it is. A batch of many is tried again in halves, so that one
    /// bad alert does not hold up the good ones; a single alert is given up until its next refresh. Answers
    /// how many were given up.
    pub(crate) fn refused(&mut self, batch: &[Parcel], now: Timestamp) -> usize {
        if batch.len() > 1 {
            self.batch_size = batch.len() / 2;
            return 0;
        }
        self.mark(batch, now);
        batch.len()
    }

    /// The alarm took nothing: its pace is measured from now on, and not while it is away.
    pub(crate) fn away(&mut self, now: Timestamp) {
        self.pace.starts_over(now);
    }

    /// The alerts of a group whose latest transition the alarm has not taken yet.
    pub(crate) fn undelivered(&self, group: &str) -> impl Iterator<Item = Fingerprint> {
        let of_group = self.by_group.get(group).into_iter().flatten();
        of_group.copied().filter(|key| {
            let waits = |entry: &Entry| entry.place.0 != Lane::Refresh && *entry.group == *group;
            self.entries.get(key).is_some_and(waits)
        })
    }

    /// How many alerts it holds.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How long the oldest transition has been waiting.
    pub(crate) fn oldest_transition_age(&self, now: Timestamp) -> Duration {
        match self.first_of(Lane::Transition) {
            Some((Lane::Transition, at, _)) => now.since(*at),
            _ => Duration::ZERO,
        }
    }

    /// How long what is due the longest has been waiting, transitions and refreshes.
    pub(crate) fn oldest_overdue(&self, now: Timestamp) -> Duration {
        let refresh =
            self.first_of(Lane::Refresh).map_or(Duration::ZERO, |(_, at, _)| now.since(*at));
        refresh.max(self.oldest_transition_age(now))
    }

    fn first_of(&self, lane: Lane) -> Option<&(Lane, Timestamp, Fingerprint)> {
        self.order.range((lane, Timestamp::MIN, Fingerprint(0))..).next()
    }

    /// After the clock was set back nothing waits until it has caught up.
    fn undo_future(&mut self, now: Timestamp) {
        if !self.pace.was_set_back(now, JITTER) {
            return;
        }
        let soon = now.plus(self.limits.resend_delay);
        for entry in self.entries.values_mut() {
            let latest = if entry.place.0 == Lane::Refresh { soon } else { now };
            entry.place.1 = entry.place.1.min(latest);
            entry.confirmed_at = entry.confirmed_at.min(now);
            entry.half_lease = entry.half_lease.map(|at| at.min(soon));
        }
        self.order =
            self.entries.iter().map(|(key, entry)| (entry.place.0, entry.place.1, *key)).collect();
        self.expiring = self
            .entries
            .iter()
            .filter_map(|(key, entry)| Some((entry.half_lease?, *key)))
            .collect();
    }

    fn put(
        &mut self,
        fingerprint: Fingerprint,
        group: &Arc<str>,
        told: &Arc<Told>,
        now: Timestamp,
    ) -> bool {
        let round = self.round;
        let Some(entry) = self.entries.get_mut(&fingerprint) else {
            return self.put_new(fingerprint, group, told, now);
        };
        if entry.group != *group {
            return self.put_of_other(fingerprint, group, told, now);
        }
        if told.news != News::Firing
            && let Some(second) = entry.seconds.pop()
        {
            // It ended by this rule, and goes on firing by another one.
            self.leave(fingerprint, group);
            self.hand_over(fingerprint, second);
            return true;
        }
        entry.round = round;
        self.say(fingerprint, told, now);
        true
    }

    fn put_new(
        &mut self,
        fingerprint: Fingerprint,
        group: &Arc<str>,
        told: &Arc<Told>,
        now: Timestamp,
    ) -> bool {
        if self.entries.len() >= self.limits.alerts_max {
            return false;
        }
        let place = (lane_of(group), now);
        self.order.insert((place.0, place.1, fingerprint));
        self.by_group.entry(Arc::clone(group)).or_default().insert(fingerprint);
        let entry = Entry {
            told: Arc::clone(told),
            group: Arc::clone(group),
            confirmed_at: now,
            delivered: None,
            place,
            half_lease: None,
            round: self.round,
            seconds: Vec::new(),
        };
        self.entries.insert(fingerprint, entry);
        true
    }

    /// A word on an alert that another group speaks for. While it fires there, that one goes on speaking for it: two
    /// that take turns would tell a new start each time.
    fn put_of_other(
        &mut self,
        fingerprint: Fingerprint,
        group: &Arc<str>,
        told: &Arc<Told>,
        now: Timestamp,
    ) -> bool {
        let round = self.round;
        let Some(entry) = self.entries.get_mut(&fingerprint) else { return true };
        match (entry.told.news, told.news) {
            (News::Firing, News::Firing) => {
                entry.seconds.retain(|second| second.group != *group);
                let (group, told) = (Arc::clone(group), Arc::clone(told));
                self.by_group.entry(Arc::clone(&group)).or_default().insert(fingerprint);
                entry.seconds.push(Second { group, told, at: now, round });
            }
            (News::Resolved(there), News::Resolved(here)) if here <= there => {}
            (News::Resolved(_), _) => {
                let before = Arc::clone(&entry.group);
                self.leave(fingerprint, &before);
                let (group, told) = (Arc::clone(group), Arc::clone(told));
                self.hand_over(fingerprint, Second { group, told, at: now, round });
            }
            // An end here is not the end of it. Should it have fired here, it is left out below.
            (News::Firing, News::Resolved(_)) => {}
        }
        true
    }

    /// From now on another group speaks for an alert.
    fn hand_over(&mut self, fingerprint: Fingerprint, to: Second) {
        self.by_group.entry(Arc::clone(&to.group)).or_default().insert(fingerprint);
        if let Some(entry) = self.entries.get_mut(&fingerprint) {
            (entry.group, entry.round) = (to.group, to.round);
            self.say(fingerprint, &to.told, to.at);
        }
    }

    /// Takes the word of the group that speaks for an alert.
    fn say(&mut self, fingerprint: Fingerprint, told: &Arc<Told>, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(&fingerprint) else { return };
        let place = match entry.place {
            (Lane::Refresh, due) if entry.delivered == Some(told.key()) => (Lane::Refresh, due),
            (Lane::Refresh, _) => (lane_of(&entry.group), now),
            (_, since) => (lane_of(&entry.group), since),
        };
        if place != entry.place {
            self.order.remove(&(entry.place.0, entry.place.1, fingerprint));
            self.order.insert((place.0, place.1, fingerprint));
            entry.place = place;
        }
        if told.news != News::Firing {
            // What ended needs no renewal of the lease: its end is on its way.
            let half_lease = entry.half_lease.take();
            half_lease.map(|at| self.expiring.remove(&(at, fingerprint)));
        }
        (entry.told, entry.confirmed_at) = (Arc::clone(told), now);
    }

    /// A group has nothing more to say of an alert.
    fn unsay(&mut self, fingerprint: Fingerprint, group: &Arc<str>) {
        self.leave(fingerprint, group);
        let Some(entry) = self.entries.get_mut(&fingerprint) else { return };
        if entry.group != *group {
            entry.seconds.retain(|second| second.group != *group);
        } else if let Some(second) = entry.seconds.pop() {
            self.hand_over(fingerprint, second);
        } else {
            self.drop_entry(fingerprint);
        }
    }

    fn leave(&mut self, fingerprint: Fingerprint, group: &Arc<str>) {
        if let Some(of_group) = self.by_group.get_mut(group) {
            of_group.remove(&fingerprint);
        }
    }

    fn mark(&mut self, batch: &[Parcel], now: Timestamp) {
        for (fingerprint, sent, ends_at) in batch {
            let Some(entry) = self.entries.get_mut(fingerprint) else { continue };
            entry.delivered = Some(sent.key());
            if let Some(at) = entry.half_lease.take() {
                self.expiring.remove(&(at, *fingerprint));
            }
            if entry.told.news == News::Firing && sent.news == News::Firing {
                let half = now.plus(ends_at.since(now) / 2);
                entry.half_lease = Some(half);
                self.expiring.insert((half, *fingerprint));
            }
            // A newer word may have come while this one was under way; it is still to be sent.
            if entry.told.key() == sent.key() {
                self.order.remove(&(entry.place.0, entry.place.1, *fingerprint));
                entry.place = (Lane::Refresh, now.plus(self.limits.resend_delay));
                self.order.insert((entry.place.0, entry.place.1, *fingerprint));
            }
        }
    }

    fn drop_entry(&mut self, fingerprint: Fingerprint) {
        if let Some(entry) = self.entries.remove(&fingerprint) {
            self.order.remove(&(entry.place.0, entry.place.1, fingerprint));
            if let Some(at) = entry.half_lease {
                self.expiring.remove(&(at, fingerprint));
            }
            self.leave(fingerprint, &entry.group);
            for second in entry.seconds {
                self.leave(fingerprint, &second.group);
            }
        }
    }
}

impl Entry {
    /// In which round a group said something of it last.
    fn round_of(&self, group: &Arc<str>) -> Option<u64> {
        if self.group == *group {
            return Some(self.round);
        }
        self.seconds.iter().find(|second| second.group == *group).map(|second| second.round)
    }
}

/// Where news of a group stands in line.
fn lane_of(group: &str) -> Lane {
    if group == OWN_GROUP { Lane::Own } else { Lane::Transition }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::Labels;
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits =
        Limits { resend_delay: Duration::from_secs(60), alerts_max: 1000, batch_max: 4 };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn told(name: u32, starts_at: i64, news: News) -> Arc<Told> {
        Arc::new(Told {
            labels: Labels::from_pairs([("alertname", "A"), ("n", &name.to_string())]),
            annotations: BTreeMap::new(),
            generator_url: Arc::from(""),
            starts_at: at(starts_at),
            news,
            interval: Duration::from_secs(15),
        })
    }

    fn firing(names: std::ops::Range<u32>) -> Vec<Arc<Told>> {
        names.map(|name| told(name, 0, News::Firing)).collect()
    }

    fn group() -> Arc<str> {
        Arc::from("rules.yml;hosts")
    }

    fn outbox(alerts: &[Arc<Told>]) -> Outbox {
        let mut outbox = Outbox::new(LIMITS);
        assert_eq!(outbox.publish(&group(), alerts, at(0)), 0);
        outbox
    }

    fn send_all(outbox: &mut Outbox, now: i64) -> Vec<Parcel> {
        let mut sent = Vec::new();
        loop {
            let batch = outbox.batch(at(now));
            if batch.is_empty() {
                return sent;
            }
            outbox.delivered(&batch, at(now));
            sent.extend(batch);
        }
    }

    #[test]
    fn every_alert_is_sent_at_once_and_again_after_the_resend_delay() {
        let mut outbox = outbox(&firing(0..10));
        assert_eq!(send_all(&mut outbox, 1).len(), 10);
        assert_eq!((send_all(&mut outbox, 60).len(), outbox.next_due(at(60))), (0, Some(at(61))));
        assert_eq!(send_all(&mut outbox, 61).len(), 10);
    }

    #[test]
    fn a_new_word_replaces_the_one_that_waits() {
        let mut outbox = outbox(&firing(0..1));
        outbox.publish(&group(), &[told(0, 0, News::Resolved(at(30)))], at(30));
        outbox.publish(&group(), &[told(0, 40, News::Firing)], at(40));
        let sent = send_all(&mut outbox, 50);
        assert_eq!(sent.len(), 1);
        assert_eq!((sent[0].1.starts_at, sent[0].1.news), (at(40), News::Firing));
    }

    #[test]
    fn transitions_go_before_refreshes() {
        let mut outbox = outbox(&firing(0..8));
        send_all(&mut outbox, 0);
        outbox.publish(&group(), &firing(0..9), at(100));
        let first = outbox.batch(at(100));
        assert_eq!(first[0].1.labels.get("n"), Some("8"));
        assert_eq!(first.len(), 4, "refreshes fill the batch");
    }

    #[test]
    fn the_lease_is_computed_when_the_alert_is_sent() {
        let alert = told(0, 0, News::Firing);
        assert_eq!(alert.ends_at(at(1000), LIMITS.resend_delay), at(1240));
        assert_eq!(alert.ends_at(at(5000), Duration::ZERO), at(5060));
        let ended = told(0, 0, News::Resolved(at(7)));
        assert_eq!(ended.ends_at(at(5000), LIMITS.resend_delay), at(7));
    }

    #[test]
    fn a_word_that_changes_under_way_is_sent_again() {
        let mut outbox = outbox(&firing(0..1));
        let batch = outbox.batch(at(1));
        outbox.publish(&group(), &[told(0, 0, News::Resolved(at(2)))], at(2));
        outbox.delivered(&batch, at(3));
        let next = outbox.batch(at(3));
        assert_eq!(next[0].1.news, News::Resolved(at(2)));
        assert_eq!(outbox.undelivered(&group()).count(), 1);
        outbox.delivered(&next, at(4));
        assert_eq!(outbox.undelivered(&group()).count(), 0);
    }

    #[test]
    fn what_a_group_no_longer_says_is_dropped() {
        let mut outbox = outbox(&firing(0..5));
        outbox.publish(&group(), &firing(2..3), at(1));
        assert_eq!((outbox.len(), send_all(&mut outbox, 1).len()), (1, 1));
        outbox.forget(&group());
        assert!(outbox.len() == 0 && outbox.batch(at(500)).is_empty());
    }

    #[test]
    fn an_end_in_one_group_does_not_end_the_same_alert_of_another() {
        let mut outbox = outbox(&firing(0..1));
        let other: Arc<str> = Arc::from("db;other");
        outbox.publish(&other, &[told(0, 0, News::Resolved(at(5)))], at(5));
        assert_eq!(outbox.batch(at(5))[0].1.news, News::Firing);
        outbox.publish(&other, &[told(0, 6, News::Firing)], at(6));
        assert_eq!(outbox.batch(at(6))[0].1.starts_at, at(0), "one start, not two in turns");
        outbox.publish(&other, &[], at(7));
        assert_eq!(outbox.len(), 1, "it belongs to the group that fires");
    }

    #[test]
    fn a_full_outbox_says_how_many_found_no_room() {
        let mut outbox = Outbox::new(Limits { alerts_max: 3, ..LIMITS });
        assert_eq!(outbox.publish(&group(), &firing(0..5), at(0)), 2);
        outbox.publish(&group(), &firing(3..5), at(1));
        assert_eq!(outbox.publish(&group(), &firing(3..5), at(2)), 0, "there is room now");
    }

    #[test]
    fn a_refused_batch_is_halved_until_the_bad_alert_stands_alone() {
        let mut outbox = outbox(&firing(0..8));
        let (mut given_up, mut taken, mut requests) = (0, 0, 0);
        loop {
            let batch = outbox.batch(at(1));
            if batch.is_empty() {
                break;
            }
            requests += 1;
            if batch.iter().any(|(_, told, _)| told.labels.get("n") == Some("5")) {
                given_up += outbox.refused(&batch, at(1));
            } else {
                taken += batch.len();
                outbox.delivered(&batch, at(1));
            }
        }
        assert_eq!((given_up, taken), (1, 7));
        assert!(requests < 12, "{requests}");
    }

    #[test]
    fn an_alert_whose_rule_is_silent_is_renewed_for_an_hour() {
        let mut outbox = outbox(&firing(0..1));
        assert_eq!(send_all(&mut outbox, 3600).len(), 1);
        assert_eq!((send_all(&mut outbox, 3661).len(), outbox.len()), (0, 0));
    }

    #[test]
    fn the_age_of_the_oldest_transition_is_known() {
        let mut outbox = outbox(&firing(0..2));
        outbox.publish(&group(), &firing(0..3), at(50));
        assert_eq!(outbox.oldest_transition_age(at(70)), Duration::from_secs(70));
        send_all(&mut outbox, 70);
        assert_eq!(outbox.oldest_transition_age(at(99)), Duration::ZERO);
    }

    #[test]
    fn a_slow_alarm_gets_leases_that_last_for_a_whole_round() {
        let mut outbox = outbox(&firing(0..400));
        // Four alerts in ten seconds: a round takes a thousand.
        for tick in 0..5 {
            let batch = outbox.batch(at(tick * 10));
            outbox.delivered(&batch, at(tick * 10 + 10));
        }
        let lease = outbox.batch(at(50))[0].2.since(at(50));
        assert_eq!(lease, Duration::from_secs(4 * 1000));
        assert_eq!(outbox.patience(at(50)), Duration::from_secs(1000));
    }

    #[test]
    fn what_is_about_to_run_out_of_its_lease_goes_first() {
        let mut outbox = outbox(&firing(0..400));
        let first = outbox.batch(at(0));
        outbox.delivered(&first, at(10));
        assert_eq!(first[0].2, at(240));
        let names = |batch: &[Parcel]| batch.iter().map(|parcel| parcel.0).collect::<HashSet<_>>();
        assert!(names(&outbox.batch(at(120))).is_disjoint(&names(&first)));
        let again = outbox.batch(at(125));
        assert_eq!(names(&again), names(&first), "half of their lease is over");
        outbox.delivered(&again, at(130));
        assert!(names(&outbox.batch(at(130))).is_disjoint(&names(&first)));
    }

    #[test]
    fn an_end_is_not_repeated_for_its_lease() {
        let mut outbox = outbox(&firing(0..1));
        send_all(&mut outbox, 0);
        outbox.publish(&group(), &[told(0, 0, News::Resolved(at(30)))], at(30));
        assert_eq!(send_all(&mut outbox, 30).len(), 1);
        assert_eq!(outbox.next_due(at(30)), Some(at(90)));
    }

    #[test]
    fn what_judge_says_of_itself_goes_before_all_news() {
        let mut outbox = outbox(&firing(0..50));
        outbox.publish(&Arc::from(OWN_GROUP), &[told(99, 0, News::Firing)], at(5));
        assert_eq!(outbox.batch(at(5))[0].1.labels.get("n"), Some("99"));
    }

    #[test]
    fn a_clock_set_back_does_not_stop_the_repetition() {
        let mut outbox = outbox(&firing(0..3));
        let begin = 3_000;
        send_all(&mut outbox, begin);
        outbox.publish(&group(), &firing(0..3), at(begin + 1));
        assert_eq!(send_all(&mut outbox, 100).len(), 0);
        assert_eq!(send_all(&mut outbox, 160).len(), 3, "a resend delay after it was set");
    }

    #[test]
    fn an_alarm_that_was_away_is_measured_from_its_return() {
        let mut outbox = outbox(&firing(0..40));
        outbox.batch(at(0));
        outbox.away(at(3000));
        let batch = outbox.batch(at(3000));
        outbox.delivered(&batch, at(3001));
        let refreshes = outbox.patience(at(3001));
        assert_eq!(refreshes, Duration::from_secs(3001), "as long as the oldest news waits");
        send_all(&mut outbox, 3010);
        assert_eq!(outbox.patience(at(3011)), LIMITS.resend_delay);
    }

    fn groups() -> [Arc<str>; 2] {
        [Arc::from("a"), Arc::from("b")]
    }

    #[test]
    fn what_fires_by_two_groups_ends_when_both_say_so() {
        let [a, b] = groups();
        let mut outbox = Outbox::new(LIMITS);
        outbox.publish(&a, &[told(1, 0, News::Firing)], at(0));
        outbox.publish(&b, &[told(1, 5, News::Firing)], at(5));
        let sent = send_all(&mut outbox, 5);
        assert_eq!(
            (sent.len(), sent[0].1.starts_at),
            (1, at(0)),
            "the first goes on speaking for it"
        );
        outbox.publish(&a, &[told(1, 0, News::Resolved(at(20)))], at(20));
        assert_eq!(outbox.undelivered("a").count(), 0);
        let sent = send_all(&mut outbox, 20);
        assert!(sent.iter().all(|(_, told, _)| told.news == News::Firing), "{sent:?}");
        outbox.publish(&b, &[told(1, 5, News::Resolved(at(30)))], at(30));
        outbox.publish(&a, &[told(1, 0, News::Resolved(at(20)))], at(35));
        let sent = send_all(&mut outbox, 35);
        assert_eq!(sent[0].1.news, News::Resolved(at(30)));
        for now in [40, 45, 50] {
            outbox.publish(&a, &[told(1, 0, News::Resolved(at(20)))], at(now));
            outbox.publish(&b, &[told(1, 5, News::Resolved(at(30)))], at(now));
            assert_eq!(send_all(&mut outbox, now).len(), 0, "they do not take turns");
        }
    }

    #[test]
    fn a_group_that_goes_leaves_what_it_spoke_for_to_the_other() {
        for is_forgotten in [false, true] {
            let [a, b] = groups();
            let mut outbox = Outbox::new(LIMITS);
            outbox.publish(&a, &[told(1, 0, News::Firing)], at(0));
            outbox.publish(&b, &[told(1, 0, News::Firing)], at(0));
            send_all(&mut outbox, 0);
            match is_forgotten {
                true => outbox.forget(&a),
                false => drop(outbox.publish(&a, &[], at(10))),
            }
            assert_eq!(
                (outbox.len(), send_all(&mut outbox, 10).len()),
                (1, 0),
                "it is the same news"
            );
            assert_eq!(send_all(&mut outbox, 60).len(), 1);
            outbox.forget(&b);
            assert_eq!((outbox.len(), outbox.by_group.len()), (0, 0));
        }
    }

    #[test]
    fn what_is_overdue_is_known_for_repetitions_too() {
        let mut outbox = outbox(&firing(0..2));
        send_all(&mut outbox, 0);
        assert_eq!(outbox.oldest_overdue(at(60)), Duration::ZERO);
        assert_eq!(outbox.oldest_overdue(at(100)), Duration::from_secs(40));
    }

    proptest! {
        /// Its books agree, whatever is said, sent and refused, and however the clock goes.
        #[test]
        fn its_books_agree(steps in proptest::collection::vec((0u8..6, 0u32..8, -30i64..60), 1..24)) {
            let mut outbox = Outbox::new(LIMITS);
            let groups: [Arc<str>; 2] = [Arc::from("a"), Arc::from("b")];
            let mut now = 10_000;
            for (what, number, pass) in steps {
                now += pass;
                let group = &groups[usize::from(what % 2)];
                match what {
                    0 | 1 => drop(outbox.publish(group, &firing(0..number), at(now))),
                    2 => drop(outbox.publish(group, &[told(number, 0, News::Resolved(at(now)))], at(now))),
                    3 => outbox.forget(group),
                    _ => {
                        let batch = outbox.batch(at(now));
                        prop_assert!(batch.iter().all(|(_, told, end)| told.news != News::Firing || *end > at(now)));
                        if what == 4 {
                            outbox.delivered(&batch, at(now));
                        } else if !batch.is_empty() {
                            outbox.refused(&batch, at(now));
                        }
                    }
                }
                let order: BTreeSet<_> =
                    outbox.entries.iter().map(|(key, e)| (e.place.0, e.place.1, *key)).collect();
                let expiring: BTreeSet<_> =
                    outbox.entries.iter().filter_map(|(key, e)| Some((e.half_lease?, *key))).collect();
                let grouped: usize = outbox.by_group.values().map(HashSet::len).sum();
                let said: usize =
                    outbox.entries.values().map(|entry| 1 + entry.seconds.len()).sum();
                prop_assert_eq!((&outbox.order, &outbox.expiring, grouped), (&order, &expiring, said));
            }
        }
    }

    proptest! {
        /// Whatever two groups say of the same alerts: no end leaves while one of them says that it fires, and
        /// what neither speaks of is not told.
        #[test]
        fn an_end_by_one_group_is_none_while_another_fires(
            steps in proptest::collection::vec((0u8..2, proptest::collection::vec(0u8..3, 3), any::<bool>()), 1..40),
        ) {
            let mut outbox = Outbox::new(LIMITS);
            let groups = groups();
            let mut said = [[0; 3]; 2];
            for (step, (group, words, is_sent)) in steps.into_iter().enumerate() {
                let now = step as i64 * 10;
                let news = [None, Some(News::Firing), Some(News::Resolved(at(now)))];
                let alerts = words.iter().zip(0..).filter_map(|(word, name)| {
                    Some(told(name, 0, news[usize::from(*word)]?))
                });
                outbox.publish(&groups[usize::from(group)], &alerts.collect::<Vec<_>>(), at(now));
                said[usize::from(group)].copy_from_slice(&words);
                if !is_sent {
                    continue;
                }
                for (_, told, _) in send_all(&mut outbox, now) {
                    let name: usize = told.labels.get("n").and_then(|n| n.parse().ok()).expect("a number");
                    let of_both = [said[0][name], said[1][name]];
                    prop_assert_eq!(told.news == News::Firing, of_both.contains(&1), "{:?}", of_both);
                    prop_assert_ne!(of_both, [0, 0]);
                }
                let spoken = (0..3).filter(|name| [said[0][*name], said[1][*name]] != [0, 0]).count();
                // A word that did not count is heard when it is said again.
                prop_assert!(outbox.len() <= spoken);
            }
        }
    }

    proptest! {
        /// However slow the alarm: no end leaves while the rule fires, and the length stays that of the live
        /// alerts.
        #[test]
        fn a_backlog_never_becomes_a_false_end(sends in proptest::collection::vec(any::<bool>(), 1..40)) {
            let mut outbox = Outbox::new(LIMITS);
            for (tick, sends) in sends.into_iter().enumerate() {
                let now = at(tick as i64 * 20);
                outbox.publish(&group(), &firing(0..20), now);
                prop_assert!(outbox.len() <= 20);
                if sends {
                    let batch = outbox.batch(now);
                    prop_assert!(!batch.iter().any(|(_, _, ends_at)| *ends_at <= now));
                    outbox.delivered(&batch, now);
                }
            }
        }
    }
}
