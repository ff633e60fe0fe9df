//! What the launcher starts. Pure: what is on disk and what time it is come in as arguments.

use crate::moment::Moment;
use crate::state::{BOOTS_MAX, End, Outcome, Pending, State, after};

/// What the choice depends on besides the state.
pub struct Host<'a> {
    /// The present moment.
    pub now: Moment,
    /// The wall clock in milliseconds since the epoch, for the history only.
    pub at_ms: i64,
    /// Version of the package's agent, when the package says so.
    pub baseline: Option<&'a str>,
    /// Why a release cannot be started; nothing when every byte of it is right.
    pub check: &'a dyn Fn(&str) -> Result<(), String>,
    /// Releases that have once proved themselves, the newest first.
    pub committed: &'a dyn Fn() -> Vec<String>,
    /// Whether the state can be written. A start that cannot be counted must not happen.
    pub can_save: bool,
}

/// What is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// A release.
    Release(String),
    /// The package's agent.
    Baseline,
}

/// The choice, the state to write before it is started, and what to log.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What is started.
    pub choice: Choice,
    /// The state from now on.
    pub state: State,
    /// What an operator should know.
    pub notes: Vec<String>,
}

/// Chooses. `state` is `None` when the file could not be read.
pub fn choose(state: Option<State>, host: &Host<'_>) -> Decision {
    let mut notes = Vec::new();
    let mut state = state.unwrap_or_else(|| recover(host, &mut notes));
    follow_package(&mut state, host, &mut notes);
    if let Some(pending) = state.pending.clone().filter(|_| host.can_save) {
        match end_of_trial(&pending, host) {
            None => {
                count_start(&mut state, host);
                return Decision { choice: Choice::Release(pending.release), state, notes };
            }
            Some((reason, is_bad)) => {
                notes.push(format!("{} is given up: {reason}", pending.release));
                state.roll_back(&reason, is_bad, host.at_ms);
            }
        }
    }
    let choice = last_good(&mut state, host, &mut notes);
    Decision { choice, state, notes }
}

// Without a state nothing is known of trials: only what has proved itself is run.
fn recover(host: &Host<'_>, notes: &mut Vec<String>) -> State {
    let active = (host.committed)().into_iter().find(|release| (host.check)(release).is_ok());
    let found = active.as_deref().unwrap_or("the package's agent");
    notes.push(format!("the state cannot be read; going on with {found}"));
    let baseline = host.baseline.map(str::to_owned);
    State { active, baseline, ..State::default() }
}

// Whoever installs another package wants the agent in it, newer or older.
fn follow_package(state: &mut State, host: &Host<'_>, notes: &mut Vec<String>) {
    let Some(version) = host.baseline else { return };
    if state.baseline.as_deref().is_some_and(|known| known != version) {
        let reason = format!("the package was changed to {version}");
        notes.push(reason.clone());
        state.roll_back(&reason, false, host.at_ms);
        (state.active, state.previous) = (None, None);
    }
    state.baseline = Some(version.to_owned());
}

// Why a trial is over without success, and whether the release is to blame for good.
fn end_of_trial(pending: &Pending, host: &Host<'_>) -> Option<(String, bool)> {
    if let Err(fault) = (host.check)(&pending.release) {
        return Some((fault, true));
    }
    if pending.boots >= BOOTS_MAX {
        let part = if pending.local_ok { "hbs had answered it" } else { "its checks had passed" };
        return Some((format!("it ended {} times before {part}", pending.boots_total), true));
    }
    if !is_past(pending, &host.now) {
        return None;
    }
    Some(match pending.local_ok {
        false => ("its local checks took too long".to_owned(), true),
        // That may be the fault of hbs, so the version is not called bad.
        true => ("no hbs answered it in time".to_owned(), false),
    })
}

/// Whether the present part of a trial must be over. A deadline of another boot says nothing.
pub fn is_past(pending: &Pending, now: &Moment) -> bool {
    pending
        .deadline
        .as_ref()
        .is_some_and(|deadline| deadline.boot_id == now.boot_id && now.up_ms >= deadline.up_ms)
}

fn count_start(state: &mut State, host: &Host<'_>) {
    let Some(pending) = state.pending.as_mut() else { return };
    pending.boots += 1;
    pending.boots_total += 1;
    let is_armed = pending.deadline.as_ref().is_some_and(|at| at.boot_id == host.now.boot_id);
    if !is_armed {
        let span = if pending.local_ok { pending.contact_ms } else { pending.local_ms };
        pending.deadline = Some(after(&host.now, span));
    }
}

fn last_good(state: &mut State, host: &Host<'_>, notes: &mut Vec<String>) -> Choice {
    while let Some(active) = state.active.take() {
        let Err(fault) = (host.check)(&active) else {
            state.active = Some(active.clone());
            return Choice::Release(active);
        };
        notes.push(format!("{active} cannot be started: {fault}"));
        state.remember(Outcome {
            at_ms: host.at_ms,
            rollout: String::new(),
            version: active,
            end: End::RolledBack,
            reason: fault,
            boots: 0,
            bytes: 0,
        });
        state.active = state.previous.take();
    }
    Choice::Baseline
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Deadline;

    struct Case {
        state: Option<State>,
        broken: &'static [&'static str],
        committed: &'static [&'static str],
        baseline: Option<&'static str>,
        now: Moment,
        can_save: bool,
    }

    impl Case {
        fn new(state: State) -> Self {
            let now = Moment { boot_id: "one".to_owned(), up_ms: 1000 };
            Self {
                state: Some(state),
                broken: &[],
                committed: &[],
                baseline: None,
                now,
                can_save: true,
            }
        }

        fn choose(&self) -> Decision {
            let check = |release: &str| match self.broken.contains(&release) {
                true => Err("damaged".to_owned()),
                false => Ok(()),
            };
            let committed = || self.committed.iter().map(|name| (*name).to_owned()).collect();
            let host = Host {
                now: self.now.clone(),
                at_ms: 77,
                baseline: self.baseline,
                check: &check,
                committed: &committed,
                can_save: self.can_save,
            };
            choose(self.state.clone(), &host)
        }
    }

    fn release(name: &str) -> Choice {
        Choice::Release(name.to_owned())
    }

    fn trial(boots: u32) -> State {
        let pending = Pending {
            release: "7.1".to_owned(),
            version: "7.1".to_owned(),
            boots,
            local_ms: 60,
            contact_ms: 1800,
            ..Pending::default()
        };
        State {
            active: Some("7.0".to_owned()),
            previous: Some("6.9".to_owned()),
            pending: Some(pending),
            ..State::default()
        }
    }

    #[test]
    fn a_fresh_host_starts_what_the_package_brought() {
        let decision = Case { baseline: Some("7.0"), ..Case::new(State::default()) }.choose();
        assert_eq!(decision.choice, Choice::Baseline);
        assert_eq!(decision.state.baseline.as_deref(), Some("7.0"));
    }

    #[test]
    fn every_start_on_trial_is_counted_and_the_third_is_the_last() {
        for boots in 0..BOOTS_MAX {
            let decision = Case::new(trial(boots)).choose();
            assert_eq!(decision.choice, release("7.1"));
            let pending = decision.state.pending.unwrap();
            assert_eq!(pending.boots, boots + 1);
            let deadline = Deadline { boot_id: "one".to_owned(), up_ms: 1060 };
            assert_eq!(pending.deadline, Some(deadline));
        }
        let decision = Case::new(trial(BOOTS_MAX)).choose();
        assert_eq!((decision.choice, decision.state.pending), (release("7.0"), None));
        assert_eq!(decision.state.bad[0].version, "7.1");
        assert!(decision.state.history[0].reason.starts_with("it ended"), "{:?}", decision.notes);
    }

    #[test]
    fn a_deadline_counts_in_its_own_boot_only() {
        let mut state = trial(1);
        let pending = state.pending.as_mut().unwrap();
        pending.deadline = Some(Deadline { boot_id: "one".to_owned(), up_ms: 1000 });
        let decision = Case::new(state.clone()).choose();
        assert_eq!(decision.choice, release("7.0"));
        assert_eq!(decision.state.history[0].reason, "its local checks took too long");

        let now = Moment { boot_id: "two".to_owned(), up_ms: 5000 };
        let decision = Case { now, ..Case::new(state) }.choose();
        assert_eq!(decision.choice, release("7.1"));
        let deadline = Deadline { boot_id: "two".to_owned(), up_ms: 5060 };
        assert_eq!(decision.state.pending.unwrap().deadline, Some(deadline));
    }

    #[test]
    fn a_version_that_no_hbs_answered_is_unproven_and_not_bad() {
        let mut state = trial(1);
        let pending = state.pending.as_mut().unwrap();
        pending.local_ok = true;
        pending.deadline = Some(Deadline { boot_id: "one".to_owned(), up_ms: 999 });
        let decision = Case::new(state).choose();
        assert_eq!(decision.choice, release("7.0"));
        assert_eq!((decision.state.bad.len(), decision.state.unproven.len()), (0, 1));
    }

    #[test]
    fn damage_on_the_disk_leads_back_step_by_step() {
        let case = |broken| Case { broken, ..Case::new(trial(0)) };
        assert_eq!(case(&["7.1"]).choose().choice, release("7.0"));
        assert_eq!(case(&["7.1", "7.0"]).choose().choice, release("6.9"));
        let decision = case(&["7.1", "7.0", "6.9"]).choose();
        assert_eq!(decision.choice, Choice::Baseline);
        assert_eq!((decision.state.active, decision.state.previous), (None, None));
        assert_eq!(decision.state.history.len(), 3);
    }

    #[test]
    fn a_state_that_cannot_be_read_means_what_has_proved_itself() {
        let lost = |committed, broken| Case {
            state: None,
            committed,
            broken,
            ..Case::new(State::default())
        };
        assert_eq!(lost(&["7.1", "7.0"], &["7.1"]).choose().choice, release("7.0"));
        assert_eq!(lost(&[], &[]).choose().choice, Choice::Baseline);
    }

    #[test]
    fn a_start_that_cannot_be_counted_does_not_happen() {
        let decision = Case { can_save: false, ..Case::new(trial(0)) }.choose();
        assert_eq!(decision.choice, release("7.0"));
        assert!(decision.state.pending.is_some());
    }

    #[test]
    fn another_package_means_its_agent() {
        let mut state = trial(0);
        state.baseline = Some("7.0".to_owned());
        let decision = Case { baseline: Some("7.2"), ..Case::new(state) }.choose();
        assert_eq!(decision.choice, Choice::Baseline);
        assert_eq!((decision.state.active, decision.state.pending), (None, None));
        assert!(decision.state.bad.is_empty());
    }
}
