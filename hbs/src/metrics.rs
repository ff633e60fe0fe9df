//! Every metric of hbs.

use daemon::Context;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

/// What became of a heartbeat, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum HeartbeatResult {
    New,
    Changed,
    Same,
    Malformed,
    Full,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    result: HeartbeatResult,
}

/// The counters and gauges; clones count into the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    heartbeats: Family<ByResult, Counter>,
    pub(crate) hosts: Gauge,
    pub(crate) hosts_stored: Counter,
    pub(crate) store_failures: Counter,
    pub(crate) age_export_failures: Counter,
}

impl Metrics {
    /// Registers all of them, touched with zero.
    pub(crate) fn register(context: &Context) -> Self {
        let metrics = Self::default();
        use HeartbeatResult::{Changed, Full, Malformed, New, Same};
        for result in [New, Changed, Same, Malformed, Full] {
            drop(metrics.heartbeats.get_or_create(&ByResult { result }));
        }
        let mut registry = context.registry();
        registry.register(
            "hbs_heartbeats",
            "Heartbeats by what became of them",
            metrics.heartbeats.clone(),
        );
        registry.register("hbs_hosts", "Hosts that hbs knows", metrics.hosts.clone());
        registry.register(
            "hbs_hosts_stored",
            "Host rows written to the database",
            metrics.hosts_stored.clone(),
        );
        registry.register(
            "hbs_store_failures",
            "Batches of host rows that could not be written and are tried again",
            metrics.store_failures.clone(),
        );
        registry.register(
            "hbs_age_export_failures",
            "Rounds of agent_heartbeat_age_seconds that transfer did not take",
            metrics.age_export_failures.clone(),
        );
        drop(registry);
        metrics
    }

    /// Counts a heartbeat.
    pub(crate) fn count(&self, result: HeartbeatResult) {
        self.heartbeats.get_or_create(&ByResult { result }).inc();
    }
}
