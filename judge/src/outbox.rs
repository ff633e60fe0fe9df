//! Alerts on their way to one alarm: the latest word on every alert, not a log of words. Pure; time is an
//! argument.
//!
//! A new word on an alert replaces the old one in place, so the length is bounded by the number of live
//! alerts and not by how long the alarm is away. What changed (the transitions: it fires, it ended) goes
//! before what is only repeated (the refreshes). The end of the lease that a firing alert carries is computed
//! when it is sent. So a backlog delays news, but can never turn into a false end.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use model::{Alert, Fingerprint, Labels, Timestamp};

/// How long a firing alert is repeated when its rule can no longer be evaluated. Afterwards the alarm is left
/// to notice that the news has become old.
pub(crate) const RENEWAL_MAX: Duration = Duration::from_secs(3600);

/// What a rule says of an alert.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Told {
    /// Identity of the alert, external labels included.
    pub(crate) labels: Labels,
    /// Texts for humans.
    pub(crate) annotations: BTreeMap<String, String>,
    /// Where the rule can be looked at.
    pub(crate) generator_url: Arc<str>,
    /// When it began to fire.
    pub(crate) starts_at: Timestamp,
    /// Whether it still fires.
    pub(crate) news: News,
    /// Interval of the rule's group: the slower the rule, the longer its word holds.
    pub(crate) interval: Duration,
}

/// Whether an alert still fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// It fires.
    Firing,
    /// It ended then.
    Resolved(Timestamp),
}

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
    by_group: HashMap<Arc<str>, HashSet<Fingerprint>>,
}

/// An alert that is handed out for sending.
pub(crate) type Parcel = (Fingerprint, Arc<Told>);

#[derive(Debug)]
struct Entry {
    told: Arc<Told>,
    group: Arc<str>,
    confirmed_at: Timestamp,
    delivered: Option<(Timestamp, News)>,
    place: (Lane, Timestamp),
}

/// Transitions sort, and are sent, before refreshes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Transition,
    Refresh,
}

impl Told {
    /// The alert as it is sent at `now`: while it fires its news holds for four times the interval or the
    /// resend delay, whichever is longer.
    pub(crate) fn at(&self, now: Timestamp, resend_delay: Duration) -> Alert {
        let ends_at = match self.news {
            News::Firing => now.plus(self.interval.max(resend_delay) * 4),
            News::Resolved(at) => at,
        };
        Alert {
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
            starts_at: self.starts_at,
            ends_at,
            generator_url: self.generator_url.to_string(),
        }
    }

    fn key(&self) -> (Timestamp, News) {
        (self.starts_at, self.news)
    }
}

impl Outbox {
    /// An empty outbox.
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            batch_size: limits.batch_max,
            entries: HashMap::new(),
            order: BTreeSet::new(),
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
        let mut left_over = self.by_group.remove(group).unwrap_or_default();
        let mut without_room = 0;
        for told in alerts {
            let fingerprint = Fingerprint(told.labels.hash());
            left_over.remove(&fingerprint);
            without_room += usize::from(!self.put(fingerprint, group, told, now));
        }
        for fingerprint in left_over {
            self.drop_entry(fingerprint);
        }
        without_room
    }

    /// Drops what a group said: another judge speaks for it now.
    pub(crate) fn forget(&mut self, group: &Arc<str>) {
        for fingerprint in self.by_group.remove(group).unwrap_or_default() {
            self.drop_entry(fingerprint);
        }
    }

    /// The next batch to send, transitions first and the oldest first; empty when nothing is due. Handing out
    /// changes nothing: say [`Outbox::delivered`] or [`Outbox::refused`], or ask again.
    pub(crate) fn batch(&mut self, now: Timestamp) -> Vec<Parcel> {
        let is_due = |(lane, at, _): &&(Lane, Timestamp, Fingerprint)| {
            *lane == Lane::Transition || *at <= now
        };
        let due: Vec<Fingerprint> = self
            .order
            .iter()
            .take_while(is_due)
            .take(self.batch_size)
            .map(|(_, _, key)| *key)
            .collect();
        let mut batch = Vec::with_capacity(due.len());
        for fingerprint in due {
            let Some(entry) = self.entries.get(&fingerprint) else { continue };
            if entry.told.news == News::Firing && now.since(entry.confirmed_at) > RENEWAL_MAX {
                self.drop_entry(fingerprint);
            } else {
                batch.push((fingerprint, entry.told.clone()));
            }
        }
        batch
    }

    /// When there is something to send next; `None` while the outbox is empty.
    pub(crate) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        self.order.first().map(|(lane, at, _)| if *lane == Lane::Transition { now } else { *at })
    }

    /// The alarm took these.
    pub(crate) fn delivered(&mut self, batch: &[Parcel], now: Timestamp) {
        self.batch_size = (self.batch_size * 2).min(self.limits.batch_max);
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

    /// The alerts of a group whose latest transition the alarm has not taken yet.
    pub(crate) fn undelivered(&self, group: &str) -> impl Iterator<Item = Fingerprint> {
        let of_group = self.by_group.get(group).into_iter().flatten();
        of_group
            .copied()
            .filter(|key| self.entries.get(key).is_some_and(|e| e.place.0 == Lane::Transition))
    }

    /// How many alerts it holds.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How long the oldest transition has been waiting.
    pub(crate) fn oldest_transition_age(&self, now: Timestamp) -> Duration {
        match self.order.first() {
            Some((Lane::Transition, at, _)) => now.since(*at),
            _ => Duration::ZERO,
        }
    }

    fn put(
        &mut self,
        fingerprint: Fingerprint,
        group: &Arc<str>,
        told: &Arc<Told>,
        now: Timestamp,
    ) -> bool {
        let before = self.entries.get(&fingerprint);
        let speaks_other =
            before.is_some_and(|entry| entry.group != *group && entry.told.news == News::Firing);
        if speaks_other {
            // The same alert fires by another group's rule, which goes on speaking for it: an end here is not
            // the end of it, and two that take turns would tell a new start each time.
            return true;
        }
        if before.is_none() && self.entries.len() >= self.limits.alerts_max {
            return false;
        }
        let delivered = before.and_then(|entry| entry.delivered);
        let place = match before.map(|entry| entry.place) {
            Some((Lane::Refresh, due)) if delivered == Some(told.key()) => (Lane::Refresh, due),
            Some((Lane::Transition, since)) => (Lane::Transition, since),
            _ => (Lane::Transition, now),
        };
        if let Some(before) = before {
            self.order.remove(&(before.place.0, before.place.1, fingerprint));
            if let Some(others) = self.by_group.get_mut(&before.group) {
                others.remove(&fingerprint);
            }
        }
        self.order.insert((place.0, place.1, fingerprint));
        self.by_group.entry(group.clone()).or_default().insert(fingerprint);
        let entry =
            Entry { told: told.clone(), group: group.clone(), confirmed_at: now, delivered, place };
        self.entries.insert(fingerprint, entry);
        true
    }

    fn mark(&mut self, batch: &[Parcel], now: Timestamp) {
        for (fingerprint, sent) in batch {
            let Some(entry) = self.entries.get_mut(fingerprint) else { continue };
            entry.delivered = Some(sent.key());
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
            if let Some(group) = self.by_group.get_mut(&entry.group) {
                group.remove(&fingerprint);
            }
        }
    }
}

/// How long to wait before the next attempt after so many failed ones in a row: one second, doubled up to
/// thirty.
pub(crate) fn backoff(failures: u32) -> Duration {
    Duration::from_secs(1u64 << failures.saturating_sub(1).min(5)).min(Duration::from_secs(30))
}

#[cfg(test)]
mod tests {
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
        assert_eq!(alert.at(at(1000), LIMITS.resend_delay).ends_at, at(1240));
        assert_eq!(alert.at(at(5000), Duration::ZERO).ends_at, at(5060));
        let ended = told(0, 0, News::Resolved(at(7)));
        assert_eq!(ended.at(at(5000), LIMITS.resend_delay).ends_at, at(7));
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
            if batch.iter().any(|(_, told)| told.labels.get("n") == Some("5")) {
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
    fn attempts_are_made_less_and_less_often_down_to_two_a_minute() {
        let seconds: Vec<u64> = (0..8).map(|failures| backoff(failures).as_secs()).collect();
        assert_eq!(seconds, [1, 1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn the_age_of_the_oldest_transition_is_known() {
        let mut outbox = outbox(&firing(0..2));
        outbox.publish(&group(), &firing(0..3), at(50));
        assert_eq!(outbox.oldest_transition_age(at(70)), Duration::from_secs(70));
        send_all(&mut outbox, 70);
        assert_eq!(outbox.oldest_transition_age(at(99)), Duration::ZERO);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// However slow the alarm: no end leaves while the rule fires, and the length stays that of the live
        /// alerts.
        #[test]
        fn a_backlog_never_becomes_a_false_end(sends in proptest::collection::vec(any::<bool>(), 200)) {
            let mut outbox = Outbox::new(LIMITS);
            for (tick, sends) in sends.into_iter().enumerate() {
                let now = at(tick as i64 * 10);
                outbox.publish(&group(), &firing(0..50), now);
                prop_assert!(outbox.len() <= 50);
                if sends {
                    let batch = outbox.batch(now);
                    let ends = |told: &Told| told.at(now, LIMITS.resend_delay).is_resolved_at(now);
                    prop_assert!(!batch.iter().any(|(_, told)| ends(told)));
                    outbox.delivered(&batch, now);
                }
            }
        }
    }
}
