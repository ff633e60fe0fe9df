//! When to evaluate an expression, and what that may use.

use std::time::Duration;

use model::Timestamp;

/// When to evaluate, and within which limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Params {
    /// First evaluation time.
    pub start: Timestamp,
    /// Last evaluation time; the same as the first for an instant query.
    pub end: Timestamp,
    /// Distance of evaluation times; zero for an instant query. Whole milliseconds count.
    pub step: Duration,
    /// How old the newest sample of a series may be to still be its value.
    pub lookback: Duration,
    /// The step of subqueries that name none: the evaluation interval of the rules.
    pub subquery_step: Duration,
    /// Whether names are dropped from results at the very end (a Prometheus feature flag) instead
    /// of at once. Then `label_replace` still sees the name that `rate` is about to drop.
    pub delayed_name_removal: bool,
    /// What the evaluation may use.
    pub limits: Limits,
}

impl Params {
    /// One evaluation at a moment, with the defaults: lookback 5 minutes, subquery step 1 minute.
    pub fn instant(at: Timestamp) -> Self {
        Self::range(at, at, Duration::ZERO)
    }

    /// Evaluations every `step` from `start` to `end`, with the defaults.
    pub fn range(start: Timestamp, end: Timestamp, step: Duration) -> Self {
        Self {
            start,
            end,
            step,
            lookback: Duration::from_secs(300),
            subquery_step: Duration::from_secs(60),
            delayed_name_removal: false,
            limits: Limits::default(),
        }
    }
}

/// What an evaluation may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Samples held at one time, inputs and intermediate results together.
    pub samples_max: usize,
    /// Series in any input or intermediate result.
    pub series_max: usize,
    /// Levels of nesting of the expression.
    pub depth_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { samples_max: 50_000_000, series_max: 5_000_000, depth_max: crate::parser::DEPTH_MAX }
    }
}
