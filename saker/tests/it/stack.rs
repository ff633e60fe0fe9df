//! The central services and an agent as processes, on free ports, with data in a temporary folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use daemon::{Clock, Context};
use model::{Labels, METRIC_NAME, Sample, Series};
use serde_json::Value;
use tempfile::TempDir;
use testkit::{Process, Webhook, binary, eventually, free_port, get_json};

/// The host that the agent of a stack says it is.
pub(crate) const HOST: &str = "e2e-host";

const START: Duration = Duration::from_secs(30);

pub(crate) struct Stack {
    pub(crate) context: Context,
    pub(crate) webhook: Webhook,
    folder: TempDir,
    ports: Ports,
    saker: Option<Process>,
    agent: Option<Process>,
}

struct Ports {
    transfer: u16,
    hbs: u16,
    judge: u16,
    alarm: u16,
    apiproxy: u16,
    agent: u16,
}

impl Stack {
    /// Writes the configuration; nothing runs yet.
    pub(crate) async fn new(rules: &Path) -> Self {
        Self::with(rules, "").await
    }

    /// [`Stack::new`] with more sections in the configuration of the central services.
    pub(crate) async fn with(rules: &Path, sections: &str) -> Self {
        let context = Context::new("e2e", Clock::System).unwrap();
        let webhook = Webhook::start(&context).await;
        let ports = Ports {
            transfer: free_port(),
            hbs: free_port(),
            judge: free_port(),
            alarm: free_port(),
            apiproxy: free_port(),
            agent: free_port(),
        };
        let stack = Self {
            context,
            webhook,
            folder: tempfile::tempdir().unwrap(),
            ports,
            saker: None,
            agent: None,
        };
        fs::write(stack.file("saker.toml"), stack.saker_config(rules) + sections).unwrap();
        fs::write(stack.file("agent.toml"), stack.agent_config()).unwrap();
        stack
    }

    /// Starts `saker standalone` and waits until every role is ready.
    pub(crate) async fn start_saker(&mut self) {
        let config = self.file("saker.toml");
        self.saker = Some(Process::start(
            &binary("saker"),
            ["standalone".as_ref(), "--config".as_ref(), config.as_os_str()],
        ));
        eventually("every role is ready", START, async || {
            let saker = self.saker.as_mut().expect("it was just started");
            assert!(saker.is_running(), "saker ended: {}", saker.output());
            self.is_ready().await.then_some(())
        })
        .await;
    }

    /// Starts the agent.
    pub(crate) fn start_agent(&mut self) {
        let config = self.file("agent.toml");
        let args = ["run".as_ref(), "--config".as_ref(), config.as_os_str()];
        self.agent = Some(Process::start(&binary("saker-agent"), args));
    }

    pub(crate) fn saker(&mut self) -> &mut Process {
        self.saker.as_mut().expect("start_saker was called")
    }

    pub(crate) fn agent(&mut self) -> &mut Process {
        self.agent.as_mut().expect("start_agent was called")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn transfer(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.transfer)
    }

    pub(crate) fn apiproxy(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.apiproxy)
    }

    pub(crate) fn alarm(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.alarm)
    }

    pub(crate) fn hbs(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.hbs)
    }

    pub(crate) fn judge(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.judge)
    }

    pub(crate) fn agent_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.agent)
    }

    /// The result of an instant query now; `None` when apiproxy does not answer.
    pub(crate) async fn query(&self, expression: &str) -> Option<Vec<Value>> {
        let url = reqwest::Url::parse_with_params(
            &format!("{}/api/v1/query", self.apiproxy()),
            [("query", expression)],
        )
        .unwrap();
        let answer = get_json(&self.context.http, url.as_str()).await?;
        answer["data"]["result"].as_array().cloned()
    }

    /// Writes samples of one series by remote write; true when transfer acknowledged them.
    pub(crate) async fn write(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        samples: Vec<Sample>,
    ) -> bool {
        let pairs = labels.iter().copied().chain([(METRIC_NAME, name)]);
        let series = Series { labels: Labels::from_pairs(pairs), samples };
        let request = self
            .context
            .http
            .post(format!("{}/api/v1/write", self.transfer()))
            .header("content-encoding", "snappy")
            .header("content-type", "application/x-protobuf")
            .body(wire::remote_write::encode(&[series], &[]));
        request.send().await.is_ok_and(|answer| answer.status().is_success())
    }

    /// Hands alerts to alarm as Prometheus would.
    pub(crate) async fn post_alerts(&self, alerts: &Value) {
        let url = format!("{}/api/v2/alerts", self.alarm());
        let answer = self.context.http.post(url).json(alerts).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    async fn is_ready(&self) -> bool {
        for url in [self.transfer(), self.hbs(), self.alarm(), self.judge(), self.apiproxy()] {
            let answer = self.context.http.get(format!("{url}/-/ready")).send().await;
            if !answer.is_ok_and(|answer| answer.status().is_success()) {
                return false;
            }
        }
        true
    }

    fn saker_config(&self, rules: &Path) -> String {
        let Ports { transfer, hbs, judge, alarm, apiproxy, .. } = self.ports;
        format!(
            "data_dir = {data:?}\n\
             [transfer]\nlisten = \"127.0.0.1:{transfer}\"\n\
             rpc_listen = \"127.0.0.1:0\"\nline_listen = \"127.0.0.1:0\"\n\
             [hbs]\nlisten = \"127.0.0.1:{hbs}\"\nrpc_listen = \"127.0.0.1:0\"\ntransfer_url = \"http://127.0.0.1:{transfer}\"\n\
             [judge]\nlisten = \"127.0.0.1:{judge}\"\nalarm_urls = [\"http://127.0.0.1:{alarm}\"]\nrule_files = [{rules:?}]\n\
             [apiproxy]\nlisten = \"127.0.0.1:{apiproxy}\"\n\
             [alarm]\nlisten = \"127.0.0.1:{alarm}\"\n\
             [[alarm.receivers]]\nname = \"hook\"\nwebhook_url = {hook:?}\n",
            data = self.file("data"),
            hook = self.webhook.url(),
        )
    }

    fn agent_config(&self) -> String {
        let Ports { transfer, hbs, agent, .. } = self.ports;
        format!(
            "endpoint = {HOST:?}\nlisten = \"127.0.0.1:{agent}\"\ndata_dir = {data:?}\n\
             [transfer]\naddresses = [\"http://127.0.0.1:{transfer}\"]\n\
             [hbs]\naddresses = [\"http://127.0.0.1:{hbs}\"]\n",
            data = self.file("agent"),
        )
    }
}

/// The default rules of the repository.
pub(crate) fn host_rules() -> PathBuf {
    repository().join("rules/host.yml")
}

/// The top folder of the repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
