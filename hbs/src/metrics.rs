//! Every metric of hbs.

use std::fmt;

use daemon::{Context, share_metric};
use db::Db;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric,
};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
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
    pub(crate) hosts_silent: Gauge,
    pub(crate) hosts_waiting: Gauge,
    pub(crate) hosts_stored: Counter,
    pub(crate) hosts_purged: Counter,
    pub(crate) store_failures: Counter,
    pub(crate) upkeep_failures: Counter,
    pub(crate) age_export_failures: Counter,
    pub(crate) leader: Gauge,
    pub(crate) groups: Gauge,
    pub(crate) snapshot_generation: Gauge,
    pub(crate) snapshot_failures: Counter,
    pub(crate) changes_refused: Counter,
    pub(crate) rpc_connections: Gauge,
    pub(crate) rpc_malformed: Counter,
    pub(crate) rpc_rule_questions: Counter,
}

impl Metrics {
    /// Registers all of them, touched with zero.
    pub(crate) fn register(context: &Context, db: &Db) -> Self {
        let all = Self::default();
        use HeartbeatResult::{Changed, Full, Malformed, New, Same};
        for result in [New, Changed, Same, Malformed, Full] {
            drop(all.heartbeats.get_or_create(&ByResult { result }));
        }
        let mut registry = context.registry();
        let r = &mut *registry;
        share_metric(r, "hbs_heartbeats", "Heartbeats by what became of them", &all.heartbeats);
        share_metric(r, "hbs_hosts", "Hosts that hbs knows", &all.hosts);
        share_metric(
            r,
            "hbs_hosts_silent",
            "Hosts not heard for hbs.silent_after",
            &all.hosts_silent,
        );
        let help = "Hosts whose news wait to be written to the database";
        share_metric(r, "hbs_hosts_waiting", help, &all.hosts_waiting);
        share_metric(r, "hbs_hosts_stored", "Host rows written to the database", &all.hosts_stored);
        let help = "Hosts forgotten because they were silent for hbs.purge_after";
        share_metric(r, "hbs_hosts_purged", help, &all.hosts_purged);
        let help = "Batches of host rows that could not be written and are tried again";
        share_metric(r, "hbs_store_failures", help, &all.store_failures);
        let help = "Rounds of upkeep of the hosts that failed and are tried again";
        share_metric(r, "hbs_upkeep_failures", help, &all.upkeep_failures);
        let help = "Rounds of agent_heartbeat_age_seconds and its like that transfer did not take";
        share_metric(r, "hbs_age_export_failures", help, &all.age_export_failures);
        let help = "Whether this hbs holds the lease of those that share the hosts";
        share_metric(r, "hbs_leader", help, &all.leader);
        share_metric(r, "hbs_groups", "Host groups", &all.groups);
        let help = "Number of the latest change in the snapshot that this hbs goes by";
        share_metric(r, "hbs_snapshot_generation", help, &all.snapshot_generation);
        let help = "Rounds in which the snapshot of the groups could not be renewed or shared";
        share_metric(r, "hbs_snapshot_failures", help, &all.snapshot_failures);
        let help = "Changes refused because they came from elsewhere and without a token";
        share_metric(r, "hbs_changes_refused", help, &all.changes_refused);
        let help = "Connections of Open-Falcon's JSON-RPC";
        share_metric(r, "hbs_rpc_connections", help, &all.rpc_connections);
        let help = "What came by JSON-RPC and was no call that hbs knows";
        share_metric(r, "hbs_rpc_malformed", help, &all.rpc_malformed);
        let help = "Questions of Open-Falcon's judges for rules, which have none here";
        share_metric(r, "hbs_rpc_rule_questions", help, &all.rpc_rule_questions);
        r.register_collector(Box::new(Conflicts(db.clone())));
        drop(registry);
        all
    }

    /// Counts a heartbeat.
    pub(crate) fn count(&self, result: HeartbeatResult) {
        self.heartbeats.get_or_create(&ByResult { result }).inc();
    }
}

/// How often transactions were in each other's way, read when somebody asks.
#[derive(Debug)]
struct Conflicts(Db);

impl Collector for Conflicts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let db::Statistics { deadlocks, lock_timeouts, duplicate_keys, given_up } =
            self.0.statistics();
        let counts = [
            ("hbs_db_deadlocks", "Transactions tried again after a deadlock.", deadlocks),
            ("hbs_db_lock_timeouts", "Transactions tried again after a lock.", lock_timeouts),
            (
                "hbs_db_duplicate_keys",
                "Transactions tried again because another one inserted the same key.",
                duplicate_keys,
            ),
            ("hbs_db_given_up", "Transactions given up after five tries.", given_up),
        ];
        for (name, help, count) in counts {
            let metric = ConstCounter::new(count);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        Ok(())
    }
}
