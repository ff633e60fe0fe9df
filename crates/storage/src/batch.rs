//! What is written, and what became of it.

use model::{Labels, Metadata, Series};

/// What one call of [`Writer::write`](crate::Writer::write) stores.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// Series with their samples. Any order, also of the samples; a label set may occur more than
    /// once.
    pub series: Vec<Series>,
    /// Metadata by metric name; the last one written stays.
    pub metadata: Vec<(String, Metadata)>,
}

/// Why a sample was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// Older than the newest sample of its series, and the out-of-order window is zero.
    OutOfOrder,
    /// Further back than the out-of-order window or the retention reaches.
    TooOld,
    /// Another value is stored for this moment; the first one stays.
    Duplicate,
    /// A new series beyond `series_max`.
    SeriesLimit,
    /// A series without a label, which no query could name.
    NoLabels,
    /// Metadata of a new metric name beyond `metadata_max`.
    MetadataLimit,
}

impl Refusal {
    /// All reasons, in the order in which they are counted.
    pub const ALL: [Self; 6] = [
        Self::OutOfOrder,
        Self::TooOld,
        Self::Duplicate,
        Self::SeriesLimit,
        Self::NoLabels,
        Self::MetadataLimit,
    ];

    /// The reason as a label value: `out_of_order`, `too_old` and so on.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OutOfOrder => "out_of_order",
            Self::TooOld => "too_old",
            Self::Duplicate => "duplicate",
            Self::SeriesLimit => "series_limit",
            Self::NoLabels => "no_labels",
            Self::MetadataLimit => "metadata_limit",
        }
    }
}

/// How many samples of a batch were refused for one reason.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    /// Why.
    pub reason: Refusal,
    /// How many samples, or how many pieces of metadata for [`Refusal::MetadataLimit`].
    pub count: usize,
    /// The first series that was hit, for the log line.
    pub example: Labels,
}

/// What became of a batch. `stored`, `unchanged` and the refused samples add up to what was handed
/// in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WriteOutcome {
    /// Samples that are new in the store.
    pub stored: usize,
    /// Samples that were there already with the same value: a repetition, and a success.
    pub unchanged: usize,
    /// Refused samples, at most one entry a reason.
    pub refused: Vec<Refused>,
}

impl WriteOutcome {
    /// Samples and metadata that were refused, over all reasons.
    pub fn refused_count(&self) -> usize {
        self.refused.iter().map(|refused| refused.count).sum()
    }

    pub(crate) fn refuse(&mut self, reason: Refusal, count: usize, labels: &Labels) {
        if count == 0 {
            return;
        }
        match self.refused.iter_mut().find(|refused| refused.reason == reason) {
            Some(refused) => refused.count += count,
            None => self.refused.push(Refused { reason, count, example: labels.clone() }),
        }
    }
}
