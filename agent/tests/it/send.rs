//! Samples reach a transfer, whatever happens to it in between.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use daemon::{Clock, Context};
use model::{Labels, Sample, Series};
use saker_agent::batch::encode;
use saker_agent::config::{Spool, Transfer};
use saker_agent::metrics::Metrics;
use saker_agent::outbox::Outbox;
use saker_agent::send::Sender;
use testkit::{eventually, free_port};

use crate::stand_in::{PATIENCE, Request, StandIn};

struct Rig {
    outbox: Outbox,
    metrics: Arc<Metrics>,
    ctx: Context,
}

impl Rig {
    async fn new(folder: &Path) -> Self {
        let metrics = Arc::new(Metrics::default());
        let limits = Spool { bytes_max: 1 << 20, memory_bytes_max: 1 << 16 };
        let (outbox, error) = Outbox::open(folder, &limits, Arc::clone(&metrics)).await;
        assert!(error.is_none());
        Self { outbox, metrics, ctx: Context::new("test", Clock::System).unwrap() }
    }

    fn start_sender(&self, addresses: &[&str]) {
        let config = Transfer {
            addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
            backoff_max: Duration::from_millis(20),
            ..Transfer::default()
        };
        let sender =
            Sender::new(&config, "h", self.outbox.clone(), &self.ctx, Arc::clone(&self.metrics));
        self.ctx.spawn("send", sender.run());
    }

    async fn put(&self, at_seconds: i64) {
        let labels = Labels::from_pairs([("__name__", "load_1min"), ("endpoint", "h")]);
        let series = Series { labels, samples: vec![Sample::new(at_seconds * 1000, 1.0)] };
        self.outbox.put(encode(&[series], &[])).await;
        self.outbox.wake();
    }

    // The stand-in has answered a moment before the sender has heard it.
    async fn is_drained(&self) {
        let drained = async || (self.metrics.spool_bytes() == 0).then_some(());
        eventually("an empty spool", PATIENCE, drained).await;
    }
}

fn seconds(taken: &[Request]) -> Vec<i64> {
    taken
        .iter()
        .flat_map(|request| &request.series)
        .map(|series| series.samples[0].timestamp.seconds())
        .collect()
}

#[tokio::test]
async fn what_came_while_transfer_was_away_arrives_once_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::new(dir.path()).await;
    let transfer = StandIn::start().await;
    transfer.answer(503);
    rig.start_sender(&[&transfer.url]);
    for slot in 1..=5 {
        rig.put(slot * 10).await;
    }
    let asked = async || (transfer.asked() >= 7).then_some(());
    eventually("some tries", PATIENCE, asked).await;
    assert_eq!(transfer.taken().len(), 0);
    transfer.answer(204);
    let mut arrived = seconds(&transfer.has_taken(5).await);
    arrived.sort_unstable();
    assert_eq!(arrived, [10, 20, 30, 40, 50]);
    rig.is_drained().await;
    assert_eq!((rig.metrics.sent_total(), rig.metrics.dropped_total()), (5, 0));
}

#[tokio::test]
async fn fresh_samples_go_before_the_backlog_of_an_agent_that_died() {
    let dir = tempfile::tempdir().unwrap();
    let dead = Rig::new(dir.path()).await;
    for slot in 1..=3 {
        dead.put(slot * 10).await;
    }
    drop(dead);
    let rig = Rig::new(dir.path()).await;
    rig.put(100).await;
    let transfer = StandIn::start().await;
    rig.start_sender(&[&transfer.url]);
    assert_eq!(seconds(&transfer.has_taken(4).await), [100, 10, 20, 30]);
    rig.is_drained().await;
}

#[tokio::test]
async fn a_request_that_is_refused_for_good_does_not_block_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::new(dir.path()).await;
    let transfer = StandIn::start().await;
    transfer.answer(400);
    rig.start_sender(&[&transfer.url]);
    rig.put(10).await;
    let dropped = async || (rig.metrics.dropped_total() == 1).then_some(());
    eventually("the refusal", PATIENCE, dropped).await;
    transfer.answer(204);
    rig.put(20).await;
    assert_eq!(seconds(&transfer.has_taken(1).await), [20]);
    rig.is_drained().await;
}

#[tokio::test]
async fn another_address_takes_over_when_the_first_is_dead() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Rig::new(dir.path()).await;
    let living = StandIn::start().await;
    let dead = format!("http://127.0.0.1:{}", free_port());
    let busy = StandIn::start().await;
    busy.answer(429);
    rig.start_sender(&[&dead, &busy.url, &living.url]);
    rig.put(10).await;
    rig.put(20).await;
    assert_eq!(living.has_taken(2).await.len(), 2);
    rig.is_drained().await;
}
