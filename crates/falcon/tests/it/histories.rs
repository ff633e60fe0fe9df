//! Random series and rules.

use proptest::prelude::*;

use testkit::falcon_judge::Rule;

/// A series of one host as it was pushed: a sample a step, or none.
#[derive(Debug, Clone)]
pub(crate) struct History {
    pub(crate) is_counter: bool,
    /// Seconds between two samples.
    pub(crate) step: i64,
    /// Seconds from the multiple of the step to the sample.
    pub(crate) phase: i64,
    /// Seconds from the sample to the evaluation.
    pub(crate) delay: i64,
    pub(crate) slots: Vec<Option<f64>>,
}

impl History {
    /// The samples with their times.
    pub(crate) fn samples(&self) -> Vec<(i64, f64)> {
        let sample = |(slot, value): (usize, &Option<f64>)| Some((self.time(slot), (*value)?));
        self.slots.iter().enumerate().filter_map(sample).collect()
    }

    /// The time of a slot's sample.
    pub(crate) fn time(&self, slot: usize) -> i64 {
        // Some steps from the epoch, so that windows do not reach before it.
        (slot as i64 + 100) * self.step + self.phase
    }

    /// Whether a sample is there in each of the `count` slots up to this one.
    pub(crate) fn is_whole(&self, slot: usize, count: usize) -> bool {
        slot + 1 >= count && self.slots[slot + 1 - count..=slot].iter().all(Option::is_some)
    }

    /// Makes a counter one that never begins again.
    pub(crate) fn steady(&mut self) {
        let mut most = 0.0_f64;
        for value in self.slots.iter_mut().flatten().filter(|_| self.is_counter) {
            most = most.max(*value);
            *value = most;
        }
    }

    /// Whether the counter began again in the `count` slots up to this one.
    pub(crate) fn is_reset(&self, slot: usize, count: usize) -> bool {
        let values: Vec<f64> =
            self.slots[slot + 1 - count..=slot].iter().copied().flatten().collect();
        self.is_counter && values.windows(2).any(|pair| pair[1] < pair[0])
    }
}

/// `gaps` is the share of samples that are missing.
pub(crate) fn history(gaps: f64) -> impl Strategy<Value = History> {
    let step = prop::sample::select(vec![10_i64, 30, 60, 600]);
    let value = prop_oneof![6 => -3..8_i32, 1 => 0..1_i32, 1 => 90..110_i32];
    let slot = (prop::bool::weighted(gaps), value);
    let slots = prop::collection::vec(slot, 1..30);
    let phase = prop_oneof![3 => Just(0.0), 1 => 0.0..1.0_f64];
    (step, phase, 0.0..1.0_f64, prop::bool::weighted(0.35), slots).prop_map(
        |(step, phase, delay, is_counter, slots)| {
            let part = |share: f64| ((step as f64 * share) as i64).min(step - 1);
            let mut total = 1000.0;
            let value = |(is_gap, value): (bool, i32)| {
                let value = f64::from(value);
                if !is_counter {
                    return (!is_gap).then_some(value);
                }
                // A negative growth is a reset.
                total = if value < -2.0 { 0.0 } else { total + value.abs() * step as f64 };
                (!is_gap).then_some(total)
            };
            let slots = slots.into_iter().map(value).collect();
            History { is_counter, step, phase: part(phase), delay: part(delay), slots }
        },
    )
}

/// Every row of the table: a function and an operator that have a counterpart in PromQL.
pub(crate) fn rows() -> Vec<(&'static str, &'static str)> {
    const NAMES: [&str; 10] =
        ["all", "max", "min", "sum", "avg", "lookup", "diff", "pdiff", "stddev", "kdiff"];
    const OPERATORS: [&str; 7] = [">", ">=", "<", "<=", "=", "==", "!="];
    let rows = NAMES.into_iter().flat_map(|name| OPERATORS.map(|operator| (name, operator)));
    // kdiff has no equality in PromQL.
    rows.filter(|(name, operator)| *name != "kdiff" || matches!(*operator, ">" | ">=" | "<" | "<="))
        .collect()
}

/// Any rule of a row.
pub(crate) fn rule_of(
    (name, operator): (&'static str, &'static str),
) -> impl Strategy<Value = Rule> {
    let threshold =
        prop_oneof![3 => -6..14_i32, 1 => -60..300_i32].prop_map(|v| f64::from(v) / 2.0);
    (1..6_usize, 1..7_usize, threshold, 1..4_u32).prop_map(
        move |(first, points, threshold, max_step)| Rule {
            name,
            first,
            points,
            operator,
            threshold,
            max_step,
        },
    )
}

/// Any rule of the table.
pub(crate) fn rule() -> impl Strategy<Value = Rule> {
    prop::sample::select(rows()).prop_flat_map(rule_of)
}
