//! Samples as Open-Falcon's graph gave them: one value a step, counters as rates. Pure.

use std::time::Duration;

use model::{Sample, Timestamp, is_stale};

/// What one value stands for the samples of its step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consolidation {
    Average,
    Max,
    Min,
    Last,
}

impl Consolidation {
    /// By the original's word; empty is `AVERAGE`.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        match word.to_ascii_uppercase().as_str() {
            "" | "AVERAGE" => Some(Self::Average),
            "MAX" => Some(Self::Max),
            "MIN" => Some(Self::Min),
            "LAST" => Some(Self::Last),
            _ => None,
        }
    }

    fn of(self, values: &[Sample]) -> Option<f64> {
        let all = || values.iter().map(|sample| sample.value);
        match self {
            Self::Average => (!values.is_empty()).then(|| all().sum::<f64>() / values.len() as f64),
            Self::Max => all().reduce(f64::max),
            Self::Min => all().reduce(f64::min),
            Self::Last => all().next_back(),
        }
    }
}

/// The moments of an answer: the multiples of `step` in `(start, end]`. All in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) step: i64,
}

impl Grid {
    /// The moments, ascending.
    pub(crate) fn times(self) -> impl Iterator<Item = i64> {
        let step = self.step.max(1);
        let first = self.start.div_euclid(step).saturating_add(1).saturating_mul(step);
        (0..self.len()).map(move |at| first.saturating_add(step.saturating_mul(at)))
    }

    /// How many there are.
    pub(crate) fn len(self) -> i64 {
        let step = self.step.max(1);
        (self.end.div_euclid(step) - self.start.div_euclid(step)).max(0)
    }

    /// What must be read for it: a counter's first rate needs the sample before.
    pub(crate) fn span(self, before: Duration) -> (Timestamp, Timestamp) {
        let start = self.start.div_euclid(self.step.max(1)).saturating_mul(self.step.max(1));
        (Timestamp::from_seconds(start).minus(before), Timestamp::from_seconds(self.end))
    }
}

/// A value for every moment of the grid: what the samples of the step before it, the moment itself included,
/// come to; nothing where there are none.
pub(crate) fn consolidated(samples: &[Sample], grid: Grid, how: Consolidation) -> Vec<Option<f64>> {
    let mut at = 0;
    let mut values = Vec::new();
    for time in grid.times() {
        let end = Timestamp::from_seconds(time).millis();
        let start = Timestamp::from_seconds(time - grid.step.max(1)).millis();
        at += samples[at..].iter().take_while(|s| s.timestamp.millis() <= start).count();
        let inside = samples[at..].iter().take_while(|s| s.timestamp.millis() <= end).count();
        values.push(how.of(&samples[at..at + inside]).filter(|value| value.is_finite()));
        at += inside;
    }
    values
}

/// A counter's samples as rates a second, each at the later of the two samples it lies between. After a
/// reset, and over a gap of more than `gap_max`, there is none: nobody knows what was counted.
pub(crate) fn rates(samples: &[Sample], gap_max: Duration) -> Vec<Sample> {
    let rate = |[before, after]: &[Sample; 2]| {
        let gap = after.timestamp.since(before.timestamp);
        let change = after.value - before.value;
        let is_known = change >= 0.0 && !gap.is_zero() && gap <= gap_max;
        is_known.then(|| Sample { timestamp: after.timestamp, value: change / gap.as_secs_f64() })
    };
    samples.array_windows().filter_map(rate).collect()
}

/// The samples without staleness markers, which the original did not have.
pub(crate) fn values(samples: &[Sample]) -> Vec<Sample> {
    samples.iter().filter(|sample| !is_stale(sample.value)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(pairs: &[(i64, f64)]) -> Vec<Sample> {
        pairs.iter().map(|(at, value)| Sample::new(at * 1000, *value)).collect()
    }

    const GRID: Grid = Grid { start: 1_760_000_000, end: 1_760_000_180, step: 60 };

    #[test]
    fn the_moments_are_multiples_of_the_step_after_the_start() {
        let times: Vec<i64> = GRID.times().collect();
        assert_eq!(times, [1_760_000_040, 1_760_000_100, 1_760_000_160]);
        assert_eq!(Grid { end: GRID.start, ..GRID }.times().count(), 0);
        let from_a_multiple = Grid { start: 120, end: 240, step: 60 };
        assert_eq!(from_a_multiple.times().collect::<Vec<_>>(), [180, 240]);
    }

    fn check(how: Consolidation, expected: [Option<f64>; 3]) {
        let all = samples(&[
            (1_759_999_980, 100.0),
            (1_759_999_990, 1.0),
            (1_760_000_040, 3.0),
            (1_760_000_160, f64::NAN),
        ]);
        let all = values(&all);
        assert_eq!(consolidated(&all, GRID, how), expected, "{how:?}");
    }

    #[test]
    fn a_step_without_samples_or_without_a_number_has_no_value() {
        check(Consolidation::Average, [Some(2.0), None, None]);
        check(Consolidation::Max, [Some(3.0), None, None]);
        check(Consolidation::Min, [Some(1.0), None, None]);
        check(Consolidation::Last, [Some(3.0), None, None]);
    }

    #[test]
    fn a_counter_is_a_rate_but_over_resets_and_gaps() {
        let counter = samples(&[(0, 10.0), (60, 70.0), (120, 5.0), (180, 65.0), (900, 66.0)]);
        let expected = samples(&[(60, 1.0), (180, 1.0)]);
        assert_eq!(rates(&counter, Duration::from_secs(120)), expected);
    }

    #[test]
    fn a_word_that_is_none_is_refused() {
        assert_eq!(Consolidation::parse("average"), Some(Consolidation::Average));
        assert_eq!(Consolidation::parse("MEDIAN"), None);
    }
}
