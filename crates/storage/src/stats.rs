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
    /// Figures of the blocks; `None` for a store in memory.
    pub blocks: Option<BlockStats>,
}

/// The blocks on disk in figures.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BlockStats {
    /// Blocks.
    pub blocks: usize,
    /// Bytes of all blocks.
    pub bytes: u64,
    /// Samples in all blocks; one that is in two counts twice until they are merged.
    pub samples: u64,
    /// Blocks cut from memory since the start.
    pub cut_total: u64,
    /// Times that several blocks were merged into one since the start.
    pub compacted_total: u64,
    /// Blocks deleted by retention since the start.
    pub deleted_total: u64,
    /// Cuts, merges and deletions that failed since the start.
    pub failed_total: u64,
    /// Blocks set aside because of damage since the start.
    pub damaged_total: u64,
    /// Memory that the cache of pages takes, in bytes.
    pub cache_bytes: usize,
    /// Pages that were found in the cache since the start.
    pub cache_hits_total: u64,
    /// Pages that were read from disk since the start.
    pub cache_misses_total: u64,
    /// Blocks that were set aside.
    pub faults: Vec<BlockFault>,
}

/// A block that was set aside.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockFault {
    /// Where its folder is now.
    pub path: PathBuf,
    /// Which file of it, and what is wrong with it.
    pub reason: String,
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
