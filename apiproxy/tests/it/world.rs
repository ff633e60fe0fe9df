//! apiproxy in front of stores in memory and real hbs, all on one clock that the test moves.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use apiproxy::{Config, DataCentre, DataCentreConfig, Deps};
use daemon::Context;
use db::{Db, DbConfig};
use model::{Labels, Sample, Series, Timestamp};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use state::State;
use storage::{Batch, Limits, Storage};
use tempfile::TempDir;
use testkit::eventually;

use crate::service::NOW;

/// How long anything may take in real time.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A hbs with a database of its own.
pub(crate) struct Hbs {
    pub(crate) context: Context,
    pub(crate) url: String,
    folder: TempDir,
}

impl Hbs {
    pub(crate) async fn start(context: &Context) -> Self {
        // Its tasks are its own, so that it can be stopped alone.
        let context = Context::new("hbs", context.clock.clone()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = hbs::Config { listen: any, rpc_listen: any, ..hbs::Config::default() };
        let db = open_db(&folder).await;
        let deps = hbs::Deps { state: State::embedded(db.clone()), db };
        let at = hbs::start(config, deps, &context).await.unwrap();
        Self { context, url: format!("http://{}", at.http), folder }
    }

    pub(crate) async fn beat(&self, host: &str) {
        let body = json!({ "host": host, "agent_version": "7.0", "ip": "192.0.2.1" });
        self.send(Method::POST, "/v1/heartbeat", &body).await;
    }

    pub(crate) async fn put_group(&self, group: &str, members: &[&str]) {
        self.send(Method::PUT, &format!("/api/v1/groups/{group}"), &json!({})).await;
        let path = format!("/api/v1/groups/{group}/members");
        self.send(Method::POST, &path, &json!({ "add": members })).await;
    }

    async fn send(&self, method: Method, path: &str, body: &Value) {
        let request = self.context.http.request(method, format!("{}{path}", self.url));
        let answer = request.body(body.to_string()).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
    }

    /// Stops it; the folder of its database goes with it.
    pub(crate) async fn stop(self) {
        self.context.stop().await;
        drop(self.folder);
    }
}

pub(crate) async fn open_db(folder: &TempDir) -> Db {
    let url = format!("sqlite:{}", folder.path().join("saker.db").display());
    Db::connect(&DbConfig::new(url)).await.unwrap()
}

pub(crate) struct World {
    pub(crate) context: Context,
    pub(crate) stores: Vec<Storage>,
    addr: SocketAddr,
}

/// A data centre of a world: its name, the hosts whose series its store has, and its hbs.
pub(crate) type Part<'a> = (&'a str, &'a [&'a str], &'a [&'a Hbs]);

pub(crate) fn context() -> Context {
    testkit::context_at(NOW).for_role("apiproxy")
}

impl World {
    pub(crate) async fn start(context: Context, parts: &[Part<'_>]) -> Self {
        let (mut stores, mut centres, mut entries) = (Vec::new(), Vec::new(), Vec::new());
        for (name, hosts, hbs) in parts {
            let storage = Storage::memory(Limits::default());
            write(&storage, hosts, NOW).await;
            let (reader, timeout) = (storage.reader(), SOON);
            let labels = BTreeMap::new();
            let replicas = Vec::new();
            centres.push(DataCentre {
                name: (*name).to_owned(),
                reader,
                labels,
                timeout,
                replicas,
            });
            let hbs_urls = hbs.iter().map(|hbs| hbs.url.clone()).collect();
            entries.push(DataCentreConfig {
                name: (*name).to_owned(),
                hbs_urls,
                ..DataCentreConfig::default()
            });
            stores.push(storage);
        }
        let config = Config { datacenters: entries, ..config() };
        let deps = Deps { centres, ..Deps::default() };
        let addr = apiproxy::start(config, deps, &context).await.unwrap();
        let world = Self { context, stores, addr };
        world.told_at_now().await;
        world
    }

    /// apiproxy as it is started.
    pub(crate) async fn with(context: Context, config: Config, deps: Deps) -> Self {
        let addr = apiproxy::start(config, deps, &context).await.unwrap();
        Self { context, stores: Vec::new(), addr }
    }

    /// Every source has told its hosts at the time that it is now.
    pub(crate) async fn told_at_now(&self) {
        eventually("all sources have told", SOON, async || {
            let told = self.json("/api/v1/datacenters").await;
            let is_now = |value: &Value| value == 0.0;
            let all = told["data"].as_array()?.iter().all(|one| {
                let hbs = one["hbs"].as_array().into_iter().flatten();
                is_now(&one["hostsAgeSeconds"]) && hbs.map(|hbs| &hbs["ageSeconds"]).all(is_now)
            });
            all.then_some(())
        })
        .await;
    }

    /// Moves the clock by ten seconds; whoever does something every five seconds has done it then.
    pub(crate) fn ten_seconds_later(&self) {
        (0..10).for_each(|_| self.context.clock.advance(Duration::from_secs(1)));
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.context.http.request(method, format!("http://{}{path}", self.addr))
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        let answer = self.request(Method::GET, path).send().await.unwrap();
        let text = answer.text().await.unwrap();
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: {text}"))
    }

    /// Status and body.
    pub(crate) async fn change(&self, method: Method, path: &str, body: &str) -> (u16, String) {
        let answer = self.request(method, path).body(body.to_owned()).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// The sum over the series of an expression now, as text; empty for none.
    pub(crate) async fn sum(&self, expression: &str) -> String {
        let time = self.context.clock.now().seconds().to_string();
        let pairs = [("query", format!("sum({expression})")), ("time", time)];
        let request = self.request(Method::GET, "/api/v1/query").query(&pairs);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["status"], "success", "{answer}");
        answer["data"]["result"][0]["value"][1].as_str().unwrap_or("").to_owned()
    }

    pub(crate) async fn metrics(&self) -> wire::exposition::Exposition {
        let answer = self.request(Method::GET, "/metrics").send().await.unwrap();
        wire::exposition::parse(&answer.text().await.unwrap(), NOW)
    }
}

pub(crate) fn config() -> Config {
    Config { listen: ([127, 0, 0, 1], 0).into(), ..Config::default() }
}

/// A series `load` of value 1 for each host, with a sample at this moment.
pub(crate) async fn write(storage: &Storage, hosts: &[&str], at: Timestamp) {
    let series = hosts.iter().map(|host| Series {
        labels: Labels::from_pairs([("__name__", "load"), ("endpoint", host)]),
        samples: vec![Sample { timestamp: at, value: 1.0 }],
    });
    let batch = Batch { series: series.collect(), metadata: vec![] };
    storage.writer().write(batch).await.unwrap();
}
