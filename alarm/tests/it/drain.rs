//! Events that wait on a real Redis are told, noted in the store and acknowledged: the whole way, and what is urgent goes
//! first. `cargo nextest run --release -p alarm --run-ignored only drain --no-capture` measures it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alarm::{Config, Deps};
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use daemon::{Clock, Context};
use db::Db;
use serde_json::{Value, json};
use state::{RedisConfig, State};
use testkit::{Redis, eventually};
use tokio::time::Instant;

/// What the queue of the only receiver is named.
const QUEUE: &str = "alarm.ops";
const PATIENCE: Duration = Duration::from_secs(240);
/// How many may be pushed in one call.
const EVENTS_PER_PUSH: usize = 1_000;
const SOME: usize = 5_000;
const MANY: usize = 100_000;
/// A null channel.
const NOBODY: &str = "dry_run = true\n";

struct Line {
    redis: Redis,
    context: Context,
    url: String,
    state: State,
}

impl Line {
    /// With a receiver of these settings.
    async fn start(redis: Redis, folder: &Path, receiver: &str) -> Self {
        let context = Context::new("alarm", Clock::System).unwrap();
        let text = format!(
            "listen = \"127.0.0.1:0\"\nalerts_max = 1000000\n\
             [falcon_events]\nenabled = true\nredis_url = \"{}\"\n\
             [[receivers]]\nname = \"ops\"\n{receiver}",
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

    async fn until_told(&self, count: usize) {
        eventually("they are told", PATIENCE, async || (self.told().await >= count).then_some(()))
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

    async fn is_noted(&self, host: &str) -> bool {
        let list = self.get(&format!("/alerts.json?state=all&q={host}")).await;
        let list: Value = serde_json::from_str(&list).unwrap();
        let Some(fingerprint) = list["alerts"][0]["fingerprint"].as_str() else { return false };
        let case = self.get(&format!("/alerts/{fingerprint}.json")).await;
        case.contains("dry_run: nobody was told")
    }

    /// Something urgent, told by a judge or posted as Prometheus does.
    async fn bring_urgent(&self, host: &str, is_posted: bool) {
        if is_posted {
            let alerts = json!([{ "labels": {
                "alertname": "down", "severity": "P0", "endpoint": host
            } }]);
            let request = self.context.http.post(format!("{}/api/v2/alerts", self.url));
            assert_eq!(request.json(&alerts).send().await.unwrap().status(), 200);
        } else {
            push(&self.redis, 0, std::iter::once(host.to_owned())).await;
        }
    }
}

/// A receiver that takes its time, and the hosts that it was told of in the order of their arrival.
#[derive(Clone)]
struct Hook {
    takes: Duration,
    arrived: Arc<Mutex<Vec<(String, Instant)>>>,
}

impl Hook {
    async fn start(takes: Duration, context: &Context) -> (Self, SocketAddr) {
        let hook = Self { takes, arrived: Arc::default() };
        let routes = Router::new().route("/", post(arrive)).with_state(hook.clone());
        let address = context.listen(([127, 0, 0, 1], 0).into(), routes).await.unwrap();
        (hook, address)
    }

    fn count(&self) -> usize {
        self.arrived.lock().unwrap().len()
    }

    /// When this host was told of, and how many before it.
    async fn until(&self, host: &str) -> (usize, Instant) {
        eventually("it is told", PATIENCE, async || {
            let arrived = self.arrived.lock().unwrap();
            let at = arrived.iter().position(|(known, _)| known == host)?;
            Some((at, arrived[at].1))
        })
        .await
    }
}

async fn arrive(Shared(hook): Shared<Hook>, Json(body): Json<Value>) -> StatusCode {
    let now = Instant::now();
    let hosts = body["alerts"].as_array().into_iter().flatten();
    let hosts = hosts.filter_map(|alert| Some(alert["labels"]["endpoint"].as_str()?.to_owned()));
    hook.arrived.lock().unwrap().extend(hosts.map(|host| (host, now)));
    tokio::time::sleep(hook.takes).await;
    StatusCode::OK
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

/// Pushes as judges do.
async fn push(redis: &Redis, priority: usize, hosts: impl Iterator<Item = String>) {
    let mut connection = connection(redis).await;
    let hosts: Vec<String> = hosts.collect();
    for hosts in hosts.chunks(EVENTS_PER_PUSH) {
        let mut push = redis::cmd("LPUSH");
        push.arg(format!("event:p{priority}"));
        hosts.iter().for_each(|host| _ = push.arg(event(host, priority)));
        let () = push.query_async(&mut connection).await.unwrap();
    }
}

/// So many events on all lists.
async fn fill(redis: &Redis, count: usize) {
    for priority in 0..7 {
        let of_list = (priority..count).step_by(7);
        push(redis, priority, of_list.map(|n| format!("host-{n}"))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_on_redis_is_told_noted_and_acknowledged() {
    let Some(redis) = Redis::start().await else { return };
    fill(&redis, SOME).await;
    let folder = tempfile::tempdir().unwrap();
    let line = Line::start(redis, folder.path(), NOBODY).await;
    line.until_told(SOME).await;
    line.until_empty().await;
    assert_eq!(line.told().await, SOME, "each once");
    assert!(line.is_noted("host-4999").await);
    line.context.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_urgent_overtakes_a_backlog_before_a_slow_receiver() {
    let Some(redis) = Redis::start().await else { return };
    push(&redis, 6, (0..SOME).map(|n| format!("host-{n}"))).await;
    let folder = tempfile::tempdir().unwrap();
    let hooks = Context::new("hook", Clock::System).unwrap();
    let (hook, address) = Hook::start(Duration::from_millis(20), &hooks).await;
    let receiver = format!("webhook_url = \"http://{address}/\"\nconcurrency = 4\n");
    let line = Line::start(redis, folder.path(), &receiver).await;
    eventually("some are told", PATIENCE, async || (hook.count() >= 50).then_some(())).await;
    for (host, is_posted) in [("of-judge", false), ("posted", true)] {
        let before = hook.count();
        line.bring_urgent(host, is_posted).await;
        let (at, _) = hook.until(host).await;
        assert!(
            at - before < SOME / 4,
            "{host}: {before} were told before it came, {at} before it"
        );
    }
    line.context.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, for a release build on a quiet machine"]
async fn a_hundred_thousand_events_are_told_in_five_seconds() {
    let Some(redis) = Redis::start().await else { return };
    fill(&redis, MANY).await;
    let folder = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let line = Line::start(redis, folder.path(), NOBODY).await;
    line.until_told(MANY).await;
    line.until_empty().await;
    let took = began.elapsed();
    println!("{:.0} events a second", MANY as f64 / took.as_secs_f64());
    assert!(took <= Duration::from_secs(5), "{took:?}");
    line.context.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, for a release build on a quiet machine"]
async fn an_urgent_event_overtakes_a_hundred_thousand_others_in_a_second() {
    for takes in [Duration::ZERO, Duration::from_millis(50)] {
        let Some(redis) = Redis::start().await else { return };
        push(&redis, 6, (0..MANY).map(|n| format!("host-{n}"))).await;
        let folder = tempfile::tempdir().unwrap();
        let hooks = Context::new("hook", Clock::System).unwrap();
        let (hook, address) = Hook::start(takes, &hooks).await;
        let receiver = format!("webhook_url = \"http://{address}/\"\n");
        let line = Line::start(redis, folder.path(), &receiver).await;
        eventually("some are told", PATIENCE, async || (hook.count() >= 50).then_some(())).await;
        for is_posted in [false, true] {
            let mut waits = Vec::new();
            for trial in 0..10 {
                let host = format!("urgent-{is_posted}-{trial}");
                let began = Instant::now();
                line.bring_urgent(&host, is_posted).await;
                waits.push(hook.until(&host).await.1.duration_since(began));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            waits.sort_unstable();
            let (median, longest, told) = (waits[4], waits[9], hook.count());
            println!(
                "an answer takes {takes:?}, posted: {is_posted}: told after {median:?} (median), \
                 {longest:?} (longest), {told} told by then"
            );
            assert!(longest < Duration::from_secs(1), "{waits:?}");
            assert!(told < MANY, "the backlog was there");
        }
        line.context.stop().await;
    }
}
