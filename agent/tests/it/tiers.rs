//! The running agent: slots on the wall clock, tiers, metadata.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use daemon::Context;
use model::Timestamp;
use saker_agent::app;
use saker_agent::config::{Config, Hbs, Transfer};
use saker_agent::upgrade::Started;
use testkit::{context_at, eventually, free_port};

use crate::fixtures::Tree;
use crate::stand_in::{PATIENCE, StandIn};

pub(crate) const START: Timestamp = Timestamp::from_seconds(1_760_000_003);

/// An agent over a tree, with a stand-in for its neighbours and a clock that the test moves.
pub(crate) struct Agent {
    pub(crate) ctx: Context,
    pub(crate) neighbour: StandIn,
    pub(crate) url: String,
    _tree: Tree,
    data: tempfile::TempDir,
}

impl Agent {
    pub(crate) async fn start(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_with(StandIn::start().await, tempfile::tempdir().unwrap(), change).await
    }

    /// An agent whose neighbour and data directory are there already.
    pub(crate) async fn start_with(
        neighbour: StandIn,
        data: tempfile::TempDir,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let tree = Tree::copy("linux-3.10");
        let mut config = config(&tree.path(), data.path(), &neighbour.url);
        change(&mut config);
        let url = format!("http://{}", config.listen);
        let ctx = context_at(START);
        app::start(config, Started::default(), &ctx).await.unwrap();
        Self { ctx, neighbour, url, _tree: tree, data }
    }

    /// Stops it; what is left is its data directory.
    pub(crate) async fn stop(self) -> tempfile::TempDir {
        self.ctx.stop().await;
        self.data
    }

    /// Moves the clock on until `found` is something.
    pub(crate) async fn advance_until<T>(
        &self,
        what: &str,
        found: impl Fn(&Self) -> Option<T>,
    ) -> T {
        let tick = async || {
            self.ctx.clock.advance(Duration::from_secs(1));
            found(self)
        };
        eventually(what, PATIENCE, tick).await
    }
}

pub(crate) fn config(root: &Path, data_dir: &Path, neighbour: &str) -> Config {
    Config {
        listen: SocketAddr::from(([127, 0, 0, 1], free_port())),
        root: root.to_owned(),
        data_dir: data_dir.to_owned(),
        transfer: Transfer { addresses: vec![neighbour.to_owned()], ..Transfer::default() },
        hbs: Hbs { addresses: vec![neighbour.to_owned()], ..Hbs::default() },
        ..Config::default()
    }
}

/// Metrics by the moment of their samples.
fn by_slot(neighbour: &StandIn) -> BTreeMap<i64, BTreeSet<String>> {
    let mut slots: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
    for series in neighbour.taken().into_iter().flat_map(|request| request.series) {
        let name = series.labels.metric_name().to_owned();
        for sample in &series.samples {
            slots.entry(sample.timestamp.millis()).or_default().insert(name.clone());
        }
    }
    slots
}

#[tokio::test]
async fn every_tier_is_measured_at_its_own_slots_and_stamped_with_them() {
    let agent = Agent::start(|_| {}).await;
    let tick = async || {
        agent.ctx.clock.advance(Duration::from_secs(1));
        let slots = by_slot(&agent.neighbour);
        (slots.len() >= 4 && slots.keys().any(|slot| slot % 120_000 == 0)).then_some(slots)
    };
    let slots = eventually("a slot of two minutes", PATIENCE, tick).await;
    for (slot, names) in &slots {
        assert_eq!(slot % 10_000, 0, "{slot} is no slot");
        let tiers = [
            ("load_1min", 10),
            ("net_if_in_bytes", 30),
            ("sys_uptime", 60),
            ("host_cpucores", 120),
        ];
        for (metric, seconds) in tiers {
            assert_eq!(names.contains(metric), slot % (seconds * 1000) == 0, "{metric} at {slot}");
        }
    }
    let requests = agent.neighbour.taken();
    let metadata: BTreeMap<_, _> =
        requests.iter().flat_map(|request| request.metadata.clone()).collect();
    assert_eq!(metadata["net_if_in_bytes"].kind, model::MetricKind::Counter);
    assert_eq!(metadata["mem_memtotal"].unit, "bytes");
    let hosts: BTreeSet<_> = requests
        .iter()
        .flat_map(|r| &r.series)
        .filter_map(|s| s.labels.get("endpoint").map(str::to_owned))
        .collect();
    assert_eq!(hosts, BTreeSet::from(["db-03".to_owned()]));
    agent.ctx.stop().await;
}

#[tokio::test]
async fn labels_of_the_configuration_are_on_every_series() {
    let agent = Agent::start(|config| {
        config.endpoint = Some("web-01".to_owned());
        config.labels.insert("idc".to_owned(), "bj".to_owned());
    })
    .await;
    let tick = async || {
        agent.ctx.clock.advance(Duration::from_secs(1));
        Some(agent.neighbour.taken()).filter(|taken| !taken.is_empty())
    };
    let taken = eventually("a request", PATIENCE, tick).await;
    for series in taken.iter().flat_map(|request| &request.series) {
        assert_eq!(
            (series.labels.get("endpoint"), series.labels.get("idc")),
            (Some("web-01"), Some("bj"))
        );
    }
    agent.ctx.stop().await;
}
