//! The state machine of an alerting rule: inactive, pending, firing. Pure: old alerts, vector, now → new
//! alerts, events.
//!
//! It follows Prometheus but for three things. What absence from the answer means is for the caller to say, as
//! a rule may have a condition of its own for the end: see [`Absence`]. An alert that was last seen before a gap (a restart, an outage
//! of the store) is not ended by its mere absence until data had time to return: see [`Settling`]. And ended
//! alerts are not forgotten here but by [`forget`], since the news of the end must have been delivered first.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Labels, Timestamp};
use serde::{Deserialize, Serialize};

/// How long an alert that ended is remembered and told again, as in Prometheus.
pub(crate) const RESOLVED_RETENTION: Duration = Duration::from_secs(15 * 60);
/// How long an end that no alarm took is kept, so that an alarm that is away for good cannot fill the state.
pub(crate) const UNDELIVERED_RETENTION: Duration = Duration::from_secs(24 * 3600);

/// The alerts of one rule by their labels (the identity of an alert, `alertname` included).
pub(crate) type Alerts = BTreeMap<Labels, HeldAlert>;

/// One element of the result of a rule's query, with the rule's labels and its rendered annotations.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ActiveAlert {
    /// The identity of the alert.
    pub(crate) labels: Labels,
    /// Texts for humans.
    pub(crate) annotations: BTreeMap<String, String>,
    /// The value of the query.
    pub(crate) value: f64,
}

/// An alert that the rule knows of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct HeldAlert {
    /// Texts for humans, as of the last time the condition held.
    pub(crate) annotations: BTreeMap<String, String>,
    /// The value at that time.
    #[serde(with = "value_text")]
    pub(crate) value: f64,
    /// Where it stands.
    pub(crate) phase: Phase,
    /// When the condition was last seen to hold. Not stored: what was seen before a restart counts as long
    /// ago.
    #[serde(skip)]
    pub(crate) seen_at: Timestamp,
}

/// Where an alert stands. An alert that is not held at all is inactive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// The condition holds, but not yet for long enough.
    Pending {
        /// Since when it holds.
        active_at: Timestamp,
    },
    /// The condition holds long enough.
    Firing {
        /// Since when it holds.
        active_at: Timestamp,
        /// When it had held long enough.
        fired_at: Timestamp,
    },
    /// The condition no longer holds, but `keep_firing_for` keeps the alert firing.
    Kept {
        /// Since when the condition held.
        active_at: Timestamp,
        /// When it had held long enough.
        fired_at: Timestamp,
        /// Since when it no longer holds.
        absent_since: Timestamp,
    },
    /// The alert fired and ended.
    Resolved {
        /// When it had begun to fire.
        fired_at: Timestamp,
        /// When it ended.
        resolved_at: Timestamp,
    },
}

impl Phase {
    /// When the alert began to fire; `None` while it is pending.
    pub(crate) fn fired_at(self) -> Option<Timestamp> {
        match self {
            Self::Pending { .. } => None,
            Self::Firing { fired_at, .. }
            | Self::Kept { fired_at, .. }
            | Self::Resolved { fired_at, .. } => Some(fired_at),
        }
    }

    /// Whether it fires.
    pub(crate) fn is_firing(self) -> bool {
        matches!(self, Self::Firing { .. } | Self::Kept { .. })
    }

    /// Since when the condition holds; `None` once the alert ended.
    pub(crate) fn active_at(self) -> Option<Timestamp> {
        match self {
            Self::Pending { active_at }
            | Self::Firing { active_at, .. }
            | Self::Kept { active_at, .. } => Some(active_at),
            Self::Resolved { .. } => None,
        }
    }

    /// Without times that lie ahead. How long a condition held before its alert fired stays the same.
    fn not_after(self, now: Timestamp) -> Self {
        match self {
            Self::Pending { active_at } => Self::Pending { active_at: active_at.min(now) },
            Self::Firing { active_at, fired_at } => {
                let active_at = active_at.minus(fired_at.since(now));
                Self::Firing { active_at, fired_at: fired_at.min(now) }
            }
            Self::Kept { active_at, fired_at, absent_since } => {
                let active_at = active_at.minus(fired_at.since(now));
                let absent_since = absent_since.min(now);
                Self::Kept { active_at, fired_at: fired_at.min(now), absent_since }
            }
            Self::Resolved { fired_at, resolved_at } => {
                Self::Resolved { fired_at: fired_at.min(now), resolved_at: resolved_at.min(now) }
            }
        }
    }

    /// The word of the Prometheus API and of the label `alertstate`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pending { .. } => "pending",
            Self::Firing { .. } | Self::Kept { .. } => "firing",
            Self::Resolved { .. } => "inactive",
        }
    }
}

/// The times of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timing {
    /// How long the condition must hold (`for`).
    pub(crate) hold: Duration,
    /// How long the alert fires on after the condition ended.
    pub(crate) keep_firing_for: Duration,
    /// Set after a gap in the evaluations.
    pub(crate) settling: Option<Settling>,
}

/// The time after a gap in the evaluations of a rule, in which absence proves nothing yet: senders may still
/// be delivering what they kept during the outage, and ranges in queries are half empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settling {
    /// The first evaluation after the gap. Alerts seen since then are treated as ever.
    pub(crate) from: Timestamp,
    /// When the data had time enough to return.
    pub(crate) until: Timestamp,
}

/// What happened to an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The condition began to hold, but must hold longer.
    Pending,
    /// It began to fire.
    Fired,
    /// The condition ended, and `keep_firing_for` keeps it firing.
    Kept,
    /// The condition holds again before `keep_firing_for` was over.
    Held,
    /// It fires no more.
    Resolved,
    /// The condition ended before it had held long enough.
    Dropped,
    /// Somebody raised `for` beyond the time the condition holds: it waits again.
    Demoted,
}

/// The alerts after an evaluation, and what happened to which.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Step {
    /// What the rule holds now.
    pub(crate) alerts: Alerts,
    /// What happened, in order of the labels. Empty when nothing did that is worth storing.
    pub(crate) events: Vec<(Labels, Event)>,
}

/// What it means that an alert is not in the answer of its rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absence {
    /// The condition no longer holds.
    Over,
    /// Nothing says that the condition is over: the alert stays as it is.
    Open,
}

/// One successful evaluation; the caller says what absence from the answer means for an alert. The label
/// sets of `vector` are distinct; the caller refuses others as an error of the rule. A failed query is no
/// evaluation: it leaves the alerts as they are. Evaluations may come at any increasing times.
pub(crate) fn step_with(
    mut old: Alerts,
    vector: Vec<ActiveAlert>,
    now: Timestamp,
    timing: &Timing,
    absence: impl Fn(&Labels, Phase) -> Absence,
) -> Step {
    let mut step = Step::default();
    for active in vector {
        let before = old.remove(&active.labels).map(|alert| alert.phase);
        let (phase, event) = present(before, now, timing.hold);
        step.note(&active.labels, event);
        let alert =
            HeldAlert { annotations: active.annotations, value: active.value, phase, seen_at: now };
        step.alerts.insert(active.labels, alert);
    }
    for (labels, mut alert) in old {
        let is_settling = timing
            .settling
            .is_some_and(|settling| alert.seen_at < settling.from && now < settling.until);
        if is_settling || absence(&labels, alert.phase) == Absence::Open {
            step.alerts.insert(labels, alert);
            continue;
        }
        let (phase, event) = absent(alert.phase, now, timing.keep_firing_for);
        step.note(&labels, event);
        if let Some(phase) = phase {
            alert.phase = phase;
            step.alerts.insert(labels, alert);
        }
    }
    step.events.sort_by(|a, b| a.0.cmp(&b.0));
    step
}

/// A clock that was wrong and has been set back leaves times that lie ahead. They become now: an alert does
/// not wait until the clock has caught up, and no alarm is told of a start or an end in the future. Answers
/// whether there were any.
pub(crate) fn undo_future(alerts: &mut Alerts, now: Timestamp) -> bool {
    let mut is_changed = false;
    for alert in alerts.values_mut() {
        let before = alert.phase;
        alert.phase = before.not_after(now);
        is_changed |= alert.phase != before;
    }
    is_changed
}

/// Ends the alerts of a rule that is no more: what fires is resolved, what is pending vanishes.
pub(crate) fn retire(old: Alerts, now: Timestamp) -> Alerts {
    let ended = |mut alert: HeldAlert| {
        alert.phase = absent(alert.phase, now, Duration::ZERO).0?;
        Some(alert)
    };
    old.into_iter().filter_map(|(labels, alert)| Some((labels, ended(alert)?))).collect()
}

/// Forgets alerts that ended more than fifteen minutes ago, unless their end is still to be delivered.
/// Answers whether any was forgotten.
pub(crate) fn forget(
    alerts: &mut Alerts,
    now: Timestamp,
    is_undelivered: impl Fn(&Labels) -> bool,
) -> bool {
    let before = alerts.len();
    alerts.retain(|labels, alert| match alert.phase {
        Phase::Resolved { resolved_at, .. } => {
            let age = now.since(resolved_at);
            age <= RESOLVED_RETENTION || (age <= UNDELIVERED_RETENTION && is_undelivered(labels))
        }
        _ => true,
    });
    alerts.len() != before
}

/// What was seen before counts as long ago, as after a restart.
pub(crate) fn unsee(alerts: &mut Alerts) {
    alerts.values_mut().for_each(|alert| alert.seen_at = Timestamp::default());
}

/// Moves the beginning of pending alerts by the length of a gap: time in which nobody looked does not count
/// towards `for`.
pub(crate) fn skip_gap(alerts: &mut Alerts, gap: Duration) {
    for alert in alerts.values_mut() {
        if let Phase::Pending { active_at } = &mut alert.phase {
            *active_at = active_at.plus(gap);
        }
    }
}

fn present(before: Option<Phase>, now: Timestamp, hold: Duration) -> (Phase, Option<Event>) {
    match before {
        None | Some(Phase::Resolved { .. }) if hold.is_zero() => {
            (Phase::Firing { active_at: now, fired_at: now }, Some(Event::Fired))
        }
        None | Some(Phase::Resolved { .. }) => (Phase::Pending { active_at: now }, Some(Event::Pending)),
        Some(Phase::Pending { active_at }) if now.since(active_at) >= hold => {
            (Phase::Firing { active_at, fired_at: now }, Some(Event::Fired))
        }
        Some(Phase::Firing { active_at, fired_at } | Phase::Kept { active_at, fired_at, .. })
            // The second condition keeps an alert firing when the clock was set back.
            if now.since(active_at) < hold && fired_at.since(active_at) < hold =>
        {
            (Phase::Pending { active_at }, Some(Event::Demoted))
        }
        Some(Phase::Kept { active_at, fired_at, .. }) => {
            (Phase::Firing { active_at, fired_at }, Some(Event::Held))
        }
        Some(unchanged) => (unchanged, None),
    }
}

fn absent(before: Phase, now: Timestamp, keep: Duration) -> (Option<Phase>, Option<Event>) {
    match before {
        Phase::Pending { .. } => (None, Some(Event::Dropped)),
        Phase::Firing { active_at, fired_at } if !keep.is_zero() => {
            (Some(Phase::Kept { active_at, fired_at, absent_since: now }), Some(Event::Kept))
        }
        Phase::Kept { absent_since, .. } if now.since(absent_since) < keep => (Some(before), None),
        Phase::Firing { fired_at, .. } | Phase::Kept { fired_at, .. } => {
            (Some(Phase::Resolved { fired_at, resolved_at: now }), Some(Event::Resolved))
        }
        Phase::Resolved { .. } => (Some(before), None),
    }
}

impl Step {
    fn note(&mut self, labels: &Labels, event: Option<Event>) {
        if let Some(event) = event {
            self.events.push((labels.clone(), event));
        }
    }
}

/// JSON has no NaN and no infinity, so a value is stored as text.
mod value_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TICK: Duration = Duration::from_secs(60);

    /// With Prometheus' view of absence: what is not in the answer is over.
    fn step(old: Alerts, vector: Vec<ActiveAlert>, now: Timestamp, timing: &Timing) -> Step {
        step_with(old, vector, now, timing, |_, _| Absence::Over)
    }

    fn at(tick: usize) -> Timestamp {
        Timestamp::from_seconds(1_000_000).plus(TICK * u32::try_from(tick).expect("few ticks"))
    }

    fn active(value: f64) -> ActiveAlert {
        let labels = Labels::from_pairs([("alertname", "Down"), ("endpoint", "web-1")]);
        ActiveAlert { labels, annotations: BTreeMap::new(), value }
    }

    fn timing(hold: u32, keep: u32) -> Timing {
        Timing { hold: TICK * hold, keep_firing_for: TICK * keep, settling: None }
    }

    fn letter(alerts: &Alerts) -> char {
        match alerts.values().next().map(|alert| alert.phase) {
            None => 'I',
            Some(Phase::Pending { .. }) => 'P',
            Some(Phase::Firing { .. }) => 'F',
            Some(Phase::Kept { .. }) => 'K',
            Some(Phase::Resolved { .. }) => 'R',
        }
    }

    /// One letter a minute: `x` the condition holds, `.` it does not, `e` the query fails.
    fn run(timing: Timing, minutes: &str) -> (String, Alerts) {
        let mut alerts = Alerts::new();
        let mut states = String::new();
        for (tick, minute) in minutes.chars().enumerate() {
            alerts = match minute {
                'x' => step(alerts, vec![active(1.0)], at(tick), &timing).alerts,
                '.' => step(alerts, vec![], at(tick), &timing).alerts,
                _ => alerts,
            };
            forget(&mut alerts, at(tick), |_| false);
            states.push(letter(&alerts));
        }
        (states, alerts)
    }

    fn check(hold: u32, keep: u32, minutes: &str, states: &str) {
        assert_eq!(
            run(timing(hold, keep), minutes).0,
            states,
            "for {hold}m, keep_firing_for {keep}m: {minutes}"
        );
    }

    #[test]
    fn an_alert_fires_once_the_condition_held_long_enough() {
        check(2, 0, ".xxxx.", "IPPFFR");
    }

    #[test]
    fn without_a_hold_it_fires_at_once() {
        check(0, 0, "x.x", "FRF");
    }

    #[test]
    fn a_hold_shorter_than_the_interval_fires_at_the_second_evaluation() {
        check(1, 0, "xx", "PF");
    }

    #[test]
    fn a_gap_restarts_the_hold() {
        check(2, 0, "xx.xxx", "PPIPPF");
    }

    #[test]
    fn a_failed_query_changes_nothing_and_its_time_counts() {
        check(2, 0, "xexe.eex", "PPFFRRRP");
        check(3, 0, "xeeex", "PPPPF");
    }

    #[test]
    fn keep_firing_for_bridges_short_absences() {
        check(1, 2, "xx.x..x...x", "PFKFKKFKKRP");
    }

    #[test]
    fn an_ended_alert_is_remembered_for_fifteen_minutes() {
        let minutes = format!("x{}", ".".repeat(17));
        check(0, 0, &minutes, &format!("F{}I", "R".repeat(16)));
    }

    #[test]
    fn an_alert_that_returns_after_its_end_starts_anew() {
        let (_, alerts) = run(timing(0, 0), "x.x");
        let phase = alerts.values().next().expect("one alert").phase;
        assert_eq!(phase, Phase::Firing { active_at: at(2), fired_at: at(2) });
    }

    #[test]
    fn a_raised_hold_sends_a_young_alert_back_to_pending_and_leaves_an_old_one() {
        let (_, young) = run(timing(1, 0), "xx");
        let raised = step(young, vec![active(1.0)], at(2), &timing(5, 0));
        assert_eq!(letter(&raised.alerts), 'P');
        assert_eq!(raised.events[0].1, Event::Demoted);
        let (_, old) = run(timing(1, 0), "xxxxxx");
        assert_eq!(letter(&step(old, vec![active(1.0)], at(6), &timing(5, 0)).alerts), 'F');
    }

    #[test]
    fn a_clock_that_is_set_back_neither_ends_nor_demotes_an_alert() {
        let (_, alerts) = run(timing(1, 0), "xxx");
        let earlier = Timestamp::from_seconds(10);
        assert_eq!(letter(&step(alerts, vec![active(1.0)], earlier, &timing(1, 0)).alerts), 'F');
    }

    #[test]
    fn value_and_annotations_follow_the_condition_and_stay_when_it_ends() {
        let first = step(Alerts::new(), vec![active(1.0)], at(0), &timing(0, 0));
        let second = step(first.alerts, vec![active(2.0)], at(1), &timing(0, 0));
        assert!(second.events.is_empty(), "a new value is no event");
        let third = step(second.alerts, vec![], at(2), &timing(0, 0));
        assert_eq!(third.alerts.values().next().map(|alert| alert.value), Some(2.0));
        assert_eq!(third.events, [(active(0.0).labels, Event::Resolved)]);
    }

    #[test]
    fn after_a_gap_absence_ends_nothing_until_data_had_time_to_return() {
        let (_, alerts) = run(timing(0, 0), "x");
        let settling = Settling { from: at(10), until: at(13) };
        let settled = Timing { settling: Some(settling), ..timing(0, 0) };
        let during = step(alerts, vec![], at(12), &settled);
        assert_eq!((letter(&during.alerts), during.events.len()), ('F', 0));
        let after = step(during.alerts, vec![], at(13), &settled);
        assert_eq!(letter(&after.alerts), 'R');
    }

    #[test]
    fn an_alert_seen_after_the_gap_ends_as_ever() {
        let (_, alerts) = run(timing(0, 0), "x");
        let settled =
            Timing { settling: Some(Settling { from: at(10), until: at(13) }), ..timing(0, 0) };
        let seen = step(alerts, vec![active(1.0)], at(10), &settled);
        assert_eq!(letter(&step(seen.alerts, vec![], at(11), &settled).alerts), 'R');
    }

    #[test]
    fn a_pending_alert_does_not_fire_on_absence_while_settling() {
        let (_, alerts) = run(timing(2, 0), "x");
        let settled =
            Timing { settling: Some(Settling { from: at(10), until: at(13) }), ..timing(2, 0) };
        assert_eq!(letter(&step(alerts, vec![], at(12), &settled).alerts), 'P');
    }

    #[test]
    fn an_end_that_nobody_took_is_kept_until_it_is_delivered_or_a_day_old() {
        let (_, mut alerts) = run(timing(0, 0), "x.");
        let waits = |labels: &Labels| *labels == active(0.0).labels;
        assert!(!forget(&mut alerts, at(600), waits));
        assert!(forget(&mut alerts.clone(), at(600), |_| false));
        assert!(forget(&mut alerts, at(1 + 24 * 60 + 1), waits));
    }

    #[test]
    fn a_rule_that_is_no_more_resolves_what_fires_and_drops_what_waits() {
        for (minutes, hold, keep, state) in [("x", 0, 0, 'R'), ("x.", 0, 5, 'R'), ("x", 5, 0, 'I')]
        {
            let (_, alerts) = run(timing(hold, keep), minutes);
            assert_eq!(letter(&retire(alerts, at(3))), state, "{minutes}");
        }
    }

    #[test]
    fn time_in_which_nobody_looked_does_not_count_towards_the_hold() {
        let (_, mut alerts) = run(timing(5, 0), "xxx");
        skip_gap(&mut alerts, TICK * 10);
        let phase = alerts.values().next().expect("one alert").phase;
        assert_eq!(phase, Phase::Pending { active_at: at(10) });
    }

    #[test]
    fn values_without_a_place_in_json_survive_a_restart() {
        for value in [f64::NAN, f64::INFINITY, -0.0, 1e-300] {
            let step = step(Alerts::new(), vec![active(value)], at(0), &timing(0, 0));
            let held = step.alerts.values().next().expect("one alert");
            let text = serde_json::to_string(held).expect("plain data");
            let read: HeldAlert = serde_json::from_str(&text).expect("just written");
            assert_eq!((read.value.to_bits(), read.phase), (value.to_bits(), held.phase), "{text}");
        }
    }

    proptest! {
        /// While the condition holds whenever somebody can look, outages never end an alert or change its
        /// start.
        #[test]
        fn outages_never_resolve_an_alert_whose_condition_holds(minutes in "x[xe]{0,60}") {
            let (states, alerts) = run(timing(0, 0), &minutes);
            prop_assert!(!states.contains(['R', 'I']), "{minutes} {states}");
            prop_assert_eq!(alerts.values().next().and_then(|alert| alert.phase.fired_at()), Some(at(0)));
        }

        /// An alert fires only when the condition was seen during the whole hold.
        #[test]
        fn firing_takes_a_whole_hold(minutes in "[x.]{1,40}") {
            let (states, _) = run(timing(3, 0), &minutes);
            for (tick, _) in states.char_indices().filter(|(_, state)| *state == 'F') {
                prop_assert!(tick >= 3 && minutes[tick - 3..=tick].chars().all(|minute| minute == 'x'));
            }
        }
    }
}
