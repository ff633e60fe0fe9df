//! When to send, and when to try again (pure).

use std::time::Duration;

use model::Timestamp;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::config::Destination;

/// A destination that wants to be left alone for longer is asked again all the same.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// What a queue has to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) samples: u64,
    /// When the first of it came.
    pub(super) since: Option<Timestamp>,
}

/// When a batch is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Now,
    In(Duration),
    /// There is nothing to send.
    Empty,
}

/// A batch is due when it is full, or its first samples have waited for `wait`.
pub(super) fn due(waiting: Waiting, samples_max: u64, wait: Duration, now: Timestamp) -> Due {
    let Some(since) = waiting.since else { return Due::Empty };
    let waited = now.since(since);
    // A clock that was set back must not hold the samples.
    if waiting.samples >= samples_max || waited >= wait || since > now {
        return Due::Now;
    }
    Due::In(wait - waited)
}

/// How long to wait after a failure, the first of which has number 0: twice as long each time, with
/// a third more or less, so that many transfers do not come back at one moment; and not before the
/// destination wants it.
pub(super) fn pause(
    settings: &Destination,
    failures: u32,
    retry_after: Option<Duration>,
    now: Timestamp,
) -> Duration {
    let doubled =
        settings.backoff_min.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX));
    let hash = xxh3_64_with_seed(settings.name.as_bytes(), now.millis() as u64);
    let share = (hash >> 11) as f64 / (1_u64 << 53) as f64;
    let spread = doubled.min(settings.backoff_max).mul_f64(2.0 / 3.0 * (1.0 + share));
    spread.max(retry_after.unwrap_or_default().min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_760_000_460);
    const WAIT: Duration = Duration::from_millis(200);

    fn check(samples: u64, waited_ms: i64, expected: Due) {
        let since = Some(Timestamp(NOW.millis() - waited_ms));
        assert_eq!(due(Waiting { samples, since }, 100, WAIT, NOW), expected);
    }

    #[test]
    fn a_batch_is_due_when_it_is_full_or_old() {
        check(100, 0, Due::Now);
        check(99, 200, Due::Now);
        check(99, 150, Due::In(Duration::from_millis(50)));
        check(1, -5, Due::Now);
        assert_eq!(due(Waiting { samples: 0, since: None }, 100, WAIT, NOW), Due::Empty);
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_are_spread() {
        let settings = Destination {
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(10),
            ..Destination::default()
        };
        for (failures, middle) in [(0, 1.0), (1, 2.0), (3, 8.0), (4, 10.0), (500, 10.0)] {
            let pauses = (0..50).map(|at| {
                pause(&settings, failures, None, NOW.plus(Duration::from_millis(at))).as_secs_f64()
            });
            let pauses: Vec<f64> = pauses.collect();
            let is_near = |pause: &f64| (middle * 0.66..middle * 1.34).contains(pause);
            assert!(pauses.iter().all(is_near), "{failures}: {pauses:?}");
            assert!(pauses.iter().any(|pause| *pause < middle * 0.9), "{pauses:?}");
        }
    }

    #[test]
    fn the_wish_of_the_destination_counts_within_reason() {
        let settings = Destination::default();
        let after = |seconds| pause(&settings, 0, Some(Duration::from_secs(seconds)), NOW);
        assert_eq!(after(30), Duration::from_secs(30));
        assert_eq!(after(86_400), RETRY_AFTER_MAX);
        assert!(after(0) > Duration::from_millis(300));
    }
}
