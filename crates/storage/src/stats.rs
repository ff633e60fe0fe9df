//! Figures for `/metrics`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::batch::{Refusal, WriteOutcome};

/// A store in figures, at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// Series in memory.
    pub series: usize,
    /// Samples in memory.
    pub samples: u64,
    /// Samples stored since the start, replay left out.
    pub stored_total: u64,
    /// Samples refused since the start, by reason; every reason is listed.
    pub refused_total: Vec<(Refusal, u64)>,
    /// Figures of the write-ahead log; `None` for a store in memory.
    pub wal: Option<WalStats>,
}

/// A write-ahead log in figures.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WalStats {
    /// Bytes of all segments on disk.
    pub bytes: u64,
    /// Segments on disk.
    pub segments: usize,
    /// Batches that could not be written since the start.
    pub write_errors_total: u64,
    /// The error of the last attempt to bring written records to disk; `None` after a success.
    pub last_sync_error: Option<String>,
    /// What opening the store found.
    pub replay: ReplayReport,
}

/// What was found in the write-ahead log when the store was opened.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReplayReport {
    /// Segments read.
    pub segments: usize,
    /// Records read.
    pub records: u64,
    /// Samples read, expired ones included.
    pub samples: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Damage, at most one entry a segment.
    pub faults: Vec<WalFault>,
}

/// Damage in a segment: everything before the offset was kept.
#[derive(Debug, Clone, PartialEq)]
pub struct WalFault {
    /// The segment.
    pub path: PathBuf,
    /// Where the first unreadable record begins.
    pub offset: u64,
    /// Bytes from there to the end of the segment: what is lost.
    pub bytes_lost: u64,
    /// What is wrong with that record.
    pub reason: &'static str,
    /// Whether the segment was cut at the offset. Only the last one is; others are left as they are
    /// until they expire.
    pub cut: bool,
}

/// Counts of a running store.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    stored: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
}

impl Counters {
    pub(crate) fn count(&self, outcome: &WriteOutcome) {
        self.stored.fetch_add(outcome.stored as u64, Ordering::Relaxed);
        for refused in &outcome.refused {
            self.refused[refused.reason as usize]
                .fetch_add(refused.count as u64, Ordering::Relaxed);
        }
    }

    pub(crate) fn stored(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }

    pub(crate) fn refused(&self) -> Vec<(Refusal, u64)> {
        Refusal::ALL
            .iter()
            .map(|reason| (*reason, self.refused[*reason as usize].load(Ordering::Relaxed)))
            .collect()
    }
}
