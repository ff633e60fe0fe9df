//! Samples and series.

use crate::{Labels, Timestamp};

/// Bits of the NaN that marks the end of a series (a staleness marker), as Prometheus defines it.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The staleness marker as a value.
pub fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// Whether a value is the staleness marker; any other NaN is a value like any other.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// A value at a moment. Two samples are equal when their bits are, so that NaN equals itself.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// When.
    pub timestamp: Timestamp,
    /// What.
    pub value: f64,
}

impl Sample {
    /// A sample from milliseconds and a value.
    pub const fn new(timestamp_millis: i64, value: f64) -> Self {
        Self { timestamp: Timestamp(timestamp_millis), value }
    }
}

impl PartialEq for Sample {
    fn eq(&self, other: &Self) -> bool {
        self.timestamp == other.timestamp && self.value.to_bits() == other.value.to_bits()
    }
}

/// A label set and its samples in ascending order of time, at most one a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What the series is called.
    pub labels: Labels,
    /// Its samples.
    pub samples: Vec<Sample>,
}
