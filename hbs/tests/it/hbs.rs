//! A running hbs.

use std::net::SocketAddr;
use std::path::Path;

use daemon::Context;
use db::Db;
use hbs::{Config, Deps};
use model::Timestamp;
use reqwest::Response;
use serde_json::{Value, json};
use state::State;
use tempfile::TempDir;
use testkit::context_at;

/// An instant on a ten-second slot.
pub(crate) const NOW: Timestamp = Timestamp(1_760_000_460_000);

pub(crate) struct Hbs {
    pub(crate) context: Context,
    address: SocketAddr,
    folder: TempDir,
}

impl Hbs {
    /// Starts hbs on an empty database.
    pub(crate) async fn start(config: Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let context = context_at(NOW);
        let address = start(config, folder.path(), &context).await;
        Self { context, address, folder }
    }

    /// Stops it in order and starts it again on the same database, at `now`.
    pub(crate) async fn restart(self, config: Config, now: Timestamp) -> Self {
        self.context.stop().await;
        let context = context_at(now);
        let address = start(config, self.folder.path(), &context).await;
        Self { context, address, folder: self.folder }
    }

    pub(crate) async fn post(&self, body: &Value) -> Response {
        let url = format!("http://{}/v1/heartbeat", self.address);
        self.context.http.post(url).body(body.to_string()).send().await.unwrap()
    }

    pub(crate) async fn beat(&self, host: &str) {
        let answer =
            self.post(&json!({ "host": host, "agent_version": "7.0", "ip": "192.0.2.1" })).await;
        assert_eq!(answer.status(), 200);
    }

    pub(crate) async fn get(&self, path: &str) -> String {
        let url = format!("http://{}{path}", self.address);
        self.context.http.get(url).send().await.unwrap().text().await.unwrap()
    }

    pub(crate) async fn delete(&self, path: &str) -> u16 {
        let url = format!("http://{}{path}", self.address);
        self.context.http.delete(url).send().await.unwrap().status().as_u16()
    }
}

async fn start(config: Config, folder: &Path, context: &Context) -> SocketAddr {
    let db = Db::open(&folder.join("saker.db")).await.unwrap();
    let config = Config { listen: ([127, 0, 0, 1], 0).into(), ..config };
    hbs::start(config, Deps { state: State::embedded(db.clone()), db }, context).await.unwrap()
}
