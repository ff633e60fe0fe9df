//! From "something happened" to "tell this receiver now": one array of stages in order. Pure.
//!
//! Routing, grouping, inhibition and times of the day come before (`group.rs`), for all receivers of a group at
//! once. Here is what is looked at for one receiver right before a message leaves: everything that may have
//! changed while it waited on a queue. A stage answers with the alerts it keeps and a named reason for each of the
//! others. The reason is stored and shown: for every alert one can see who was told, and why somebody was not.

mod dedup;

pub(crate) use dedup::notifications_max;

use std::collections::HashSet;
use std::time::Duration;

use db::alerts::{AlertStatus, StoredAlert, Told};
use model::{Fingerprint, Timestamp};

use crate::claims::Claims;
use crate::maintenance::Windows;
use crate::notify::Receiver;
use crate::silence::Silence;

/// An alert on its way to one receiver.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    /// The alert as it is now, which may be newer than the event that put it here.
    pub(crate) alert: StoredAlert,
    /// What the receiver was told about it last; `None` when never.
    pub(crate) told: Option<Told>,
}

/// What all candidates of a round have in common.
#[derive(Debug)]
pub(crate) struct Round<'a> {
    /// Who would be told.
    pub(crate) receiver: &'a Receiver,
    /// The moment of the decision.
    pub(crate) now: Timestamp,
    /// For how long a message that was given up is not tried again.
    pub(crate) repeat_interval: Duration,
    /// What was told before this moment is told again; `None` when only news are told.
    pub(crate) repeats_before: Option<Timestamp>,
    /// Whether the receiver is told because nobody took the alerts.
    pub(crate) is_escalation: bool,
    /// If so, how long nobody must have had them.
    pub(crate) escalates_after: Duration,
    /// All silences.
    pub(crate) silences: &'a [Silence],
    /// Who took which alert, and what was put off.
    pub(crate) claims: &'a Claims,
    /// Which hosts are worked on.
    pub(crate) maintenance: &'a Windows,
    /// Alerts that the receiver was told of as often as their rules allow.
    pub(crate) told_often: &'a HashSet<Fingerprint>,
}

/// Why a receiver is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    /// No way of the routing tree leads there.
    NotRouted,
    /// Another alert that fires keeps it quiet.
    Inhibited,
    /// It is a time in which nobody is told this way.
    MuteTime,
    /// It is no time in which anybody is told this way.
    InactiveTime,
    /// A silence holds for it.
    Silenced,
    /// Its host is worked on.
    Maintenance,
    /// Somebody put it off.
    Snoozed,
    /// Somebody took it: no repeats and no escalation.
    Acknowledged,
    /// The news of the alert ran out in silence: neither "firing" nor "resolved" would be true.
    LeaseExpired,
    /// It ended before this receiver was told that it began.
    EndedUntold,
    /// It ended, and the receiver does not want to hear of ends.
    ResolvedNotWanted,
    /// The receiver knows, and the repeat interval is not over.
    AlreadyTold,
    /// The receiver could not be told, and the repeat interval is not over.
    GivenUp,
    /// It was told as often as its rule allows; its end is still told.
    ToldOften,
}

impl Reason {
    /// All of them.
    pub(crate) const ALL: [Self; 14] = [
        Self::NotRouted,
        Self::Inhibited,
        Self::MuteTime,
        Self::InactiveTime,
        Self::Silenced,
        Self::Maintenance,
        Self::Snoozed,
        Self::Acknowledged,
        Self::LeaseExpired,
        Self::EndedUntold,
        Self::ResolvedNotWanted,
        Self::AlreadyTold,
        Self::GivenUp,
        Self::ToldOften,
    ];

    /// The word in metrics, in the store and in the catalogues.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NotRouted => "not_routed",
            Self::Inhibited => "inhibited",
            Self::MuteTime => "mute_time",
            Self::InactiveTime => "inactive_time",
            Self::Silenced => "silenced",
            Self::Maintenance => "maintenance",
            Self::Snoozed => "snoozed",
            Self::Acknowledged => "acknowledged",
            Self::LeaseExpired => "lease_expired",
            Self::EndedUntold => "ended_untold",
            Self::ResolvedNotWanted => "resolved_not_wanted",
            Self::AlreadyTold => "already_told",
            Self::GivenUp => "given_up",
            Self::ToldOften => "told_often",
        }
    }

    /// Whether it may end while the alert fires, and the alert is looked at again then.
    pub(crate) const fn is_for_now(self) -> bool {
        matches!(
            self,
            Self::Inhibited
                | Self::MuteTime
                | Self::InactiveTime
                | Self::Silenced
                | Self::Maintenance
                | Self::Snoozed
                | Self::Acknowledged
        )
    }
}

/// The answer of a stage, and of all stages together.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Who goes on.
    pub(crate) kept: Vec<Candidate>,
    /// Who does not, and why.
    pub(crate) dropped: Vec<(Candidate, Reason)>,
}

type Stage = fn(&Candidate, &Round<'_>) -> Option<Reason>;

/// The stages in the order of `docs/ARCHITECTURE.md`.
const STAGES: [Stage; 8] = [
    known_to_be_true,
    silenced,
    worked_on,
    snoozed,
    acknowledged,
    wanted,
    dedup::told_already,
    dedup::told_often,
];

/// Sends candidates through all stages; the first that refuses names the reason.
pub(crate) fn run(candidates: Vec<Candidate>, round: &Round<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    for candidate in candidates {
        match STAGES.iter().find_map(|stage| stage(&candidate, round)) {
            Some(reason) => outcome.dropped.push((candidate, reason)),
            None => outcome.kept.push(candidate),
        }
    }
    outcome
}

fn known_to_be_true(candidate: &Candidate, _: &Round<'_>) -> Option<Reason> {
    (candidate.alert.status == AlertStatus::Stale).then_some(Reason::LeaseExpired)
}

// An end is not held back: who was told that it fires would wait for it for ever.
fn silenced(candidate: &Candidate, round: &Round<'_>) -> Option<Reason> {
    let labels = &candidate.alert.alert.labels;
    let is_held = candidate.alert.status == AlertStatus::Firing
        && round.silences.iter().any(|silence| silence.holds(labels, round.now));
    is_held.then_some(Reason::Silenced)
}

fn worked_on(candidate: &Candidate, round: &Round<'_>) -> Option<Reason> {
    let is_held = candidate.alert.status == AlertStatus::Firing
        && round.maintenance.holding(&candidate.alert.alert.labels, round.now).is_some();
    is_held.then_some(Reason::Maintenance)
}

fn snoozed(candidate: &Candidate, round: &Round<'_>) -> Option<Reason> {
    let is_held = candidate.alert.status == AlertStatus::Firing
        && round.claims.is_snoozed(&candidate.alert, round.now);
    is_held.then_some(Reason::Snoozed)
}

fn acknowledged(candidate: &Candidate, round: &Round<'_>) -> Option<Reason> {
    let is_told_again = candidate.told.as_ref().is_some_and(|told| told.sent.is_some());
    let (alert, claims, now) = (&candidate.alert, round.claims, round.now);
    let is_held = alert.status == AlertStatus::Firing
        && match round.is_escalation {
            // Who is called when nobody takes it gives the next one as much time as the first.
            true => claims.was_acknowledged_within(alert, round.escalates_after, now),
            false => is_told_again && claims.is_acknowledged(alert, now),
        };
    is_held.then_some(Reason::Acknowledged)
}

fn wanted(candidate: &Candidate, round: &Round<'_>) -> Option<Reason> {
    let is_end = candidate.alert.status == AlertStatus::Resolved;
    (is_end && !round.receiver.send_resolved).then_some(Reason::ResolvedNotWanted)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;
    use std::sync::LazyLock;

    use db::alerts::DeliveryResult;
    use model::{Alert, Labels};

    use super::*;
    use crate::claims::tests::claim;
    use crate::config::{ReceiverConfig, SecretUrl};
    use crate::maintenance::tests::windows;
    use crate::silence::tests::{matcher, silence};
    use db::claims::ClaimKind;

    static NOTHING_WORKED_ON: LazyLock<Windows> = LazyLock::new(Windows::default);

    pub(crate) const HOUR: Duration = Duration::from_secs(3600);
    static NONE: LazyLock<HashSet<Fingerprint>> = LazyLock::new(HashSet::new);

    pub(crate) fn receiver(send_resolved: bool) -> Receiver {
        let config = ReceiverConfig {
            name: "ops".to_owned(),
            webhook_url: SecretUrl("http://127.0.0.1:1/".to_owned()),
            bots: Vec::new(),
            people: Vec::new(),
            recipients: Vec::new(),
            mention: false,
            language: channels::Language::English,
            envelope: String::new(),
            send_resolved,
            matchers: Vec::new(),
            timeout: Duration::from_secs(1),
            retry_for: HOUR,
            concurrency: 1,
            dry_run: false,
            texts: Vec::new(),
            merge_low_for: String::new(),
        };
        let library = std::sync::Arc::new(template::alertmanager::library());
        Receiver::from_config(&config, &library).unwrap()
    }

    pub(crate) fn candidate(
        status: AlertStatus,
        starts: i64,
        told: Option<(AlertStatus, i64, i64)>,
    ) -> Candidate {
        let alert = Alert {
            labels: Labels::from_pairs([("alertname", "disk full"), ("severity", "critical")]),
            annotations: BTreeMap::new(),
            starts_at: Timestamp(starts),
            ends_at: Timestamp(starts + 1_000),
            generator_url: String::new(),
        };
        let told = told.map(|(status, starts, at)| Told {
            fingerprint: alert.fingerprint(),
            receiver: "ops".to_owned(),
            sent: Some(db::alerts::Sent {
                status,
                starts_at: Timestamp(starts),
                at: Timestamp(at),
            }),
            result: DeliveryResult::Sent,
            tried_at: Timestamp(at),
            attempts: 1,
            code: 200,
            detail: String::new(),
        });
        let alert = StoredAlert {
            alert,
            status,
            priority: 0,
            updated_at: Timestamp(0),
            ends_by_timeout: false,
        };
        Candidate { alert, told }
    }

    /// A round of news without silences.
    pub(crate) fn round<'a>(receiver: &'a Receiver, now: i64, claims: &'a Claims) -> Round<'a> {
        Round {
            receiver,
            now: Timestamp(now),
            repeat_interval: HOUR,
            repeats_before: None,
            is_escalation: false,
            escalates_after: Duration::ZERO,
            silences: &[],
            claims,
            maintenance: &NOTHING_WORKED_ON,
            told_often: &NONE,
        }
    }

    fn check(receiver: &Receiver, candidate: Candidate, expected: Option<Reason>) {
        check_with(&[], receiver, candidate, expected);
    }

    fn check_with(
        silences: &[Silence],
        receiver: &Receiver,
        candidate: Candidate,
        expected: Option<Reason>,
    ) {
        let claims = Claims::default();
        let round = Round { silences, ..round(receiver, 5_000, &claims) };
        let outcome = run(vec![candidate], &round);
        assert_eq!(outcome.dropped.first().map(|(_, reason)| *reason), expected);
        assert_eq!(outcome.kept.len(), usize::from(expected.is_none()));
    }

    #[test]
    fn a_new_alert_passes_every_stage() {
        check(&receiver(true), candidate(AlertStatus::Firing, 0, None), None);
    }

    #[test]
    fn a_lease_that_ran_out_is_never_told_as_an_end() {
        let told = Some((AlertStatus::Firing, 0, 1));
        check(&receiver(true), candidate(AlertStatus::Stale, 0, told), Some(Reason::LeaseExpired));
    }

    #[test]
    fn a_silence_holds_back_what_begins_and_never_an_end() {
        let of =
            |severity| silence("s", vec![matcher("severity", severity, false)], Timestamp(4_000));
        let (receiver, firing) = (receiver(true), candidate(AlertStatus::Firing, 0, None));
        check_with(&[of("info")], &receiver, firing.clone(), None);
        let both = [of("info"), of("critical")];
        check_with(&both, &receiver, firing, Some(Reason::Silenced));
        let ended = candidate(AlertStatus::Resolved, 0, Some((AlertStatus::Firing, 0, 1)));
        check_with(&both, &receiver, ended, None);
    }

    #[test]
    fn the_end_is_told_to_those_who_want_it() {
        let told = Some((AlertStatus::Firing, 0, 1));
        check(&receiver(true), candidate(AlertStatus::Resolved, 0, told), None);
        let unwanted = Some(Reason::ResolvedNotWanted);
        check(&receiver(false), candidate(AlertStatus::Resolved, 0, told), unwanted);
    }

    #[test]
    fn who_took_an_alert_is_not_told_again_and_nobody_else_is_called() {
        let receiver = receiver(true);
        let alert = candidate(AlertStatus::Firing, 0, None);
        let claims = Claims::of(vec![claim(&alert.alert, ClaimKind::Acknowledged, 9_000)]);
        let news = round(&receiver, 5_000, &claims);
        let reason = |candidate: Candidate, round: &Round<'_>| {
            run(vec![candidate], round).dropped.first().map(|(_, reason)| *reason)
        };
        assert_eq!(reason(alert.clone(), &news), None, "the first message goes out");
        let called = Round { is_escalation: true, ..round(&receiver, 5_000, &claims) };
        assert_eq!(reason(alert.clone(), &called), Some(Reason::Acknowledged));
        let escalates_after = Duration::from_secs(2);
        let called =
            |now| Round { is_escalation: true, escalates_after, ..round(&receiver, now, &claims) };
        let late = Some(Reason::Acknowledged);
        assert_eq!(
            reason(alert.clone(), &called(11_000)),
            late,
            "time for the next one to take it"
        );
        assert_eq!(reason(alert.clone(), &called(11_001)), None, "and nobody did");
        let told = candidate(AlertStatus::Firing, 0, Some((AlertStatus::Firing, 0, 1)));
        let repeat =
            Round { repeats_before: Some(Timestamp(5_000)), ..round(&receiver, 5_000, &claims) };
        assert_eq!(reason(told.clone(), &repeat), Some(Reason::Acknowledged));
        let later =
            Round { repeats_before: Some(Timestamp(9_001)), ..round(&receiver, 9_001, &claims) };
        assert_eq!(reason(told, &later), None, "it has run out");
        let over = candidate(AlertStatus::Resolved, 0, Some((AlertStatus::Firing, 0, 1)));
        assert_eq!(reason(over, &news), None, "an end is told");
    }

    #[test]
    fn what_is_put_off_is_not_told_until_then() {
        let receiver = receiver(true);
        let alert = candidate(AlertStatus::Firing, 0, None);
        let claims = Claims::of(vec![claim(&alert.alert, ClaimKind::Snoozed, 5_000)]);
        let reason = |now| {
            let outcome = run(vec![alert.clone()], &round(&receiver, now, &claims));
            outcome.dropped.first().map(|(_, reason)| *reason)
        };
        assert_eq!((reason(5_000), reason(5_001)), (Some(Reason::Snoozed), None));
    }

    #[test]
    fn a_host_that_is_worked_on_is_quiet_but_for_ends() {
        let (receiver, claims) = (receiver(true), Claims::default());
        let windows = windows("web-1", 4_000..6_000);
        let run_at = |status, told, now| {
            let mut candidate = candidate(status, 100, told);
            candidate.alert.alert.labels =
                Labels::from_pairs([("alertname", "disk full"), ("endpoint", "web-1")]);
            let round = Round { maintenance: &windows, ..round(&receiver, now, &claims) };
            run(vec![candidate], &round).dropped.first().map(|(_, reason)| *reason)
        };
        assert_eq!(run_at(AlertStatus::Firing, None, 5_000), Some(Reason::Maintenance));
        assert_eq!(run_at(AlertStatus::Firing, None, 6_000), None);
        let told = Some((AlertStatus::Firing, 100, 200));
        assert_eq!(
            run_at(AlertStatus::Resolved, told, 5_000),
            None,
            "who was told hears of the end"
        );
    }
}
