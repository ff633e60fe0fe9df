//! What people did about an alert, for its page and for the answer to who was told: claims as they were made, given
//! back and ran out, and silences that held for it. Pure.

use db::claims::{ClaimAct, ClaimKind, ClaimStep};
use model::{Labels, Timestamp};
use serde_json::{Value, json};
use wire::silence::SilenceState;

use crate::silence::Silence;

/// Silences that are told of; more have never been seen on one alert.
const SILENCES_MAX: usize = 50;

/// What happened to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Made,
    TakenBack,
    /// Its time was over before the alert was: whoever is to be told hears of it again.
    RanOut,
    /// Who took it was reminded of the end.
    Reminded,
    /// Who took it was to be reminded, and nothing reaches them.
    Unreached,
}

/// A step in the life of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step<'a> {
    pub(crate) act: Act,
    pub(crate) at: Timestamp,
    /// Who did it; empty when that is not known, or time did it.
    pub(crate) by: &'a str,
    pub(crate) kind: ClaimKind,
    pub(crate) owner: &'a str,
    pub(crate) note: &'a str,
    pub(crate) until: Timestamp,
}

/// The steps, the latest first, with the ends that came by themselves before `now` and, of an alert that is over,
/// before its end.
pub(crate) fn steps(
    stored: &[ClaimStep],
    now: Timestamp,
    over_at: Option<Timestamp>,
) -> Vec<Step<'_>> {
    let last = over_at.map_or(now, |over| over.min(now));
    let mut steps = Vec::new();
    // The next step about the same kind of claim, while going back in time.
    let (mut next_ack, mut next_snooze) = (Timestamp::MAX, Timestamp::MAX);
    for step in stored {
        let claim = &step.claim;
        let next = match claim.kind {
            ClaimKind::Acknowledged => &mut next_ack,
            ClaimKind::Snoozed => &mut next_snooze,
        };
        let told = Step {
            act: match step.act {
                ClaimAct::Made => Act::Made,
                ClaimAct::TakenBack => Act::TakenBack,
                ClaimAct::Reminded => Act::Reminded,
                ClaimAct::Unreached => Act::Unreached,
            },
            at: step.at,
            by: &step.by,
            kind: claim.kind,
            owner: &claim.owner,
            note: &claim.note,
            until: claim.until,
        };
        if step.act == ClaimAct::Made && claim.until < last && claim.until < *next {
            steps.push(Step { act: Act::RanOut, at: claim.until, by: "", ..told });
        }
        if !step.act.is_reminder() {
            *next = step.at;
        }
        steps.push(told);
    }
    steps.sort_by_key(|step| std::cmp::Reverse(step.at));
    steps
}

/// The silences that hold or held for an alert with these labels.
pub(crate) fn silences<'a>(
    known: &'a [Silence],
    labels: &'a Labels,
    now: Timestamp,
) -> impl Iterator<Item = &'a Silence> {
    let has_held = move |silence: &&Silence| {
        silence.state(now) != SilenceState::Pending
            && silence.starts_at < silence.ends_at
            && silence.is_for(labels)
    };
    known.iter().filter(has_held).take(SILENCES_MAX)
}

/// A step as the API lists it.
pub(crate) fn step_json(step: &Step<'_>) -> Value {
    let act = match step.act {
        Act::Made => ClaimAct::Made.as_str(),
        Act::TakenBack => ClaimAct::TakenBack.as_str(),
        Act::RanOut => "ran_out",
        Act::Reminded => ClaimAct::Reminded.as_str(),
        Act::Unreached => ClaimAct::Unreached.as_str(),
    };
    json!({
        "act": act, "kind": step.kind.as_str(), "at": step.at.rfc3339(), "by": step.by,
        "owner": step.owner, "note": step.note, "until": step.until.rfc3339(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use db::claims::ClaimRow;
    use model::Fingerprint;

    use super::*;
    use crate::silence::tests::{matcher, silence};

    fn stored(act: ClaimAct, kind: ClaimKind, at: i64, until: i64) -> ClaimStep {
        let claim = ClaimRow {
            fingerprint: Fingerprint(7),
            kind,
            owner: "ann".to_owned(),
            note: "on it".to_owned(),
            made_at: Timestamp(at),
            until: Timestamp(until),
        };
        ClaimStep { act, by: "bob".to_owned(), at: Timestamp(at), claim }
    }

    fn told(stored: &[ClaimStep], now: i64, over_at: Option<i64>) -> Vec<(Act, i64)> {
        let steps = steps(stored, Timestamp(now), over_at.map(Timestamp));
        steps.iter().map(|step| (step.act, step.at.0)).collect()
    }

    #[test]
    fn a_claim_that_nobody_gave_back_runs_out_while_the_alert_burns() {
        let ack = [stored(ClaimAct::Made, ClaimKind::Acknowledged, 10, 50)];
        assert_eq!(told(&ack, 50, None), [(Act::Made, 10)]);
        assert_eq!(told(&ack, 51, None), [(Act::RanOut, 50), (Act::Made, 10)]);
        assert_eq!(told(&ack, 90, Some(40)), [(Act::Made, 10)], "the alert was over before");
    }

    #[test]
    fn what_was_replaced_or_given_back_does_not_run_out() {
        let steps = [
            stored(ClaimAct::TakenBack, ClaimKind::Acknowledged, 30, 29),
            stored(ClaimAct::Made, ClaimKind::Acknowledged, 20, 60),
            stored(ClaimAct::Made, ClaimKind::Snoozed, 15, 25),
            stored(ClaimAct::Made, ClaimKind::Acknowledged, 10, 50),
        ];
        let expected = [
            (Act::TakenBack, 30),
            (Act::RanOut, 25),
            (Act::Made, 20),
            (Act::Made, 15),
            (Act::Made, 10),
        ];
        assert_eq!(told(&steps, 99, None), expected);
    }

    #[test]
    fn a_reminder_is_told_of_and_the_claim_runs_out_all_the_same() {
        let kind = ClaimKind::Acknowledged;
        let steps = [
            stored(ClaimAct::Unreached, kind, 51, 50),
            stored(ClaimAct::Reminded, kind, 40, 50),
            stored(ClaimAct::Made, kind, 10, 50),
        ];
        let expected =
            [(Act::Unreached, 51), (Act::RanOut, 50), (Act::Reminded, 40), (Act::Made, 10)];
        assert_eq!(told(&steps, 99, None), expected);
    }

    #[test]
    fn a_silence_that_never_held_is_not_told_of() {
        let now = Timestamp(1_760_000_000_000);
        let hours = |n: u64| Duration::from_secs(n * 3600);
        let about =
            |id: &str, name: &str, from| silence(id, vec![matcher("alertname", name, false)], from);
        let mut withdrawn = about("withdrawn", "DiskFull", now.minus(hours(1)));
        withdrawn.ends_at = withdrawn.starts_at;
        let known = [
            about("past", "DiskFull", now.minus(hours(9))),
            about("now", "DiskFull", now),
            about("next", "DiskFull", now.plus(hours(1))),
            about("other", "LoadHigh", now),
            withdrawn,
        ];
        let labels = Labels::from_pairs([("alertname", "DiskFull")]);
        let ids: Vec<_> =
            silences(&known, &labels, now).map(|silence| silence.id.as_str()).collect();
        assert_eq!(ids, ["past", "now"]);
    }
}
