//! The figures of the store, read when somebody asks for `/metrics`.

use std::fmt;

use daemon::Context;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use storage::{Stats, Storage};

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
    gauge(encoder, "transfer_store_series", "Series in the store.", stats.series as u64)?;
    gauge(encoder, "transfer_store_samples", "Samples in the store.", stats.samples)?;
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

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let metric = ConstCounter::new(value);
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}
