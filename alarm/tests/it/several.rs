//! Several instances of alarm on one Redis and one MariaDB share the work, and one that dies is replaced.

use std::time::Duration;

use alarm::{Config, Deps};
use daemon::{Clock, Context};
use db::{Db, DbConfig};
use serde_json::{Value, json};
use state::{RedisConfig, State};
use testkit::{MariaDb, Redis, Webhook, eventually};

use crate::harness::{receiver, webhook};

/// Longer than the lease of the dispatcher.
const PATIENCE: Duration = Duration::from_secs(60);

struct Instance {
    context: Context,
    url: String,
}

impl Instance {
    async fn start(name: &str, database: &str, redis: &Redis, webhook: &Webhook) -> Self {
        Self::start_with(name, database, redis, &receiver("ops", webhook)).await
    }

    async fn start_with(name: &str, database: &str, redis: &Redis, settings: &str) -> Self {
        let context = Context::new("alarm", Clock::System).unwrap();
        let text = format!("listen = \"127.0.0.1:0\"\ninstance = \"{name}\"\n");
        let config: Config = toml::from_str(&(text + settings)).unwrap();
        let db = Db::connect(&DbConfig::new(database)).await.unwrap();
        let deps = Deps { db, state: State::redis(&RedisConfig::new(redis.url())).unwrap() };
        let address = alarm::start(config, deps, &context).await.unwrap();
        Self { context, url: format!("http://{address}") }
    }

    async fn fire(&self, names: impl Iterator<Item = String>) {
        let alerts: Vec<Value> =
            names.map(|name| json!({ "labels": { "alertname": name } })).collect();
        let address = format!("{}/api/v2/alerts", self.url);
        let answer = self.context.http.post(address).json(&alerts).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
}

fn told_names(webhook: &Webhook) -> Vec<String> {
    let bodies = webhook.bodies();
    let name = |body: &Value| body["alerts"][0]["labels"]["alertname"].as_str().unwrap().to_owned();
    let mut names: Vec<String> = bodies.iter().map(name).collect();
    names.sort();
    names
}

async fn until_told(webhook: &Webhook, count: usize) -> Vec<String> {
    eventually("all are told", PATIENCE, async || {
        Some(told_names(webhook)).filter(|names| names.len() >= count)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_alert_is_told_once_whoever_takes_it_in_and_another_one_goes_on() {
    let Some(redis) = Redis::start().await else { return };
    let Some(server) = MariaDb::start().await else { return };
    let database = server.create_database("several");
    let (webhook, _context) = webhook().await;
    let first = Instance::start("first", &database, &redis, &webhook).await;
    let second = Instance::start("second", &database, &redis, &webhook).await;
    first.fire((0..40).map(|n| format!("first-{n:02}"))).await;
    second.fire((0..40).map(|n| format!("second-{n:02}"))).await;
    let names = until_told(&webhook, 80).await;
    let mut once = names.clone();
    once.dedup();
    assert_eq!(names, once, "nobody is told twice");

    first.context.stop().await;
    second.fire((0..20).map(|n| format!("third-{n:02}"))).await;
    let names = until_told(&webhook, 100).await;
    let mut once = names.clone();
    once.dedup();
    assert_eq!((names.len(), once.len()), (100, 100), "and nothing is repeated by who takes over");
    second.context.stop().await;
}

/// With alerts in a file of its own no other instance can be there, whoever shares the Redis.
#[tokio::test(flavor = "multi_thread")]
async fn alone_with_its_file_an_instance_does_not_wait_for_the_lease_of_a_dead_process() {
    let Some(redis) = Redis::start().await else { return };
    let (webhook, _context) = webhook().await;
    webhook.answer_body(json!({ "ok": true, "result": { "message_id": 1 } }));
    let state = State::redis(&RedisConfig::new(redis.url())).unwrap();
    let now = Clock::System.now();
    let lease = state.take_lease("alarm.send.ops", "dead", 10 * PATIENCE, now).await.unwrap();
    assert!(lease.is_some());
    let settings = format!(
        "listen = \"127.0.0.1:0\"\n[[receivers]]\nname = \"ops\"\n[[receivers.bots]]\nname = \"main\"\n\
         kind = \"telegram\"\ntoken = \"tg\"\nchat = \"1\"\napi = \"{}\"\n",
        webhook.url()
    );
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&folder.path().join("saker.db")).await.unwrap();
    let context = Context::new("alarm", Clock::System).unwrap();
    let config: Config = toml::from_str(&settings).unwrap();
    let address = alarm::start(config, Deps { db, state }, &context).await.unwrap();
    let alone = Instance { context, url: format!("http://{address}") };
    alone.fire(std::iter::once("Burning".to_owned())).await;
    eventually("it is told", PATIENCE, async || (!webhook.bodies().is_empty()).then_some(())).await;
    alone.context.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_instances_one_reminds_and_the_other_goes_on_when_it_is_gone() {
    let Some(redis) = Redis::start().await else { return };
    let Some(server) = MariaDb::start().await else { return };
    let database = server.create_database("several");
    let (webhook, _context) = webhook().await;
    webhook.answer_body(json!({ "ok": true, "result": { "message_id": 1 } }));
    let settings = format!(
        "ack_reminder_before = \"12s\"\nusers = [{{ name = \"ann\", addresses = {{ telegram = \"101\" }} }}]\n\
         [[receivers]]\nname = \"ops\"\nrecipients = [\"user:ann\"]\n\
         [[receivers.bots]]\nname = \"main\"\nkind = \"telegram\"\ntoken = \"tg\"\napi = \"{}\"\n",
        webhook.url()
    );
    let first = Instance::start_with("first", &database, &redis, &settings).await;
    let second = Instance::start_with("second", &database, &redis, &settings).await;
    first.fire(std::iter::once("Burning".to_owned())).await;
    let said = |what: &str| {
        let has_it = |body: &&Value| body["text"].as_str().unwrap_or("").contains(what);
        webhook.bodies().iter().filter(has_it).count()
    };
    let until = async |what: &str, count: usize| {
        let is_said = async || (said(what) >= count).then_some(());
        eventually(what, 2 * PATIENCE, is_said).await;
    };
    until("Burning", 1).await;
    let listed = first.context.http.get(format!("{}/api/v2/alerts", first.url)).send();
    let listed: Value = listed.await.unwrap().json().await.unwrap();
    let id = listed[0]["fingerprint"].as_str().unwrap();
    let address = format!("{}/api/v1/alerts/{id}/ack", second.url);
    let claim = json!({ "owner": "ann", "duration": "24s" });
    let answer = second.context.http.put(address).json(&claim).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    until("Your ack ends at", 1).await;
    first.context.stop().await;
    until("Your ack ended at", 1).await;
    // The first message, both reminders, and the repeat for all.
    until("Burning", 4).await;
    assert_eq!((said("Your ack ends at"), said("Your ack ended at"), said("Burning")), (1, 1, 4));
    second.context.stop().await;
}
