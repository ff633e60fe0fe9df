//! Whether a data centre is asked at all: one that fails again and again costs every question its deadline. Pure.

use std::time::Duration;

use model::Timestamp;

/// Failures in a row after which it is not asked any more.
const FAILURES_MAX: u32 = 3;
/// How long it is left alone; then one question tries it.
const REST: Duration = Duration::from_secs(5);

/// What is known of a data centre's health.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Breaker {
    /// It answers, but for this many questions in a row.
    Closed {
        /// Failures since its last answer.
        failures: u32,
    },
    /// It failed too often, and is not asked before this moment.
    Open {
        /// When it may be tried.
        until: Timestamp,
        /// Why, in the words of its last failure.
        why: String,
    },
    /// Nothing was asked yet.
    #[default]
    Unknown,
}

impl Breaker {
    /// Whether to ask it now; the error says why not. Of several who ask at the end of a rest, one does.
    pub(crate) fn ask(&mut self, now: Timestamp) -> Result<(), String> {
        match self {
            Self::Open { until, why } if now < *until => Err(why.clone()),
            Self::Open { until, .. } => {
                *until = now.plus(REST);
                Ok(())
            }
            Self::Closed { .. } | Self::Unknown => Ok(()),
        }
    }

    /// It answered.
    pub(crate) fn answered(&mut self) {
        *self = Self::Closed { failures: 0 };
    }

    /// It did not.
    pub(crate) fn failed(&mut self, why: &str, now: Timestamp) {
        let failures = match self {
            Self::Closed { failures } => failures.saturating_add(1),
            Self::Unknown => 1,
            Self::Open { .. } => FAILURES_MAX,
        };
        *self = if failures >= FAILURES_MAX {
            Self::Open { until: now.plus(REST), why: why.to_owned() }
        } else {
            Self::Closed { failures }
        };
    }

    /// Why it is not asked, in the words of its last failure.
    pub(crate) fn why(&self) -> Option<&str> {
        match self {
            Self::Open { why, .. } => Some(why),
            Self::Closed { .. } | Self::Unknown => None,
        }
    }

    /// The word for it on `/api/v1/datacenters`.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Closed { failures: 0 } => "ok",
            Self::Closed { .. } => "failing",
            Self::Open { .. } => "away",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(0);

    fn open() -> Breaker {
        let mut breaker = Breaker::default();
        (0..FAILURES_MAX).for_each(|_| breaker.failed("timed out", NOW));
        breaker
    }

    #[test]
    fn it_opens_after_three_failures_in_a_row() {
        let mut breaker = Breaker::default();
        breaker.failed("x", NOW);
        breaker.failed("x", NOW);
        breaker.answered();
        breaker.failed("x", NOW);
        assert_eq!((breaker.ask(NOW), breaker.word()), (Ok(()), "failing"));
        assert_eq!(open().ask(NOW), Err("timed out".to_owned()));
    }

    #[test]
    fn after_a_rest_one_question_tries_it() {
        let (mut breaker, later) = (open(), NOW.plus(REST));
        assert_eq!(breaker.ask(later), Ok(()));
        assert!(breaker.ask(later).is_err(), "the others wait for what comes of it");
        breaker.failed("still", later);
        assert_eq!(breaker.ask(later), Err("still".to_owned()));
        breaker.answered();
        assert_eq!((breaker.ask(later), breaker.word()), (Ok(()), "ok"));
    }
}
