//! Who took an alert hears when that ends: some time before, and at the end if it still fires. Pure.
//!
//! What one press took is one reminder, however many alerts it was. A reminder has the same name in every process, so
//! that whoever takes over after a kill says it once more under the same key, which is not to say it twice.

use std::collections::BTreeMap;
use std::time::Duration;

use db::alerts::{AlertStatus, StoredAlert};
use db::claims::{ClaimAct, ClaimKind, ClaimRow, ClaimStep};
use model::Timestamp;

use crate::claims::Claims;

/// The end of a claim is not told later than this: an alarm that was away for long has other news.
pub(crate) const LATE_MAX: Duration = Duration::from_secs(3600);

/// What a reminder says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Occasion {
    /// The claim ends soon.
    EndsSoon,
    /// It has ended.
    HasEnded,
}

impl Occasion {
    /// The word in keys.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::EndsSoon => "ends_soon",
            Self::HasEnded => "has_ended",
        }
    }
}

/// When people are reminded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// So long before the end; zero for never.
    pub(crate) before: Duration,
    /// Whether at the end too.
    pub(crate) at_end: bool,
}

/// What a reminder is known by: who took, until when, and what is said of it.
pub(crate) type Name = (String, Timestamp, Occasion);

/// The reminders whose time is now, with the claims each is about.
pub(crate) fn due(claims: &Claims, times: Times, now: Timestamp) -> BTreeMap<Name, Vec<&ClaimRow>> {
    let mut due: BTreeMap<Name, Vec<&ClaimRow>> = BTreeMap::new();
    for claim in claims.all() {
        if let Some(occasion) = occasion(claim, times, now) {
            let name = (claim.owner.to_owned(), claim.until, occasion);
            due.entry(name).or_default().push(claim);
        }
    }
    due
}

fn occasion(claim: &ClaimRow, times: Times, now: Timestamp) -> Option<Occasion> {
    if claim.kind != ClaimKind::Acknowledged {
        return None;
    }
    if now > claim.until {
        let is_late = now.since(claim.until) > LATE_MAX;
        return (times.at_end && !is_late).then_some(Occasion::HasEnded);
    }
    // Who took it for a moment only need not hear at once that the moment ends.
    let is_long = claim.until.since(claim.made_at) >= times.before * 2;
    let is_near = claim.until.since(now) <= times.before;
    (!times.before.is_zero() && is_long && is_near).then_some(Occasion::EndsSoon)
}

/// Whether the alert still is what was taken, and fires.
pub(crate) fn still_burns(alert: &StoredAlert, claim: &ClaimRow) -> bool {
    alert.status == AlertStatus::Firing && alert.alert.starts_at <= claim.made_at
}

/// Whether there is nothing more to say: it was said, or the claim was given back. `steps` are those of the alert,
/// the latest first.
pub(crate) fn is_settled(claim: &ClaimRow, occasion: Occasion, steps: &[ClaimStep]) -> bool {
    for step in steps.iter().filter(|step| step.claim.kind == claim.kind) {
        let was_over = step.at > step.claim.until;
        match step.act {
            ClaimAct::Made => return false,
            ClaimAct::TakenBack => return true,
            ClaimAct::Reminded | ClaimAct::Unreached => {
                let is_same = step.claim.until == claim.until;
                if is_same && was_over == (occasion == Occasion::HasEnded) {
                    return true;
                }
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use model::Fingerprint;

    use super::*;

    const MINUTE: i64 = 60_000;
    const TIMES: Times = Times { before: Duration::from_secs(900), at_end: true };

    /// Of ann, made at 0.
    fn claim(alert: u64, until: i64) -> ClaimRow {
        ClaimRow {
            fingerprint: Fingerprint(alert),
            kind: ClaimKind::Acknowledged,
            owner: "ann".to_owned(),
            note: String::new(),
            made_at: Timestamp(0),
            until: Timestamp(until),
        }
    }

    fn at(claim: ClaimRow, times: Times, now: i64) -> Option<Occasion> {
        let claims = Claims::of(vec![claim]);
        due(&claims, times, Timestamp(now)).into_keys().next().map(|(.., occasion)| occasion)
    }

    #[test]
    fn who_took_it_is_reminded_before_the_end_and_at_the_end() {
        let end = 120 * MINUTE;
        for (now, expected) in [
            (end - 15 * MINUTE - 1, None),
            (end - 15 * MINUTE, Some(Occasion::EndsSoon)),
            (end, Some(Occasion::EndsSoon)),
            (end + 1, Some(Occasion::HasEnded)),
            (end + 60 * MINUTE, Some(Occasion::HasEnded)),
            (end + 60 * MINUTE + 1, None),
        ] {
            assert_eq!(at(claim(1, end), TIMES, now), expected, "{now}");
        }
    }

    #[test]
    fn a_short_claim_has_no_reminder_before_its_end_and_both_can_be_switched_off() {
        let short = 30 * MINUTE;
        assert_eq!(at(claim(1, short), TIMES, short), Some(Occasion::EndsSoon));
        assert_eq!(at(claim(1, short - 1), TIMES, short - 1), None);
        assert_eq!(at(claim(1, short - 1), TIMES, short), Some(Occasion::HasEnded));
        let never = Times { before: Duration::ZERO, ..TIMES };
        assert_eq!(at(claim(1, short), never, short), None);
        let silent = Times { at_end: false, ..TIMES };
        assert_eq!(at(claim(1, short), silent, short + 1), None);
        let snoozed = ClaimRow { kind: ClaimKind::Snoozed, ..claim(1, short) };
        assert_eq!(at(snoozed, TIMES, short), None, "everybody hears of its end");
    }

    #[test]
    fn what_one_press_took_is_one_reminder() {
        let end = 120 * MINUTE;
        let other = ClaimRow { owner: "bob".to_owned(), ..claim(3, end) };
        let claims = Claims::of(vec![claim(1, end), claim(2, end), other, claim(4, end + 1)]);
        let sizes: Vec<usize> =
            due(&claims, TIMES, Timestamp(end)).into_values().map(|of| of.len()).collect();
        assert_eq!(sizes, [2, 1, 1]);
    }

    #[test]
    fn what_was_said_given_back_or_taken_anew_is_settled_for_itself() {
        let (end, later) = (120 * MINUTE, 240 * MINUTE);
        let step = |act, at: i64, until| ClaimStep {
            act,
            by: String::new(),
            at: Timestamp(at),
            claim: claim(1, until),
        };
        let soon = |steps: &[ClaimStep]| is_settled(&claim(1, end), Occasion::EndsSoon, steps);
        let ended = |steps: &[ClaimStep]| is_settled(&claim(1, end), Occasion::HasEnded, steps);
        let made = step(ClaimAct::Made, 0, end);
        assert!(!soon(std::slice::from_ref(&made)) && !ended(std::slice::from_ref(&made)));
        let said = [step(ClaimAct::Reminded, end - 1, end), made.clone()];
        assert!(soon(&said) && !ended(&said), "the end is another thing to say");
        let unreached = [step(ClaimAct::Unreached, end + 1, end), made.clone()];
        assert!(ended(&unreached) && !soon(&unreached));
        assert!(ended(&[step(ClaimAct::TakenBack, end, end - 1), made.clone()]));
        let anew = [step(ClaimAct::Made, 5, later), said[0].clone(), made];
        assert!(!is_settled(&claim(1, later), Occasion::EndsSoon, &anew));
        assert!(!soon(&[]), "what was done is forgotten before the claim is");
    }
}
