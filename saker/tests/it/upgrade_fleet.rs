//! Two real agents, one real hbs, real files: what an operator with `curl` sees.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Process, binary, eventually, free_port, get_json};

use crate::upgrade_host::{Host, NEW, OLD, Settings, agent, script};

const PATIENCE: Duration = Duration::from_secs(120);

/// An hbs that hands out files, with its data in a folder.
struct Hbs {
    url: String,
    http: reqwest::Client,
    dir: tempfile::TempDir,
    _process: Process,
}

impl Hbs {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = dir.path().join("files");
        fs::create_dir(&files).unwrap();
        let url = format!("127.0.0.1:{}", free_port());
        let rpc = format!("127.0.0.1:{}", free_port());
        let config = format!(
            "data_dir = {:?}\n[hbs]\nlisten = {url:?}\nrpc_listen = {rpc:?}\nheartbeat_interval = \"1s\"\n\
             transfer_url = \"http://127.0.0.1:1\"\n\
             [hbs.upgrade]\nfiles = {files:?}\nlease = \"30s\"\nspread = \"0s\"\n",
            dir.path().join("data"),
        );
        fs::write(dir.path().join("saker.toml"), config).unwrap();
        let config = dir.path().join("saker.toml");
        let process = Process::start(
            &binary("saker"),
            ["hbs".as_ref(), "--config".as_ref(), config.as_os_str()],
        );
        let http = daemon::http_client().unwrap();
        let hbs = Self { url: format!("http://{url}"), http, dir, _process: process };
        hbs.until("/agentversions", |_| true).await;
        hbs
    }

    /// Puts a file there as [`NEW`] and posts the task as Open-Falcon's runbooks do.
    async fn offer(&self, bytes: &[u8]) {
        let file = self.dir.path().join("files").join(format!("bin_{NEW}"));
        fs::write(&file, bytes).unwrap();
        let sums = Command::new("md5sum").arg(&file).output().unwrap().stdout;
        let md5 = String::from_utf8_lossy(&sums[..32]).into_owned();
        let task = json!({
            "wgeturl": format!("{}/file", self.url),
            "version": NEW,
            "binfile_md5": md5,
        });
        let request = self.http.post(format!("{}/agent/upgrade", self.url)).body(task.to_string());
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    }

    async fn until(&self, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let url = format!("{}{path}", self.url);
        eventually(&url, PATIENCE, async || get_json(&self.http, &url).await.filter(&is_so)).await
    }

    async fn host(&self, endpoint: &'static str) -> Host {
        let hbs = Some(self.url.clone());
        let host = Host::with(Settings { endpoint, hbs, ..Settings::default() }).await;
        self.until("/agentversions", |answer| answer["data"][endpoint] == OLD).await;
        host
    }
}

#[tokio::test]
async fn the_seeds_call_brings_a_host_from_one_version_to_the_next() {
    let hbs = Hbs::start().await;
    let host = hbs.host("web-1").await;
    hbs.offer(&agent(NEW)).await;
    hbs.until("/agentversions", |answer| answer["data"]["web-1"] == NEW).await;
    let confirmed = |answer: &Value| answer["data"]["counts"]["confirmed"] == 1;
    hbs.until("/agent/upgrade", confirmed).await;
    assert_eq!(host.state().active.as_deref(), Some(NEW));
    host.stop().await;
}

#[tokio::test]
async fn a_broken_release_halts_at_the_canary_and_every_host_goes_on() {
    let hbs = Hbs::start().await;
    let (first, second) = (hbs.host("web-1").await, hbs.host("web-2").await);
    hbs.offer(&script("exit 1")).await;
    let halted = hbs.until("/agent/upgrade", |answer| answer["data"]["phase"] == "halted").await;
    let told = halted["data"]["failed"].to_string();
    assert!(told.contains("it ended 3 times before its checks had passed"), "{halted}");
    assert_eq!(halted["data"]["failed"].as_array().unwrap().len(), 1, "{halted}");
    let both_old = |answer: &Value| {
        let versions = &answer["data"];
        versions["web-1"] == OLD && versions["web-2"] == OLD
    };
    hbs.until("/agentversions", both_old).await;
    let trials = [&first, &second].map(|host| host.state().history.len());
    assert_eq!(trials.iter().sum::<usize>(), 1, "only the canary tried it");
    first.stop().await;
    second.stop().await;
}
