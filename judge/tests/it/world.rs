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
use testkit::{eventually, get_json};
use tokio::runtime::{Builder, Runtime};

use crate::alarm::{Alarm, Heard};

/// Far above what any step takes on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The tests' clock starts here: 2026-01-01.
pub(crate) const START: Timestamp = Timestamp::from_seconds(1_767_225_600);
/// Interval of the group that [`World::judge`] runs.
pub(crate) const INTERVAL: Duration = Duration::from_secs(15);

/// Lease of a judge on its groups.
pub(crate) const LEASE_TIME: Duration = Duration::from_secs(60);

/// Everything around the judges.
pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) storage: Storage,
    pub(crate) alarm: Alarm,
    pub(crate) folder: TempDir,
    pub(crate) http: reqwest::Client,
}

/// A running judge with a runtime of its own.
pub(crate) struct Judge {
    pub(crate) url: String,
    pub(crate) context: Context,
    /// What the judge keeps its state in; a test can close it.
    pub(crate) db: Db,
    runtime: Option<Runtime>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let clock = Clock::manual(START);
        let context = Context::new("test", clock.clone()).expect("the test world can be set up");
        Self {
            alarm: Alarm::start(&clock).await,
            storage: Storage::memory(Limits::default()),
            folder: tempfile::tempdir().expect("the test world can be set up"),
            http: context.http.clone(),
            clock,
        }
    }

    /// The defaults with this world's alarm, and no rules.
    pub(crate) fn config(&self) -> Config {
        Config {
            listen: ([127, 0, 0, 1], 0).into(),
            instance: "judge-1".to_owned(),
            host_rules: false,
            // Most tests count slots.
            on_arrival: false,
            alarm_urls: vec![self.alarm.url()],
            // Longer than a step of the clock, which would otherwise look like a pause of the whole process.
            lease_time: LEASE_TIME,
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
        std::fs::write(&file, format!("groups:\n- name: g\n  interval: 15s\n  rules:\n{rules}"))
            .expect("the test world can be set up");
        Config { rule_files: vec![file], ..self.config() }
    }

    /// Starts a judge and waits until it knows the rules of its files.
    pub(crate) async fn judge_with(&self, config: Config) -> Judge {
        let has_files = !config.rule_files.is_empty();
        let judge = self.try_judge(config).await.expect("the test world can be set up");
        if has_files {
            eventually("the rules are known", PATIENCE, async || judge.group(self, "g").await)
                .await;
        }
        judge
    }

    pub(crate) async fn try_judge(&self, config: Config) -> anyhow::Result<Judge> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("the test world can be set up");
        let context =
            Context::new("judge", self.clock.clone()).expect("the test world can be set up");
        let (reader, writer) = (self.storage.reader(), self.storage.writer());
        let (path, inside) = (self.folder.path().join("saker.db"), context.clone());
        let starting = runtime.spawn(async move {
            let db = Db::open(&path).await?;
            let deps = Deps { reader, writer, state: State::embedded(db.clone()), db: db.clone() };
            Ok((judge::start(config, deps, &inside).await?, db))
        });
        let started: anyhow::Result<(SocketAddr, Db)> =
            starting.await.expect("the test world can be set up");
        match started {
            Ok((address, db)) => {
                Ok(Judge { url: format!("http://{address}"), context, db, runtime: Some(runtime) })
            }
            Err(error) => {
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    /// Stores a sample of now.
    pub(crate) async fn push(&self, series: &[(&str, &str)], value: f64) {
        let sample = Sample { timestamp: self.clock.now(), value };
        let series =
            Series { labels: Labels::from_pairs(series.iter().copied()), samples: vec![sample] };
        let batch = Batch { series: vec![series], metadata: Vec::new() };
        let outcome =
            self.storage.writer().write(batch).await.expect("the test world can be set up");
        assert_eq!(outcome.refused_count(), 0, "{outcome:?}");
    }

    /// Moves the clock and waits until the judge has evaluated the slot of its group `g` that this brought.
    pub(crate) async fn step(&self, judge: &Judge, span: Duration) {
        // What was just put by API may not have reached the scheduler yet, which would take the new time for that of the
        // group's arrival.
        eventually("the group is known", PATIENCE, async || judge.group(self, "g").await).await;
        self.clock.advance(span);
        let oldest = self.clock.now().minus(INTERVAL);
        eventually("the group is evaluated", PATIENCE, async || {
            let last = judge.group(self, "g").await?["lastEvaluation"]
                .as_str()
                .map(Timestamp::parse_rfc3339)??;
            (last > oldest).then_some(())
        })
        .await;
    }

    /// Pushes the sample and steps by an interval, several times.
    pub(crate) async fn steps(
        &self,
        judge: &Judge,
        count: u32,
        series: &[(&str, &str)],
        value: f64,
    ) {
        for _ in 0..count {
            self.step(judge, INTERVAL).await;
            self.push(series, value).await;
        }
    }

    /// All alerts that the alarm has got so far, in order.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.alarm.heard()
    }

    /// Waits until the alarm has got an alert for which this holds, and answers it.
    pub(crate) async fn hears(&self, what: &str, is_it: impl Fn(&Heard) -> bool) -> Heard {
        eventually(what, PATIENCE, async || self.heard().into_iter().find(|heard| is_it(heard)))
            .await
    }

    /// Whether the alarm has been told of an end so far.
    pub(crate) fn heard_of_an_end(&self) -> bool {
        self.heard().iter().any(Heard::is_end)
    }
}

impl Judge {
    /// The answer's `data`.
    pub(crate) async fn get(&self, world: &World, path: &str) -> Option<Value> {
        get_json(&world.http, &format!("{}{path}", self.url))
            .await
            .map(|mut answer| answer["data"].take())
    }

    /// A group as `/api/v1/rules` shows it.
    pub(crate) async fn group(&self, world: &World, name: &str) -> Option<Value> {
        let mut groups = self.get(world, "/api/v1/rules").await?["groups"].take();
        groups.as_array_mut()?.iter_mut().find(|group| group["name"] == name).map(Value::take)
    }

    /// Ends the judge without giving it time to do anything, as kill -9 does.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// Ends the judge as SIGTERM does.
    pub(crate) async fn stop(self) {
        self.context.stop().await;
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
