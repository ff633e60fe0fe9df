//! A running hbs for tests of upgrades, and what operators and agents ask it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use daemon::Context;
use db::Db;
use hbs::{Addresses, Config, Deps};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use state::State;
use tempfile::TempDir;
use testkit::{context_at, eventually};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::hbs::NOW;

pub(crate) const SOON: Duration = Duration::from_secs(20);
pub(crate) const MD5: &str = "d41d8cd98f00b204e9800998ecf8427e";

pub(crate) struct Hbs {
    pub(crate) context: Context,
    pub(crate) address: SocketAddr,
    pub(crate) rpc: SocketAddr,
    pub(crate) folder: TempDir,
}

impl Hbs {
    pub(crate) async fn start(config: Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let context = context_at(NOW);
        let at = start(config, folder.path(), None, &context).await;
        Self { context, address: at.http, rpc: at.rpc, folder }
    }

    /// With shared state of its choice, and a database of its own.
    pub(crate) async fn start_on(config: Config, state: State) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let context = context_at(NOW);
        let at = start(config, folder.path(), Some(state), &context).await;
        Self { context, address: at.http, rpc: at.rpc, folder }
    }

    /// Stops it in order and starts it again on the same database, a minute later.
    pub(crate) async fn restart(self) -> Self {
        self.context.stop().await;
        let context = context_at(self.context.clock.now().plus(Duration::from_secs(60)));
        let at = start(Config::default(), self.folder.path(), None, &context).await;
        Self { context, address: at.http, rpc: at.rpc, folder: self.folder }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.address.port())
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.context.http.request(method.parse().unwrap(), self.url(path))
    }

    pub(crate) async fn get(&self, path: &str) -> String {
        self.request("GET", path).send().await.unwrap().text().await.unwrap()
    }

    pub(crate) async fn post(&self, body: &Value) -> Response {
        self.request("POST", "/agent/upgrade").body(body.to_string()).send().await.unwrap()
    }

    /// Starts a rollout of version 7.1 and waits until its first wave is open.
    pub(crate) async fn roll_out(&self, more: Value) {
        let answer = self.post(&task("7.1", more)).await;
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        self.until("a wave is open", |status| status["wave"] != 0).await;
    }

    pub(crate) async fn status(&self) -> Value {
        // On a machine that is busy with other tests the state may be called away for a moment.
        eventually("the status is known", SOON, async || {
            let answer = self.request("GET", "/agent/upgrade").send().await.ok()?;
            let mut answer = answer.error_for_status().ok()?.json::<Value>().await.ok()?;
            assert_eq!(answer["msg"], "success");
            Some(answer["data"].take())
        })
        .await
    }

    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        eventually(what, SOON, async || Some(self.status().await).filter(&is_so)).await
    }

    /// Moves the clock until it is so.
    pub(crate) async fn pass_until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        eventually(what, SOON, async || {
            self.context.clock.advance(Duration::from_secs(20));
            Some(self.status().await).filter(&is_so)
        })
        .await
    }

    /// `ReportStatus` of an Open-Falcon agent; its `Args`.
    pub(crate) async fn report_status(&self, host: &str, version: &str, busy: bool) -> Value {
        let call = json!({
            "method": "Agent.ReportStatus", "id": 0,
            "params": [{ "Hostname": host, "AgentVersion": version, "InUpgrading": busy }],
        });
        let mut stream = TcpStream::connect(self.rpc).await.unwrap();
        stream.write_all(format!("{call}\n").as_bytes()).await.unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await.unwrap();
        let reply: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(reply["result"]["code"], 0, "{reply}");
        reply["result"]["Args"].clone()
    }

    /// Lets time pass while hbs looks: after a long look away leases are longer.
    pub(crate) async fn pass(&self, span: Duration) {
        for _ in 0..span.as_secs() / 5 {
            self.context.clock.advance(Duration::from_secs(5));
            self.status().await;
        }
    }

    /// A heartbeat; the offer it is answered with.
    pub(crate) async fn beat(&self, host: &str, version: &str, report: Option<Value>) -> Value {
        let mut body = json!({ "host": host, "agent_version": version, "arch": "x86_64" });
        if let Some(report) = report {
            body["upgrade"] = report;
        }
        let request = self.request("POST", "/v1/heartbeat").body(body.to_string());
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json::<Value>().await.unwrap()["upgrade"].clone()
    }

    /// The host says how far it has come with the offer.
    pub(crate) async fn say(&self, host: &str, version: &str, offer: &Value, phase: &str) -> Value {
        let report = json!({
            "rollout": offer["rollout"], "version": offer["version"], "phase": phase,
            "reason": if phase == "failed" { "md5 mismatch" } else { "" },
        });
        self.beat(host, version, Some(report)).await
    }
}

async fn start(
    config: Config,
    folder: &Path,
    state: Option<State>,
    context: &Context,
) -> Addresses {
    let db = Db::open(&folder.join("saker.db")).await.unwrap();
    let state = state.unwrap_or_else(|| State::embedded(db.clone()));
    let listen = if config.listen == Config::default().listen {
        ([127, 0, 0, 1], 0).into()
    } else {
        config.listen
    };
    let rpc_listen = ([127, 0, 0, 1], 0).into();
    hbs::start(Config { listen, rpc_listen, ..config }, Deps { db, state }, context).await.unwrap()
}

/// The body of a rollout.
pub(crate) fn task(version: &str, more: Value) -> Value {
    let mut body =
        json!({ "wgeturl": "http://192.0.2.9/falcon", "version": version, "binfile_md5": MD5 });
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    body
}
