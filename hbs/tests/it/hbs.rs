//! A running hbs.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use daemon::Context;
use db::{Db, DbConfig};
use hbs::{Addresses, Config, Deps};
use model::Timestamp;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use state::{RedisConfig, State};
use tempfile::TempDir;
use testkit::{MariaDb, Redis, context_at};

/// An instant on a ten-second slot.
pub(crate) const NOW: Timestamp = Timestamp(1_760_000_460_000);
/// How long anything may take in real time.
pub(crate) const SOON: Duration = Duration::from_secs(30);

pub(crate) struct Hbs {
    pub(crate) context: Context,
    pub(crate) at: Addresses,
    folder: Option<TempDir>,
}

impl Hbs {
    /// Starts hbs on an empty database.
    pub(crate) async fn start(config: Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hbs = Self::start_on(config, embedded(folder.path()).await).await;
        Self { folder: Some(folder), ..hbs }
    }

    /// Starts hbs on what others have or will have too.
    pub(crate) async fn start_on(config: Config, deps: Deps) -> Self {
        let context = context_at(NOW);
        let at = start(config, deps, &context).await;
        Self { context, at, folder: None }
    }

    /// Stops it in order and starts it again on the same database, at `now`.
    pub(crate) async fn restart(self, config: Config, now: Timestamp) -> Self {
        self.context.stop().await;
        let context = context_at(now);
        let folder = self.folder.expect("it has its own database");
        let at = start(config, embedded(folder.path()).await, &context).await;
        Self { context, at, folder: Some(folder) }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.context.http.request(method, format!("http://{}{path}", self.at.http))
    }

    pub(crate) async fn post(&self, body: &Value) -> Response {
        self.request(Method::POST, "/v1/heartbeat").body(body.to_string()).send().await.unwrap()
    }

    /// A heartbeat as `body` says, and its answer.
    pub(crate) async fn hear(&self, body: &Value) -> Value {
        let answer = self.post(body).await;
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    }

    pub(crate) async fn beat(&self, host: &str) {
        self.hear(&json!({ "host": host, "agent_version": "7.0", "ip": "192.0.2.1" })).await;
    }

    pub(crate) async fn get(&self, path: &str) -> String {
        self.request(Method::GET, path).send().await.unwrap().text().await.unwrap()
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        let text = self.get(path).await;
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: {text}"))
    }

    /// Sends a change; its status and answer.
    pub(crate) async fn change(&self, method: Method, path: &str, body: &Value) -> (u16, String) {
        let answer = self.request(method, path).body(body.to_string()).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) {
        let answer = self.change(Method::PUT, path, body).await;
        assert_eq!(answer.0, 200, "{path}: {answer:?}");
    }

    pub(crate) async fn delete(&self, path: &str) -> u16 {
        self.request(Method::DELETE, path).send().await.unwrap().status().as_u16()
    }

    /// The value of a metric.
    pub(crate) async fn metric(&self, name: &str) -> String {
        let page = self.get("/metrics").await;
        let line = page.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{name} is not in {page}")).to_owned()
    }
}

pub(crate) async fn embedded(folder: &Path) -> Deps {
    let db = Db::open(&folder.join("saker.db")).await.unwrap();
    Deps { state: State::embedded(db.clone()), db }
}

pub(crate) async fn on_servers(mariadb: &str, redis: &Redis) -> Deps {
    let db = Db::connect(&DbConfig::new(mariadb)).await.unwrap();
    Deps { state: State::redis(&RedisConfig::new(redis.url())).unwrap(), db }
}

/// Both servers, or nothing when one is not installed.
pub(crate) async fn servers() -> Option<(MariaDb, Redis)> {
    Some((MariaDb::start().await?, Redis::start().await?))
}

async fn start(config: Config, deps: Deps, context: &Context) -> Addresses {
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    let config = Config { listen: any, rpc_listen: any, ..config };
    hbs::start(config, deps, context).await.unwrap()
}
