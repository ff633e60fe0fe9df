//! What a store may hand in beyond numbers: native histograms, and when samples started to count.

use std::sync::Arc;

use model::{Labels, Series, Timestamp};

use crate::histogram::Histogram;

/// The answer to a selection.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SeriesSet {
    /// Series of numbers.
    pub floats: Vec<Series>,
    /// Native histograms. A series that has both kinds of samples is in both lists.
    pub histograms: Vec<HistogramSeries>,
    /// Start times, for series of either list.
    pub starts: Vec<StartTimes>,
}

/// A native histogram at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramSample {
    /// When.
    pub timestamp: Timestamp,
    /// What.
    pub histogram: Arc<Histogram>,
}

/// A label set and its native histograms in ascending order of time.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramSeries {
    /// What the series is called.
    pub labels: Labels,
    /// Its samples.
    pub samples: Vec<HistogramSample>,
}

/// When the samples of a series started to count: a counter was zero then. `rate` and its relatives
/// recognise resets by it that the values do not show.
#[derive(Debug, Clone, PartialEq)]
pub struct StartTimes {
    /// What the series is called.
    pub labels: Labels,
    /// The time of a sample and its start time, in ascending order of the samples. Samples may be
    /// left out.
    pub starts: Vec<(Timestamp, Timestamp)>,
}
