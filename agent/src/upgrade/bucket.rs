//! How fast a download may go. Pure.

use std::time::Duration;

/// Bytes that may be taken at once, as a share of a second's worth.
const BURST_SECONDS: f64 = 0.25;

/// A token bucket: bytes come in at a rate and are taken out by what was read.
#[derive(Debug, Clone)]
pub struct Bucket {
    rate: f64,
    tokens: f64,
    filled_at: Duration,
}

impl Bucket {
    /// `rate` bytes a second; 0 for no limit. Times are counted from any one moment.
    pub fn new(rate: u64, now: Duration) -> Self {
        let rate = rate as f64;
        Self { rate, tokens: rate * BURST_SECONDS, filled_at: now }
    }

    /// Takes what was read; how long to wait before more is read.
    pub fn take(&mut self, bytes: usize, now: Duration) -> Duration {
        if self.rate <= 0.0 {
            return Duration::ZERO;
        }
        let passed = now.saturating_sub(self.filled_at).as_secs_f64();
        self.filled_at = self.filled_at.max(now);
        self.tokens = (self.tokens + passed * self.rate).min(self.rate * BURST_SECONDS);
        self.tokens -= bytes as f64;
        Duration::try_from_secs_f64((-self.tokens / self.rate).max(0.0)).unwrap_or(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn without_a_rate_nothing_waits() {
        let mut bucket = Bucket::new(0, Duration::ZERO);
        assert_eq!(bucket.take(usize::MAX, Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn what_was_too_much_is_waited_for() {
        let mut bucket = Bucket::new(1000, Duration::ZERO);
        assert_eq!(bucket.take(250, Duration::ZERO), Duration::ZERO);
        assert_eq!(bucket.take(500, Duration::ZERO), Duration::from_millis(500));
        assert_eq!(bucket.take(0, Duration::from_millis(500)), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn no_reader_is_faster_than_the_rate_over_time(
            rate in 1_u64..1_000_000,
            pieces in prop::collection::vec(1_usize..100_000, 1..50),
        ) {
            let mut bucket = Bucket::new(rate, Duration::ZERO);
            let (mut now, mut taken) = (Duration::ZERO, 0);
            for piece in pieces {
                taken += piece;
                now += bucket.take(piece, now);
            }
            let allowed = rate as f64 * (now.as_secs_f64() + BURST_SECONDS) + 1.0;
            prop_assert!(taken as f64 <= allowed, "{taken} of {allowed} in {now:?}");
        }
    }
}
