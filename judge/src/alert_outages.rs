//! Random outages of everything around a rule: none of them ends an alert whose condition holds, and none lets
//! an alert fire that was not seen for its hold.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::{Labels, Timestamp};
use proptest::prelude::*;

use crate::alert_state::{ActiveAlert, Event, Timing};
use crate::evidence::{self, Evidence};
use crate::group::GroupRun;
use crate::rule_file::{Defaults, read_group};
use crate::shard::Leave;

const INTERVAL: Duration = Duration::from_secs(60);
const SETTLE: Duration = Duration::from_secs(180);
const START: Timestamp = Timestamp::from_seconds(1_000_000);

/// What happens in a minute.
#[derive(Debug, Clone, Copy)]
enum Minute {
    /// The query is answered. Data is still under way for a while after an outage of the senders.
    Look,
    /// Evaluated as well, some seconds after the one before, as data arrives.
    Arrival,
    /// The store is away.
    StoreAway,
    /// Shared state is away: what happened cannot be stored.
    StateAway,
    /// The slots of so many minutes are missed.
    Missed(u16),
    /// The judge is killed, and after so many minutes another one goes on. Data was away as well.
    Killed(u16),
    /// The clock is set back by so many minutes and one, to where the store may have nothing.
    SetBack(u16),
}

fn minutes(set_back_max: u16) -> impl Strategy<Value = Vec<Minute>> {
    let minute = prop_oneof![
        6 => Just(Minute::Look),
        2 => Just(Minute::Arrival),
        2 => Just(Minute::StoreAway),
        1 => Just(Minute::StateAway),
        1 => (1u16..200).prop_map(Minute::Missed),
        1 => (0u16..200).prop_map(Minute::Killed),
        1 => (0u16..set_back_max).prop_map(Minute::SetBack),
    ];
    proptest::collection::vec(minute, 1..60)
}

/// A judge of one rule, as far as it is pure.
struct Pure {
    run: GroupRun,
    now: Timestamp,
    fencing: u64,
    stored: Option<Vec<u8>>,
    /// What was told to the alarms: only what is stored.
    told: Vec<Event>,
}

impl Pure {
    fn new(fields: &str) -> Self {
        let text = format!("{{interval: 1m, rules: [{{alert: A, expr: x > 1, {fields}}}]}}");
        let group = read_group("g", &text, &Defaults::default()).expect("the rule is valid");
        let mut run = GroupRun::new(Arc::new(group));
        run.restore(None, Leave { fencing: 1, succeeded: None }, START).expect("there is nothing");
        Self { run, now: START, fencing: 1, stored: None, told: Vec::new() }
    }

    /// An evaluation with an answer.
    fn look(&mut self, holds: bool, is_stored: bool) {
        let group = self.run.group.clone();
        let (rule, state) = (&group.rules[0], &mut self.run.rules[0]);
        let crate::rules::RuleKind::Alerting { hold, keep_firing_for, .. } = rule.kind else {
            panic!("it is an alert")
        };
        state.look(self.now, INTERVAL);
        let settling = state.continuity.observe(self.now, INTERVAL, SETTLE);
        let labels = Labels::from_pairs([("alertname", "A"), ("endpoint", "a")]);
        let active = ActiveAlert { labels, annotations: BTreeMap::new(), value: 2.0 };
        let active = if holds { vec![active] } else { Vec::new() };
        let timing = Timing { hold, keep_firing_for, settling };
        let (old, evidence) = (std::mem::take(&mut state.alerts), Evidence::default());
        let step = evidence::advance(rule, old, active, None, &evidence, self.now, &timing);
        state.alerts = step.alerts;
        self.run.is_dirty |= !step.events.is_empty();
        if is_stored {
            self.told.extend(step.events.iter().map(|(_, event)| *event));
            if let Some(document) = self.run.document(self.now, self.fencing) {
                self.stored = Some(document);
                self.run.note_saved(self.now, self.fencing);
            }
        }
    }

    fn restart(&mut self) {
        self.fencing += 1;
        self.run = GroupRun::new(self.run.group.clone());
        let leave = Leave { fencing: self.fencing, succeeded: None };
        let restored = self.run.restore(self.stored.as_deref(), leave, self.now);
        restored.expect("it was just written");
    }

    fn phase(&self) -> Option<crate::alert_state::Phase> {
        self.run.rules[0].alerts.values().next().map(|alert| alert.phase)
    }
}

proptest! {
    /// The condition holds all the time; queries are answered without it only while data is under way.
    #[test]
    fn no_outage_ends_an_alert_whose_condition_holds(minutes in minutes(100), hold in 0u32..6) {
        let mut judge = Pure::new(&format!("for: {hold}m"));
        let mut data_back_at = START;
        let mut has_fired = false;
        for minute in minutes {
            judge.now = judge.now.plus(INTERVAL);
            match minute {
                Minute::Look => judge.look(judge.now >= data_back_at, true),
                Minute::Arrival => {
                    judge.now = judge.now.minus(Duration::from_secs(37));
                    judge.look(judge.now >= data_back_at, true);
                }
                Minute::StoreAway => {
                    judge.run.rules[0].look(judge.now, INTERVAL);
                }
                Minute::StateAway => judge.look(judge.now >= data_back_at, false),
                Minute::Missed(minutes) => {
                    judge.now = judge.now.plus(INTERVAL * u32::from(minutes));
                    if minutes > 2 {
                        // The senders were cut off as well.
                        data_back_at = judge.now.plus(SETTLE / 2);
                    }
                }
                Minute::Killed(minutes) => {
                    judge.now = judge.now.plus(INTERVAL * u32::from(minutes));
                    judge.restart();
                    data_back_at = judge.now.plus(SETTLE / 2);
                }
                Minute::SetBack(minutes) => {
                    judge.look(judge.now >= data_back_at, true);
                    judge.now = judge.now.minus(INTERVAL * u32::from(minutes + 2));
                    judge.look(false, true);
                    data_back_at = judge.now.plus(SETTLE / 2);
                }
            }
            prop_assert!(!judge.told.contains(&Event::Resolved), "{:?}", judge.told);
            has_fired |= judge.told.contains(&Event::Fired);
            let fires = judge.phase().is_some_and(|phase| phase.is_firing());
            prop_assert!(!has_fired || fires, "it was told to fire and does not: {:?}", judge.phase());
        }
    }

    /// The condition comes and goes. When an alert fires, the condition was seen for the whole hold: no answer
    /// since then was without it, and times in which nobody looked are not counted.
    #[test]
    fn nothing_fires_that_was_not_seen_for_its_hold(
        minutes in minutes(1), values in proptest::collection::vec(any::<bool>(), 60), hold in 1u32..6,
    ) {
        let mut judge = Pure::new(&format!("for: {hold}m"));
        // Since when every answer had the condition, moved on by the times without looks.
        let mut seen_since: Option<Timestamp> = None;
        let mut looked = START;
        for (minute, holds) in minutes.into_iter().zip(values) {
            judge.now = judge.now.plus(INTERVAL);
            let mut look = |judge: &mut Pure, holds: bool, is_answered: bool, is_stored: bool| {
                let gap = judge.now.since(looked);
                looked = judge.now;
                if gap > INTERVAL * 3 {
                    seen_since = seen_since.map(|since| since.plus(gap));
                }
                if !is_answered {
                    judge.run.rules[0].look(judge.now, INTERVAL);
                    return Ok(());
                }
                let fired_before = judge.phase().is_some_and(|phase| phase.is_firing());
                judge.look(holds, is_stored);
                // While the rule settles absence is no evidence against the condition.
                let still_pending = judge.phase().is_some_and(|phase| phase.active_at().is_some());
                seen_since = match (holds, seen_since) {
                    (true, None) => Some(judge.now),
                    (false, since) if still_pending => since,
                    (false, _) => None,
                    (true, since) => since,
                };
                let fires = judge.phase().is_some_and(|phase| phase.is_firing());
                if fires && !fired_before {
                    let seen = seen_since.map(|since| judge.now.since(since));
                    prop_assert!(seen >= Some(INTERVAL * hold), "{seen:?} of {hold} minutes");
                }
                Ok(())
            };
            match minute {
                Minute::Look => look(&mut judge, holds, true, true)?,
                Minute::Arrival => {
                    judge.now = judge.now.minus(Duration::from_secs(37));
                    look(&mut judge, holds, true, true)?;
                }
                Minute::StoreAway => look(&mut judge, holds, false, true)?,
                Minute::StateAway => look(&mut judge, holds, true, false)?,
                Minute::Missed(minutes) => judge.now = judge.now.plus(INTERVAL * u32::from(minutes)),
                Minute::Killed(minutes) => {
                    judge.now = judge.now.plus(INTERVAL * u32::from(minutes));
                    judge.restart();
                    // What another judge restores is at most as young as what this one held.
                    let since = judge.phase().and_then(|phase| phase.active_at());
                    seen_since = since.or(None);
                    looked = judge.now;
                }
                Minute::SetBack(_) => {}
            }
        }
    }
}
