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
        let context = Context::new("alarm", Clock::System).unwrap();
        let text = format!("listen = \"127.0.0.1:0\"\ninstance = \"{name}\"\n");
        let config: Config = toml::from_str(&(text + &receiver("ops", webhook))).unwrap();
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
