//! Events that wait on a real Redis are told, noted in the store and acknowledged: the whole way, to a receiver that
//! tells nobody. `cargo nextest run --release -p alarm --run-ignored only drain --no-capture` prints the figures.

use std::path::Path;
use std::time::Duration;

use alarm::{Config, Deps};
use daemon::{Clock, Context};
use db::Db;
use serde_json::json;
use state::{RedisConfig, State};
use testkit::{Redis, eventually};
use tokio::time::Instant;

/// What the queue of the only receiver is named.
const QUEUE: &str = "alarm.nobody";
const PATIENCE: Duration = Duration::from_secs(60);
const LONG_PATIENCE: Duration = Duration::from_secs(600);
/// How many may be pushed in one call.
const EVENTS_PER_PUSH: usize = 1_000;
/// A host of its own, so that its alert is found.
const URGENT: &str = "urgent-host";

struct Line {
    redis: Redis,
    context: Context,
    url: String,
    state: State,
}

impl Line {
    /// With a receiver that tells nobody.
    async fn start(redis: Redis, folder: &Path) -> Self {
        let context = Context::new("alarm", Clock::System).unwrap();
        let text = format!(
            "listen = \"127.0.0.1:0\"\nalerts_max = 1000000\n\
             [falcon_events]\nenabled = true\nredis_url = \"{}\"\n\
             [[receivers]]\nname = \"nobody\"\ndry_run = true\n",
            redis.url()
        );
        let config: Config = toml::from_str(&text).unwrap();
        let db = Db::open(&folder.join("saker.db")).await.unwrap();
        let state = State::redis(&RedisConfig::new(redis.url())).unwrap();
        let deps = Deps { db, state: state.clone() };
        let address = alarm::start(config, deps, &context).await.unwrap();
        Self { redis, context, url: format!("http://{address}"), state }
    }

    async fn get(&self, path: &str) -> String {
        let answer = self.context.http.get(format!("{}{path}", self.url)).send().await.unwrap();
        answer.text().await.unwrap()
    }

    async fn told(&self) -> usize {
        let metrics = self.get("/metrics").await;
        let line = metrics.lines().find(|line| line.starts_with("alarm_notified_alerts_total{"));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
    }

    async fn until_told(&self, count: usize, patience: Duration) {
        eventually("they are told", patience, async || (self.told().await >= count).then_some(()))
            .await;
    }

    /// Nothing is on the lists, under way, or on the queue of the receiver.
    async fn until_empty(&self) {
        eventually("nothing is left", PATIENCE, async || {
            let mut left = self.state.queue_length(QUEUE).await.unwrap();
            for priority in 0..7 {
                let list = format!("event:p{priority}");
                left += length(&self.redis, &list).await;
                left += length(&self.redis, &format!("{list}:saker")).await;
            }
            (left == 0).then_some(())
        })
        .await;
    }

    async fn is_told_of(&self, host: &str) -> bool {
        let list = self.get(&format!("/alerts.json?state=all&q={host}")).await;
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        let Some(fingerprint) = list["alerts"][0]["fingerprint"].as_str() else { return false };
        let case = self.get(&format!("/alerts/{fingerprint}.json")).await;
        case.contains("dry_run: nobody was told")
    }
}

async fn connection(redis: &Redis) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(redis.url()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

async fn length(redis: &Redis, list: &str) -> u64 {
    let mut connection = connection(redis).await;
    redis::cmd("LLEN").arg(list).query_async(&mut connection).await.unwrap()
}

fn event(host: &str, priority: usize) -> String {
    let event = json!({
        "id": host, "expression": null, "status": "PROBLEM", "endpoint": host,
        "strategy": {
            "id": 41, "metric": "mem.memused.percent", "tags": {}, "func": "all(#3)",
            "operator": ">", "rightValue": 90, "maxStep": 3, "priority": priority,
            "note": "memory high",
        },
        "leftValue": 93.1, "currentStep": 1, "eventTime": 1_760_000_400, "pushedTags": {},
    });
    event.to_string()
}

/// Pushes events of so many hosts as judges do.
async fn fill(redis: &Redis, priority: usize, count: usize) {
    let mut connection = connection(redis).await;
    for first in (0..count).step_by(EVENTS_PER_PUSH) {
        let mut push = redis::cmd("LPUSH");
        push.arg(format!("event:p{priority}"));
        for n in first..count.min(first + EVENTS_PER_PUSH) {
            push.arg(event(&format!("host-{priority}-{n}"), priority));
        }
        let () = push.query_async(&mut connection).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_on_redis_is_told_noted_and_acknowledged() {
    let Some(redis) = Redis::start().await else { return };
    for priority in 0..7 {
        fill(&redis, priority, 50).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let line = Line::start(redis, folder.path()).await;
    line.until_told(350, PATIENCE).await;
    line.until_empty().await;
    assert_eq!(line.told().await, 350, "each once");
    assert!(line.is_told_of("host-6-49").await);
    line.context.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn a_hundred_thousand_events_are_told() {
    let Some(redis) = Redis::start().await else { return };
    for priority in 0..7 {
        fill(&redis, priority, 100_000 / 7 + 1).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let line = Line::start(redis, folder.path()).await;
    let began = Instant::now();
    line.until_told(100_000, LONG_PATIENCE).await;
    line.until_empty().await;
    println!("{:.0} events a second", 100_000.0 / began.elapsed().as_secs_f64());
    line.context.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn an_urgent_event_overtakes_a_hundred_thousand_others() {
    let Some(redis) = Redis::start().await else { return };
    fill(&redis, 6, 100_000).await;
    let folder = tempfile::tempdir().unwrap();
    let line = Line::start(redis, folder.path()).await;
    line.until_told(1_000, LONG_PATIENCE).await;
    let mut connection = connection(&line.redis).await;
    let mut push = redis::cmd("LPUSH");
    push.arg("event:p0").arg(event(URGENT, 0));
    let began = Instant::now();
    let () = push.query_async(&mut connection).await.unwrap();
    eventually("it is told", LONG_PATIENCE, async || line.is_told_of(URGENT).await.then_some(()))
        .await;
    let (took, before) = (began.elapsed(), line.told().await);
    println!("told after {took:?}, {before} of the others were told by then");
    assert!(before < 90_000, "the backlog was there");
    line.context.stop().await;
}
