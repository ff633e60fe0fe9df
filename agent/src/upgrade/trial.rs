//! How a new release proves itself: local checks, then an answer of any hbs. Pure.

use launcher::choose::is_past;
use launcher::moment::Moment;
use launcher::state::State;

/// What the running agent knows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The release that runs; empty for the package's agent.
    pub release: String,
    /// The present moment.
    pub now: Moment,
    /// When this process was up, in milliseconds since the boot.
    pub up_since_ms: u64,
    /// How long it must run without a fault, in milliseconds.
    pub soak_ms: u64,
    /// Whether every collector has run once.
    pub has_collected: bool,
    /// Whether any hbs has answered, be it with an error.
    pub has_contact: bool,
    /// The wall clock in milliseconds since the epoch, for the history only.
    pub at_ms: i64,
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing is on trial.
    Idle,
    /// Something has yet to happen.
    Wait,
    /// The state is to be written: the local checks have passed.
    LocalOk,
    /// The state is to be written: this release is the one to keep.
    Commit,
    /// The state is to be written: another release is on trial and was not started.
    NotStarted,
    /// The process is to end, so that the launcher goes back.
    End,
}

/// The next step of a trial.
pub fn step(state: &State, facts: &Facts) -> Step {
    let Some(pending) = &state.pending else { return Step::Idle };
    if pending.release != facts.release {
        return Step::NotStarted;
    }
    if is_past(pending, &facts.now) {
        return Step::End;
    }
    let soaked = facts.now.up_ms.saturating_sub(facts.up_since_ms) >= facts.soak_ms;
    match pending.local_ok {
        false if facts.has_collected && soaked => Step::LocalOk,
        true if facts.has_contact => Step::Commit,
        _ => Step::Wait,
    }
}

/// Puts a step into the state.
pub fn apply(step: Step, state: &mut State, facts: &Facts) {
    match step {
        Step::Idle | Step::Wait | Step::End => {}
        Step::LocalOk => state.pass_local(&facts.now),
        Step::Commit => state.commit(facts.at_ms),
        // The launcher could not count its start, or the file was changed by hand.
        Step::NotStarted => state.roll_back("the launcher did not start it", false, facts.at_ms),
    }
}

#[cfg(test)]
mod tests {
    use launcher::state::{Deadline, End, Pending};

    use super::*;

    fn facts() -> Facts {
        Facts {
            release: "7.1".to_owned(),
            now: Moment { boot_id: "b".to_owned(), up_ms: 100_000 },
            up_since_ms: 30_000,
            soak_ms: 60_000,
            has_collected: true,
            has_contact: true,
            at_ms: 1,
        }
    }

    fn on_trial(local_ok: bool) -> State {
        let deadline = Some(Deadline { boot_id: "b".to_owned(), up_ms: 120_000 });
        let pending = Pending {
            release: "7.1".to_owned(),
            local_ok,
            deadline,
            contact_ms: 60_000,
            ..Pending::default()
        };
        State { pending: Some(pending), ..State::default() }
    }

    #[test]
    fn local_checks_come_before_contact() {
        let mut state = on_trial(false);
        assert_eq!(step(&state, &facts()), Step::LocalOk);
        apply(Step::LocalOk, &mut state, &facts());
        assert_eq!(step(&state, &facts()), Step::Commit);
        apply(Step::Commit, &mut state, &facts());
        assert_eq!((step(&state, &facts()), state.active.as_deref()), (Step::Idle, Some("7.1")));
    }

    #[test]
    fn nothing_passes_before_its_time() {
        let early = Facts { up_since_ms: 50_000, ..facts() };
        assert_eq!(step(&on_trial(false), &early), Step::Wait);
        let blind = Facts { has_collected: false, ..facts() };
        assert_eq!(step(&on_trial(false), &blind), Step::Wait);
        let alone = Facts { has_contact: false, ..facts() };
        assert_eq!(step(&on_trial(true), &alone), Step::Wait);
    }

    #[test]
    fn a_trial_whose_time_is_over_ends_the_process() {
        let mut late = facts();
        late.now.up_ms = 120_000;
        assert_eq!(step(&on_trial(true), &late), Step::End);
        late.now.boot_id = "another".to_owned();
        assert_eq!(step(&on_trial(true), &late), Step::Commit);
    }

    #[test]
    fn a_trial_that_was_not_started_is_given_up_by_the_old_release() {
        let old = Facts { release: String::new(), ..facts() };
        let mut state = on_trial(false);
        assert_eq!(step(&state, &old), Step::NotStarted);
        apply(Step::NotStarted, &mut state, &old);
        assert_eq!((state.history[0].end, state.bad.len()), (End::RolledBack, 0));
    }
}
