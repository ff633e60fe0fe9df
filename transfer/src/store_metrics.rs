//! The figures of the store, read when somebody asks for `/metrics`.

use std::fmt;

use daemon::Context;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use storage::{BlockStats, Stats, Storage};

/// Puts the figures of the store on the `/metrics` page of transfer.
pub(crate) fn register(storage: &Storage, context: &Context) {
    context.registry().register_collector(Box::new(StoreMetrics(storage.clone())));
}

#[derive(Debug)]
struct StoreMetrics(Storage);

impl Collector for StoreMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        encode(&self.0.stats(), &mut encoder)
    }
}

fn encode(stats: &Stats, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    gauge(encoder, "transfer_store_series", "Series in memory.", stats.series as u64)?;
    gauge(encoder, "transfer_store_samples", "Samples in memory.", stats.samples)?;
    if let Some(blocks) = &stats.blocks {
        encode_blocks(blocks, encoder)?;
    }
    let Some(wal) = &stats.wal else { return Ok(()) };
    gauge(encoder, "transfer_store_wal_bytes", "Bytes of the write-ahead log on disk.", wal.bytes)?;
    gauge(
        encoder,
        "transfer_store_wal_segments",
        "Segments of the write-ahead log.",
        wal.segments as u64,
    )?;
    let help = "Batches that the write-ahead log did not take.";
    counter(encoder, "transfer_store_wal_write_errors", help, wal.write_errors_total)?;
    let help = "Whether the last attempt to bring the write-ahead log to disk failed.";
    let sync_failed = u64::from(wal.last_sync_error.is_some());
    gauge(encoder, "transfer_store_wal_sync_failed", help, sync_failed)?;
    let lost: u64 = wal.replay.faults.iter().map(|fault| fault.bytes_lost).sum();
    let help = "Bytes of the write-ahead log that could not be read at the start.";
    gauge(encoder, "transfer_store_wal_lost_bytes", help, lost)
}

fn encode_blocks(blocks: &BlockStats, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let gauges = [
        ("transfer_store_blocks", "Blocks on disk.", blocks.blocks as u64),
        ("transfer_store_block_bytes", "Bytes of the blocks on disk.", blocks.bytes),
        ("transfer_store_block_samples", "Samples in the blocks on disk.", blocks.samples),
        (
            "transfer_store_block_cache_bytes",
            "Memory that holds what was read of blocks.",
            blocks.cache_bytes as u64,
        ),
    ];
    for (name, help, value) in gauges {
        gauge(encoder, name, help, value)?;
    }
    let counters = [
        ("transfer_store_blocks_cut", "Blocks cut from memory.", blocks.cut_total),
        (
            "transfer_store_compactions",
            "Times that several blocks were merged into one.",
            blocks.compacted_total,
        ),
        (
            "transfer_store_blocks_deleted",
            "Blocks deleted because of their age or the size of all.",
            blocks.deleted_total,
        ),
        (
            "transfer_store_block_failures",
            "Cuts, merges and deletions of blocks that failed; they are tried again.",
            blocks.failed_total,
        ),
        (
            "transfer_store_blocks_damaged",
            "Blocks that were set aside because of damage.",
            blocks.damaged_total,
        ),
        (
            "transfer_store_block_cache_hits",
            "Pages of blocks that were found in memory.",
            blocks.cache_hits_total,
        ),
        (
            "transfer_store_block_cache_misses",
            "Pages of blocks that were read from disk.",
            blocks.cache_misses_total,
        ),
    ];
    for (name, help, value) in counters {
        counter(encoder, name, help, value)?;
    }
    Ok(())
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let metric = ConstCounter::new(value);
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}
