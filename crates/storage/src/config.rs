//! Settings and their defaults.

use std::path::PathBuf;
use std::time::Duration;

/// Bounds that hold for every store of this process.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Most series at a time; samples of further ones are refused. A series takes about half a
    /// kilobyte of memory besides its labels, and a sample about two bytes.
    pub series_max: usize,
    /// Most metric names with metadata; further ones are refused.
    pub metadata_max: usize,
    /// How far behind the newest sample of its series a sample may come. Zero: not at all.
    pub out_of_order_window: Duration,
    /// How long samples are kept.
    pub retention: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            series_max: 1_000_000,
            metadata_max: 100_000,
            out_of_order_window: Duration::from_secs(3600),
            retention: Duration::from_secs(15 * 24 * 3600),
        }
    }
}

/// Settings of the store on local disk.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalConfig {
    /// The directory of the store; created when it is missing. One process at a time may have it
    /// open.
    pub dir: PathBuf,
    /// Bounds of the series in memory.
    pub limits: Limits,
    /// A segment of the write-ahead log is finished when it has reached this many bytes.
    pub segment_bytes_max: u64,
    /// A segment of the write-ahead log is finished when it is this old, so that it can be deleted
    /// soon after its samples are in blocks.
    pub segment_span: Duration,
    /// Samples leave memory for a block in pieces of this length, once they are older than the
    /// out-of-order window. Up to the window and twice this length are in memory, and are read back
    /// at a start.
    pub block_span: Duration,
    /// Most bytes of all blocks together; the oldest are deleted first. 0 for no bound.
    pub block_bytes_max: u64,
    /// Most memory for what was read of blocks.
    pub block_cache_bytes_max: usize,
}

impl LocalConfig {
    /// No block is longer than an eighth of the retention, so that little is kept beyond it.
    pub(crate) fn block_span_max(&self) -> Duration {
        self.limits.retention / 8
    }

    /// Defaults for a directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            limits: Limits::default(),
            segment_bytes_max: 64 << 20,
            segment_span: Duration::from_secs(3600),
            block_span: Duration::from_secs(2 * 3600),
            block_bytes_max: 0,
            block_cache_bytes_max: 64 << 20,
        }
    }
}
