//! What hbs is told of an upgrade. Pure.

use launcher::state::{End, State};
use wire::heartbeat::{UpgradeOffer, UpgradePhase, UpgradeReport};

/// Heartbeats take no text that is longer, in bytes.
const REASON_BYTES_MAX: usize = 255;

/// The report that the state on disk gives: the trial that runs, else the last end.
pub fn of_state(state: &State, release: &str) -> Option<UpgradeReport> {
    if let Some(pending) = state.pending.as_ref().filter(|pending| pending.release == release) {
        return Some(UpgradeReport {
            rollout: pending.rollout.clone(),
            version: pending.version.clone(),
            phase: UpgradePhase::Probation,
            reason: String::new(),
            boots: pending.boots_total,
            bytes: pending.bytes,
        });
    }
    let last = state.history.iter().rev().find(|outcome| !outcome.rollout.is_empty())?;
    Some(UpgradeReport {
        rollout: last.rollout.clone(),
        version: last.version.clone(),
        phase: match last.end {
            End::Confirmed => UpgradePhase::Confirmed,
            End::Failed => UpgradePhase::Failed,
            End::RolledBack => UpgradePhase::RolledBack,
        },
        reason: short(&last.reason),
        boots: last.boots,
        bytes: last.bytes,
    })
}

/// The report of an offer that was just read.
pub fn of_offer(offer: &UpgradeOffer, phase: UpgradePhase, reason: &str) -> UpgradeReport {
    UpgradeReport {
        rollout: short(&offer.rollout),
        version: short(&offer.version),
        phase,
        reason: short(reason),
        boots: 0,
        bytes: 0,
    }
}

/// A text that fits into a heartbeat.
pub fn short(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text[..text.floor_char_boundary(REASON_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use launcher::state::{Outcome, Pending};

    use super::*;

    #[test]
    fn the_running_trial_comes_before_earlier_ends() {
        let mut state = State::default();
        assert_eq!(of_state(&state, "7.1"), None);
        let pending = Pending { release: "7.1".to_owned(), boots_total: 2, ..Pending::default() };
        state.history.push(Outcome {
            at_ms: 1,
            rollout: "r0".to_owned(),
            version: "7.0".to_owned(),
            end: End::RolledBack,
            reason: "crashed".to_owned(),
            boots: 3,
            bytes: 9,
        });
        state.begin(pending);
        let report = of_state(&state, "7.1").unwrap();
        assert_eq!((report.phase, report.boots), (UpgradePhase::Probation, 2));
        let report = of_state(&state, "7.0").unwrap();
        assert_eq!((report.phase, report.reason.as_str()), (UpgradePhase::RolledBack, "crashed"));
    }

    #[test]
    fn texts_fit_into_a_heartbeat() {
        let long = "é\n".repeat(300);
        let text = short(&long);
        assert!(text.len() <= REASON_BYTES_MAX && !text.contains('\n'));
    }
}
