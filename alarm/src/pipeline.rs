//! From "something happened" to "tell this receiver now": one array of stages in order. Pure.
//!
//! A stage looks at all candidates of a round at once, because grouping and inhibition will need that, and
//! answers with those it keeps and a named reason for each of the others. The reason is stored and shown: for
//! every alert one can see who was told, and why somebody was not.

mod dedup;

use std::time::Duration;

use db::alerts::{AlertStatus, StoredAlert, Told};
use model::Timestamp;

use crate::notify::Receiver;
use crate::route;
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
    /// After how long a firing alert is told again.
    pub(crate) repeat_interval: Duration,
    /// All silences.
    pub(crate) silences: &'a [Silence],
}

/// Why a receiver is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    /// The matchers of the receiver do not hold.
    NotRouted,
    /// A silence holds for it.
    Silenced,
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
}

impl Reason {
    /// All of them.
    pub(crate) const ALL: [Self; 7] = [
        Self::NotRouted,
        Self::Silenced,
        Self::LeaseExpired,
        Self::EndedUntold,
        Self::ResolvedNotWanted,
        Self::AlreadyTold,
        Self::GivenUp,
    ];

    /// The word in metrics, in the store and in the catalogues.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NotRouted => "not_routed",
            Self::Silenced => "silenced",
            Self::LeaseExpired => "lease_expired",
            Self::EndedUntold => "ended_untold",
            Self::ResolvedNotWanted => "resolved_not_wanted",
            Self::AlreadyTold => "already_told",
            Self::GivenUp => "given_up",
        }
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

type Stage = fn(Vec<Candidate>, &Round<'_>) -> Outcome;

/// The stages in the order of `docs/ARCHITECTURE.md`. Grouping, inhibition, active times and mutes get their
/// places around `silenced`.
const STAGES: [Stage; 5] = [routed, known_to_be_true, silenced, wanted, dedup::not_told_yet];

/// Sends candidates through all stages.
pub(crate) fn run(candidates: Vec<Candidate>, round: &Round<'_>) -> Outcome {
    let mut outcome = Outcome { kept: candidates, dropped: Vec::new() };
    for stage in STAGES {
        let next = stage(outcome.kept, round);
        outcome.kept = next.kept;
        outcome.dropped.extend(next.dropped);
    }
    outcome
}

fn routed(candidates: Vec<Candidate>, round: &Round<'_>) -> Outcome {
    each(candidates, |candidate| {
        let takes = route::matches_all(&round.receiver.matchers, &candidate.alert.alert.labels);
        (!takes).then_some(Reason::NotRouted)
    })
}

fn known_to_be_true(candidates: Vec<Candidate>, _: &Round<'_>) -> Outcome {
    each(candidates, |candidate| {
        (candidate.alert.status == AlertStatus::Stale).then_some(Reason::LeaseExpired)
    })
}

// An end is not held back: who was told that it fires would wait for it for ever.
fn silenced(candidates: Vec<Candidate>, round: &Round<'_>) -> Outcome {
    each(candidates, |candidate| {
        let labels = &candidate.alert.alert.labels;
        let is_held = candidate.alert.status == AlertStatus::Firing
            && round.silences.iter().any(|silence| silence.holds(labels, round.now));
        is_held.then_some(Reason::Silenced)
    })
}

fn wanted(candidates: Vec<Candidate>, round: &Round<'_>) -> Outcome {
    each(candidates, |candidate| {
        let is_end = candidate.alert.status == AlertStatus::Resolved;
        (is_end && !round.receiver.send_resolved).then_some(Reason::ResolvedNotWanted)
    })
}

/// A stage that judges each candidate by itself.
fn each(candidates: Vec<Candidate>, refuse: impl Fn(&Candidate) -> Option<Reason>) -> Outcome {
    let mut outcome = Outcome::default();
    for candidate in candidates {
        match refuse(&candidate) {
            Some(reason) => outcome.dropped.push((candidate, reason)),
            None => outcome.kept.push(candidate),
        }
    }
    outcome
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use db::alerts::DeliveryResult;
    use model::{Alert, Labels};

    use super::*;
    use crate::config::{ReceiverConfig, SecretUrl};
    use crate::silence::tests::{matcher, silence};

    pub(crate) const HOUR: Duration = Duration::from_secs(3600);

    pub(crate) fn receiver(send_resolved: bool, matchers: &[&str]) -> Receiver {
        let config = ReceiverConfig {
            name: "ops".to_owned(),
            webhook_url: SecretUrl("http://127.0.0.1:1/".to_owned()),
            bots: Vec::new(),
            people: Vec::new(),
            language: channels::Language::English,
            envelope: String::new(),
            send_resolved,
            matchers: matchers.iter().map(|text| (*text).to_owned()).collect(),
            timeout: Duration::from_secs(1),
            retry_for: HOUR,
            concurrency: 1,
        };
        Receiver::from_config(&config).unwrap()
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

    fn check(receiver: &Receiver, candidate: Candidate, expected: Option<Reason>) {
        check_with(&[], receiver, candidate, expected);
    }

    fn check_with(
        silences: &[Silence],
        receiver: &Receiver,
        candidate: Candidate,
        expected: Option<Reason>,
    ) {
        let round = Round { receiver, now: Timestamp(5_000), repeat_interval: HOUR, silences };
        let outcome = run(vec![candidate], &round);
        assert_eq!(outcome.dropped.first().map(|(_, reason)| *reason), expected);
        assert_eq!(outcome.kept.len(), usize::from(expected.is_none()));
    }

    #[test]
    fn a_new_alert_passes_every_stage() {
        check(&receiver(true, &[]), candidate(AlertStatus::Firing, 0, None), None);
    }

    #[test]
    fn an_alert_that_the_matchers_do_not_take_is_not_routed() {
        check(
            &receiver(true, &["severity=info"]),
            candidate(AlertStatus::Firing, 0, None),
            Some(Reason::NotRouted),
        );
    }

    #[test]
    fn a_lease_that_ran_out_is_never_told_as_an_end() {
        let told = Some((AlertStatus::Firing, 0, 1));
        check(
            &receiver(true, &[]),
            candidate(AlertStatus::Stale, 0, told),
            Some(Reason::LeaseExpired),
        );
    }

    #[test]
    fn a_silence_holds_back_what_begins_and_never_an_end() {
        let of =
            |severity| silence("s", vec![matcher("severity", severity, false)], Timestamp(4_000));
        let (receiver, firing) = (receiver(true, &[]), candidate(AlertStatus::Firing, 0, None));
        check_with(&[of("info")], &receiver, firing.clone(), None);
        let both = [of("info"), of("critical")];
        check_with(&both, &receiver, firing, Some(Reason::Silenced));
        let ended = candidate(AlertStatus::Resolved, 0, Some((AlertStatus::Firing, 0, 1)));
        check_with(&both, &receiver, ended, None);
    }

    #[test]
    fn the_end_is_told_to_those_who_want_it() {
        let told = Some((AlertStatus::Firing, 0, 1));
        check(&receiver(true, &[]), candidate(AlertStatus::Resolved, 0, told), None);
        let unwanted = Some(Reason::ResolvedNotWanted);
        check(&receiver(false, &[]), candidate(AlertStatus::Resolved, 0, told), unwanted);
    }

    #[test]
    fn the_first_stage_that_refuses_names_the_reason() {
        let receiver = receiver(false, &["severity=info"]);
        check(&receiver, candidate(AlertStatus::Resolved, 0, None), Some(Reason::NotRouted));
    }
}
