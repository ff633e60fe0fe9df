//! Transfer is away for half an hour, and the agent dies in the middle of it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use daemon::Context;
use saker_agent::app;
use saker_agent::config::Config;
use saker_agent::upgrade::Started;
use testkit::{context_at, eventually};
use tokio::runtime::{Builder, Runtime};

use crate::fixtures::Tree;
use crate::stand_in::{PATIENCE, StandIn};
use crate::tiers::{START, config};

const SLOT: Duration = Duration::from_secs(10);
/// How often a test looks for a slot before it moves the clock on.
const ASKED_A_SLOT: u32 = 10;

/// An agent with a runtime of its own, which can be ended whatever it is doing, as kill -9 ends a process.
struct Life {
    ctx: Context,
    runtime: Runtime,
}

impl Life {
    /// An agent whose clock shows `at` after the start of the test.
    async fn begin(config: &Config, at: Duration) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        // The folder is free when the thread of the dead agent's spool has ended.
        let started = async || {
            let (config, ctx) = (config.clone(), context_at(START.plus(at)));
            let start = runtime.spawn(async move {
                app::start(config, Started::default(), &ctx).await.map(|()| ctx)
            });
            start.await.unwrap().ok()
        };
        let ctx = eventually("the agent starts", PATIENCE, started).await;
        let life = Self { ctx, runtime };
        eventually("the first round", PATIENCE, async || (life.rounds() > 0).then_some(())).await;
        life
    }

    fn value(&self, metric: &str) -> u64 {
        let mut text = String::new();
        let registry = self.ctx.registry();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
        line.unwrap().parse().unwrap()
    }

    fn rounds(&self) -> u64 {
        self.value(r#"agent_collector_rounds_total{group="load"}"#)
    }

    /// One slot, until it is in the spool. An agent that had not yet laid itself down to wait for the slot
    /// misses it; then it is the next one.
    async fn one_slot(&self) {
        let before = (self.rounds(), self.value("agent_spool_bytes"));
        let mut asked = 0;
        let taken = async || {
            if asked % ASKED_A_SLOT == 0 {
                self.ctx.clock.advance(SLOT);
            }
            asked += 1;
            let is_taken = self.rounds() > before.0 && self.value("agent_spool_bytes") > before.1;
            is_taken.then_some(())
        };
        eventually("a slot in the spool", PATIENCE, taken).await;
    }

    /// Ends it, and says how many slots it took. The first round belongs to no slot.
    fn kill(self) -> u64 {
        let slots = self.rounds() - 1;
        self.runtime.shutdown_background();
        slots
    }
}

fn slots_of_load(transfer: &StandIn) -> BTreeSet<i64> {
    let taken = transfer.taken();
    let series = taken.iter().flat_map(|request| &request.series);
    let series = series.filter(|series| series.labels.metric_name() == "load_1min");
    series.flat_map(|series| &series.samples).map(|sample| sample.timestamp.seconds()).collect()
}

fn settings(root: &Path, data_dir: &Path, transfer: &StandIn) -> Config {
    let mut config = config(root, data_dir, &transfer.url);
    config.transfer.spread = Duration::ZERO;
    config.hbs.addresses.clear();
    config
}

#[tokio::test]
async fn no_slot_is_missing_after_half_an_hour_without_transfer_and_a_death_within() {
    let (tree, data) = (Tree::copy("linux-4.19"), tempfile::tempdir().unwrap());
    let transfer = StandIn::start().await;
    transfer.answer(503);
    let config = Arc::new(settings(&tree.path(), data.path(), &transfer));
    let (minutes, half) = (Duration::from_secs(30 * 60), 90);

    let life = Life::begin(&config, Duration::ZERO).await;
    for _ in 0..half {
        life.one_slot().await;
    }
    let slots = life.kill();
    let life = Life::begin(&config, minutes / 2).await;
    for _ in 0..half {
        life.one_slot().await;
    }
    assert!(transfer.asked() > 10 && transfer.taken().is_empty());

    transfer.answer(204);
    let sent = async || {
        life.ctx.clock.advance(Duration::from_secs(1));
        (life.value("agent_spool_bytes") == 0).then_some(())
    };
    eventually("an empty spool", PATIENCE, sent).await;
    // The one slot that was under way when the agent died was not taken yet.
    let slots = slots + life.rounds() - 1;
    let arrived = async || {
        let arrived = slots_of_load(&transfer).len() as u64;
        (arrived + 1 >= slots).then_some(arrived)
    };
    let arrived = eventually("every slot at transfer", PATIENCE, arrived).await;
    assert!(arrived >= 2 * half, "{arrived}");
    assert_eq!(life.value(r#"agent_dropped_samples_total{reason="spool_full"}"#), 0);
    life.kill();
}
