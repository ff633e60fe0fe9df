//! How much one sender may send: samples a second on average, and series within an hour or two.

use std::collections::HashSet;
use std::time::Duration;

use model::Timestamp;

/// A series counts for one to two of these.
const SERIES_PERIOD: Duration = Duration::from_secs(3600);
/// A rate may be exceeded for so long after a silence, since agents send in bursts and repeat what
/// they could not send.
const BURST_SECONDS: f64 = 60.0;

/// The limits of a sender; 0 is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct QuotaLimits {
    pub(crate) samples_per_second_max: usize,
    pub(crate) series_max: usize,
}

/// Which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exceeded {
    Rate,
    Series,
}

/// What is left of the limits of a sender.
#[derive(Debug)]
pub(crate) struct Quota {
    /// Samples that may come at once.
    allowance: f64,
    refilled: Timestamp,
    /// Hashes of the series of this period and of the one before.
    series: [HashSet<u64>; 2],
    period: Timestamp,
}

impl QuotaLimits {
    /// Whether anything is limited.
    pub(crate) fn is_limited(self) -> bool {
        self.samples_per_second_max > 0 || self.series_max > 0
    }
}

impl Quota {
    pub(crate) fn new(limits: QuotaLimits, now: Timestamp) -> Self {
        let allowance = limits.samples_per_second_max as f64 * BURST_SECONDS;
        Self { allowance, refilled: now, series: Default::default(), period: now }
    }

    /// Takes samples of a series, by its hash, or says what forbids it.
    pub(crate) fn admit(
        &mut self,
        series: impl FnOnce() -> u64,
        samples: usize,
        limits: QuotaLimits,
        now: Timestamp,
    ) -> Result<(), Exceeded> {
        if limits.series_max > 0 {
            self.admit_series(series(), limits.series_max, now)?;
        }
        if limits.samples_per_second_max > 0 {
            let rate = limits.samples_per_second_max as f64;
            let refill = now.since(self.refilled).as_secs_f64() * rate;
            self.allowance = (self.allowance + refill).min(rate * BURST_SECONDS);
            self.refilled = self.refilled.max(now);
            if self.allowance < samples as f64 {
                return Err(Exceeded::Rate);
            }
            self.allowance -= samples as f64;
        }
        Ok(())
    }

    fn admit_series(
        &mut self,
        hash: u64,
        series_max: usize,
        now: Timestamp,
    ) -> Result<(), Exceeded> {
        if now.since(self.period) >= SERIES_PERIOD {
            self.series.swap(0, 1);
            self.series[0].clear();
            self.period = now;
        }
        let [current, before] = &mut self.series;
        if current.contains(&hash) {
            return Ok(());
        }
        let was_known = before.remove(&hash);
        if !was_known && current.len() + before.len() >= series_max {
            return Err(Exceeded::Series);
        }
        current.insert(hash);
        Ok(())
    }
}
