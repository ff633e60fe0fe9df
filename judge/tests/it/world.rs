//! What the tests share: a store, a database file, an alarm that remembers, and judges that can be killed.

use std::net::SocketAddr;
use std::time::Duration;

use daemon::{Clock, Context};
use db::Db;
use judge::{Config, Deps};
use model::{Labels, Sample, Series, Timestamp};
use serde_json::Value;
use state::State;
use storage::{Batch, Limits, Storage};
use tempfile::TempDir;
use testkit::{Webhook, eventually, get_json};
use tokio::runtime::{Builder, Runtime};

/// Far above what any step takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// The tests' clock starts here: 2026-01-01.
pub(crate) const START: Timestamp = Timestamp::from_seconds(1_767_225_600);
/// Interval of the group that [`World::judge`] runs.
pub(crate) const INTERVAL: Duration = Duration::from_secs(15);

/// Everything around the judges.
pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) storage: Storage,
    pub(crate) alarm: Webhook,
    pub(crate) folder: TempDir,
    pub(crate) http: reqwest::Client,
    _alarm_context: Context,
}

/// A running judge with a runtime of its own.
pub(crate) struct Judge {
    pub(crate) url: String,
    pub(crate) context: Context,
    runtime: Option<Runtime>,
}

/// An alert as the alarm got it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Heard {
    pub(crate) labels: Labels,
    pub(crate) starts_at: Timestamp,
    pub(crate) ends_at: Timestamp,
    pub(crate) annotations: Value,
}

impl World {
    pub(crate) async fn new() -> Self {
        let clock = Clock::manual(START);
        let context = Context::new("alarm", clock.clone()).unwrap();
        Self {
            alarm: Webhook::start(&context).await,
            storage: Storage::memory(Limits::default()),
            folder: tempfile::tempdir().unwrap(),
            http: context.http.clone(),
            _alarm_context: context,
            clock,
        }
    }

    /// The defaults with this world's alarm, and no rules.
    pub(crate) fn config(&self) -> Config {
        Config {
            listen: ([127, 0, 0, 1], 0).into(),
            instance: "judge-1".to_owned(),
            host_rules: false,
            alarm_urls: vec![self.alarm.url()],
            ..Config::default()
        }
    }

    /// A judge with one group `g` of these rules, evaluated every fifteen seconds.
    pub(crate) async fn judge(&self, rules: &str) -> Judge {
        self.judge_with(self.config_with(rules)).await
    }

    /// The configuration of [`World::judge`].
    pub(crate) fn config_with(&self, rules: &str) -> Config {
        let file = self.folder.path().join("rules.yml");
        std::fs::write(&file, format!("groups:\n- name: g\n  interval: 15s\n  rules:\n{rules}")).unwrap();
        Config { rule_files: vec![file], ..self.config() }
    }

    pub(crate) async fn judge_with(&self, config: Config) -> Judge {
        self.try_judge(config).await.unwrap()
    }

    pub(crate) async fn try_judge(&self, config: Config) -> anyhow::Result<Judge> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let context = Context::new("judge", self.clock.clone()).unwrap();
        let (reader, writer) = (self.storage.reader(), self.storage.writer());
        let (path, inside) = (self.folder.path().join("saker.db"), context.clone());
        let starting = runtime.spawn(async move {
            let db = Db::open(&path).await?;
            let deps = Deps { reader, writer, state: State::embedded(db.clone()), db };
            judge::start(config, deps, &inside).await
        });
        let started: anyhow::Result<SocketAddr> = starting.await.unwrap();
        let runtime = Some(runtime);
        match started {
            Ok(address) => Ok(Judge { url: format!("http://{address}"), context, runtime }),
            Err(error) => {
                runtime.map(Runtime::shutdown_background);
                Err(error)
            }
        }
    }

    /// Stores a sample of now.
    pub(crate) async fn push(&self, series: &[(&str, &str)], value: f64) {
        let sample = Sample { timestamp: self.clock.now(), value };
        let series = Series { labels: Labels::from_pairs(series.iter().copied()), samples: vec![sample] };
        let batch = Batch { series: vec![series], metadata: Vec::new() };
        let outcome = self.storage.writer().write(batch).await.unwrap();
        assert_eq!(outcome.refused_count(), 0, "{outcome:?}");
    }

    /// Moves the clock and waits until the judge has evaluated the slot of its group `g` that this brought.
    pub(crate) async fn step(&self, judge: &Judge, span: Duration) {
        self.clock.advance(span);
        let oldest = self.clock.now().minus(INTERVAL);
        eventually("the group is evaluated", PATIENCE, async || {
            let last =
                judge.group(self, "g").await?["lastEvaluation"].as_str().map(Timestamp::parse_rfc3339)??;
            (last > oldest).then_some(())
        })
        .await;
    }

    /// Pushes the sample and steps by an interval, several times.
    pub(crate) async fn steps(&self, judge: &Judge, count: u32, series: &[(&str, &str)], value: f64) {
        for _ in 0..count {
            self.step(judge, INTERVAL).await;
            self.push(series, value).await;
        }
    }

    /// All alerts that the alarm has got so far, in order.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        let moment = |value: &Value| value.as_str().and_then(Timestamp::parse_rfc3339).expect("a moment");
        let heard = |alert: &Value| Heard {
            labels: serde_json::from_value(alert["labels"].clone()).expect("labels"),
            starts_at: moment(&alert["startsAt"]),
            ends_at: moment(&alert["endsAt"]),
            annotations: alert["annotations"].clone(),
        };
        let bodies = self.alarm.bodies();
        bodies.iter().flat_map(|body| body.as_array().expect("a list of alerts")).map(heard).collect()
    }

    /// Waits until the alarm has got an alert for which this holds, and answers it.
    pub(crate) async fn hears(&self, what: &str, is_it: impl Fn(&Heard) -> bool) -> Heard {
        eventually(what, PATIENCE, async || self.heard().into_iter().find(|heard| is_it(heard))).await
    }

    /// Whether the alarm has been told of an end so far.
    pub(crate) fn heard_of_an_end(&self) -> bool {
        self.heard().iter().any(|heard| heard.ends_at <= self.clock.now())
    }
}

impl Judge {
    /// The answer's `data`.
    pub(crate) async fn get(&self, world: &World, path: &str) -> Option<Value> {
        get_json(&world.http, &format!("{}{path}", self.url)).await.map(|mut answer| answer["data"].take())
    }

    /// A group as `/api/v1/rules` shows it.
    pub(crate) async fn group(&self, world: &World, name: &str) -> Option<Value> {
        let mut groups = self.get(world, "/api/v1/rules").await?["groups"].take();
        groups.as_array_mut()?.iter_mut().find(|group| group["name"] == name).map(Value::take)
    }

    /// Ends the judge without giving it time to do anything, as kill -9 does.
    pub(crate) fn kill(mut self) {
        self.runtime.take().map(Runtime::shutdown_background);
    }

    /// Ends the judge as SIGTERM does.
    pub(crate) async fn stop(self) {
        self.context.stop().await;
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        self.runtime.take().map(Runtime::shutdown_background);
    }
}
