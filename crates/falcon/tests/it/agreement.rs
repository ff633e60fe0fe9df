//! For random series, an imported rule says what the original judge said, but where it cannot: the
//! conditions stand in [`Comparable`].

use std::cell::Cell;
use std::collections::BTreeSet;

use falcon::Options;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use crate::engine::Store;
use crate::histories::{History, history, rows, rule, rule_of};
use crate::portal::{imported, values, with_rule};
use testkit::falcon_judge::{Event, Judge, Rule};

/// Whether the imported rule must agree at an evaluation, and if not, what holds instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparable {
    /// It must agree.
    Yes,
    /// A point of the window is missing: nothing is decided, where the original took older points or,
    /// without a new one, did not look.
    Gap,
    /// Rounding, a counter that began again, or a sample beside its slot that steps of a subquery have
    /// not reached: nothing is claimed.
    No,
}

/// What an imported rule says, by the time of the evaluation.
struct Said {
    trouble: BTreeSet<i64>,
    over: BTreeSet<i64>,
    has_subquery: bool,
}

fn said(rule: &Rule, history: &History) -> Said {
    let import = imported(&with_rule(rule, history.is_counter, history.step), &Options::default());
    let (expr, recover) = (values(&import, "expr"), values(&import, "recover_expr"));
    let (expr, recover) = (&expr[0], &recover[0]);
    let mut store = Store::default();
    store.add(&[("__name__", "m_x"), ("endpoint", "h"), ("iface", "e")], &history.samples());
    let (start, end) = (history.time(0), history.time(history.slots.len() - 1));
    let times = |text: &str| {
        let found = store.ask(text, start + history.delay, end + history.delay, history.step);
        let mut times = BTreeSet::new();
        for (labels, samples) in found {
            assert_eq!(labels, r#"{endpoint="h", iface="e"}"#, "{text}");
            times.extend(samples.iter().map(|(time, _)| *time));
        }
        times
    };
    let has_subquery = expr.contains(':');
    Said { trouble: times(expr), over: times(recover), has_subquery }
}

fn comparable(
    rule: &Rule,
    history: &History,
    slot: usize,
    values: &[f64],
    has_subquery: bool,
) -> Comparable {
    let samples = rule.needs() + usize::from(history.is_counter);
    if !history.is_whole(slot, samples) {
        // The subquery of a sample beside its slot may still be whole one step before.
        let is_late = has_subquery && history.phase > 0;
        return if is_late { Comparable::No } else { Comparable::Gap };
    }
    // Steps of subqueries lie on multiples of the step: the newest sample is seen at the next of them.
    let is_unseen =
        has_subquery && history.phase > 0 && history.phase + history.delay < history.step;
    if is_unseen || history.is_reset(slot, samples) || rule.is_tie(values) {
        return Comparable::No;
    }
    Comparable::Yes
}

/// Compares at every slot. Answers how many evaluations had to agree.
fn compare(rule: &Rule, history: &History) -> Result<usize, TestCaseError> {
    let said = said(rule, history);
    let mut judge = Judge::new(rule.clone(), history.is_counter);
    let mut compared = 0;
    for (slot, value) in history.slots.iter().enumerate() {
        let judged = value.map(|value| judge.take(history.time(slot), value));
        let values = judged.as_ref().map_or(&[][..], |judged| judged.values.as_slice());
        let at = history.time(slot) + history.delay;
        let ours = (said.trouble.contains(&at), said.over.contains(&at));
        let trouble = judged.as_ref().and_then(|judged| judged.trouble);
        match comparable(rule, history, slot, values, said.has_subquery) {
            Comparable::Yes => {
                let theirs = (trouble == Some(true), trouble == Some(false));
                prop_assert_eq!(ours, theirs, "slot {}: trouble, over", slot);
                compared += 1;
            }
            Comparable::Gap => prop_assert_eq!(ours, (false, false), "slot {}: undecided", slot),
            Comparable::No => prop_assert!(ours != (true, true), "slot {}: both", slot),
        }
    }
    Ok(compared)
}

/// The beginnings and ends of trouble by the imported rule: it begins when the expression holds, and
/// ends when the expression for the end does.
fn ours(rule: &Rule, history: &History) -> Vec<(usize, bool)> {
    let said = said(rule, history);
    let mut is_firing = false;
    let mut events = Vec::new();
    for slot in 0..history.slots.len() {
        let at = history.time(slot) + history.delay;
        let is_next = if is_firing { !said.over.contains(&at) } else { said.trouble.contains(&at) };
        if is_next != is_firing {
            events.push((slot, is_next));
        }
        is_firing = is_next;
    }
    events
}

proptest! {
    #[test]
    fn an_imported_rule_agrees_with_the_original_judge(rule in rule(), history in history(0.0)) {
        compare(&rule, &history)?;
    }

    #[test]
    fn where_points_are_missing_nothing_is_decided(rule in rule(), history in history(0.15)) {
        compare(&rule, &history)?;
    }

    #[test]
    fn trouble_begins_and_ends_at_the_same_samples(rule in rule(), mut history in history(0.0)) {
        history.phase = 0;
        history.steady();
        let mut judge = Judge::new(rule.clone(), history.is_counter);
        let mut theirs = Vec::new();
        let mut messages = 0;
        for slot in 0..history.slots.len() {
            let value = history.slots[slot].expect("no sample is missing");
            let judged = judge.take(history.time(slot), value);
            // Where rounding decides, nothing is claimed of this and of what follows.
            if !judged.values.is_empty() && rule.is_tie(&judged.values) {
                history.slots.truncate(slot);
                break;
            }
            match judged.event {
                Some(Event::Problem(1)) => {
                    theirs.push((slot, true));
                    messages = 1;
                }
                // Repeated messages change nothing; max_notifications bounds them here.
                Some(Event::Problem(step)) => {
                    messages += 1;
                    prop_assert!(step == messages && step <= rule.max_step);
                }
                Some(Event::Ok) => theirs.push((slot, false)),
                None => {}
            }
        }
        prop_assert!(history.slots.is_empty() || ours(&rule, &history) == theirs);
    }
}

/// Cases of one row of the table; there are 66 of them, so a run that asks for many has not as many for each.
fn cases_of_a_row() -> ProptestConfig {
    let all = ProptestConfig::default();
    ProptestConfig { cases: (all.cases / 8).min(256), failure_persistence: None, ..all }
}

/// A random rule is of a given row once in 66 cases: each is tried by itself, too, and must have had something to
/// compare, trouble and none.
#[test]
fn every_row_of_the_table_agrees_with_the_original_judge() {
    for row in rows() {
        let (compared, trouble) = (Cell::new(0), Cell::new(0));
        // The same cases each time, so that it cannot be chance that a row had no trouble.
        let chance = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let mut runner = TestRunner::new_with_rng(cases_of_a_row(), chance);
        let outcome = runner.run(&(rule_of(row), history(0.05)), |(rule, history)| {
            compared.set(compared.get() + compare(&rule, &history)?);
            trouble.set(trouble.get() + said(&rule, &history).trouble.len());
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{row:?}: {error}"));
        let (compared, trouble) = (compared.get(), trouble.get());
        assert!(compared > 0 && trouble > 0, "{row:?}: {compared} compared, {trouble} in trouble");
    }
}

fn check(rule: &Rule, step: i64, values: &[f64], expected: usize) {
    let slots = values.iter().copied().map(Some).collect();
    let history = History { is_counter: false, step, phase: 0, delay: 3, slots };
    assert_eq!(compare(rule, &history).unwrap(), expected);
}

#[test]
fn a_rule_is_compared_from_its_first_decision_on() {
    let rule =
        Rule { name: "all", first: 0, points: 3, operator: ">", threshold: 5.0, max_step: 1 };
    check(&rule, 60, &[9.0, 9.0, 9.0, 9.0, 1.0], 3);
}

/// The exact condition: raw values of gauges are equal when they are equal, where the original took a
/// difference of less than 0.0001 for none.
#[test]
fn values_almost_equal_to_the_threshold_are_told_apart() {
    let rule =
        Rule { name: "all", first: 0, points: 1, operator: "=", threshold: 1.0, max_step: 1 };
    let slots = vec![Some(1.0), Some(1.000_05), Some(1.1)];
    let history = History { is_counter: false, step: 60, phase: 0, delay: 0, slots };
    let mut judge = Judge::new(rule.clone(), false);
    let theirs: Vec<Option<bool>> =
        history.samples().iter().map(|(time, value)| judge.take(*time, *value).trouble).collect();
    assert_eq!(theirs, [Some(true), Some(true), Some(false)]);
    assert_eq!(said(&rule, &history).trouble, BTreeSet::from([history.time(0)]));
}

/// The exact condition: after a counter began again, one rate is negative there and that from zero here.
#[test]
fn a_counter_that_begins_again_is_no_negative_rate() {
    let rule =
        Rule { name: "all", first: 0, points: 1, operator: "<", threshold: 0.0, max_step: 1 };
    let slots = vec![Some(100.0), Some(160.0), Some(30.0)];
    let history = History { is_counter: true, step: 60, phase: 0, delay: 0, slots };
    let mut judge = Judge::new(rule.clone(), true);
    let theirs: Vec<Option<bool>> =
        history.samples().iter().map(|(time, value)| judge.take(*time, *value).trouble).collect();
    assert_eq!(theirs, [None, Some(false), Some(true)]);
    let said = said(&rule, &history);
    assert_eq!((said.trouble.len(), said.over.len()), (0, 2));
}
