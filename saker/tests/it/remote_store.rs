//! `storage` over the network: Prometheus, VictoriaMetrics and Saker itself take what is written and answer alike.

use std::fs;
use std::path::Path;
use std::time::Duration;

use daemon::Clock;
use model::{Labels, MatchOp, Matcher, Metadata, MetricKind, Sample, Selection, Series, Timestamp};
use promql::{Params, Value};
use storage::{Batch, QueryError, ReadError, Refusal, RemoteConfig, Storage, WriteError};
use testkit::{Process, eventually, free_port, get_text, program};

use crate::stack::Stack;

const SOON: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(20);
/// VictoriaMetrics shows nothing newer, whatever it holds.
const LATENCY_OFFSET: i64 = 30_000;

/// What is not the same everywhere.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Engine {
    Prometheus,
    Victoria,
    Saker,
}

struct World {
    storage: Storage,
    engine: Engine,
    /// The last moment of the samples.
    last: Timestamp,
}

fn http() -> reqwest::Client {
    daemon::http_client().unwrap()
}

fn remote(url: &str, write_url: &str) -> Storage {
    let config = RemoteConfig { overlay_span: Duration::ZERO, ..RemoteConfig::new(url, write_url) };
    Storage::remote(&config, http()).unwrap()
}

fn series(name: &str, host: &str, samples: Vec<Sample>) -> Series {
    let pairs = [("__name__", name), ("endpoint", host), ("path", "a \"b\" \\ 磁盘")];
    Series { labels: Labels::from_pairs(pairs), samples }
}

fn matching(name: &str, start: Timestamp, end: Timestamp) -> Selection {
    let matcher = Matcher::new("__name__", MatchOp::Equal, name).unwrap();
    Selection { matchers: vec![matcher], start, end }
}

impl World {
    async fn new(storage: Storage, engine: Engine) -> Self {
        let now = Clock::System.now().slot(Duration::from_secs(10));
        Self { storage, engine, last: Timestamp(now.millis() - 2 * LATENCY_OFFSET) }
    }

    fn at(&self, seconds_ago: i64) -> Timestamp {
        Timestamp(self.last.millis() - seconds_ago * 1000)
    }

    /// Eleven samples, ten seconds apart, the newest at `last`.
    fn samples(&self, factor: f64) -> Vec<Sample> {
        let sample = |n: i64| Sample { timestamp: self.at(100 - n * 10), value: n as f64 * factor };
        (0..=10).map(sample).collect()
    }

    async fn query(&self, text: &str, params: Params) -> Result<Value, QueryError> {
        let expr = promql::parse(text).unwrap();
        let output = storage::query(&self.storage.reader(), &expr, params, TIMEOUT).await?;
        Ok(output.value)
    }

    async fn check(&self) {
        self.writes().await;
        self.answers_expressions().await;
        self.gives_raw_samples().await;
        self.tells_what_there_is().await;
        self.says_what_is_wrong().await;
    }

    async fn writes(&self) {
        let about = Metadata { kind: MetricKind::Gauge, help: "h".into(), unit: String::new() };
        let batch = Batch {
            series: vec![
                series("load", "a", self.samples(1.0)),
                series("load", "b", self.samples(2.0)),
                series(
                    "gone",
                    "a",
                    vec![
                        Sample { timestamp: self.at(20), value: 1.0 },
                        Sample { timestamp: self.at(10), value: model::stale_nan() },
                    ],
                ),
            ],
            metadata: vec![("load".to_owned(), about)],
        };
        let outcome = self.storage.writer().write(batch.clone()).await.unwrap();
        assert_eq!((outcome.stored, outcome.refused_count()), (24, 0));
        eventually("the samples are seen", SOON, async || {
            let value = self.query("count_over_time(load[2m])", Params::instant(self.last)).await;
            let Ok(Value::Vector(vector)) = value else { return None };
            (vector.len() == 2 && vector.iter().all(|(_, one)| one.value == 11.0)).then_some(())
        })
        .await;
        // What a judge does that repeats a slot.
        let again = self.storage.writer().write(batch).await.unwrap();
        // Before 3.0 Prometheus called what is older than the newest sample out of order, whatever its value.
        if self.engine != Engine::Prometheus {
            assert_eq!(again.refused_count(), 0, "the same values are no fault");
        }
        let other =
            Batch { series: vec![series("load", "a", self.samples(9.0))], metadata: vec![] };
        let other = self.storage.writer().write(other).await.unwrap();
        if self.engine == Engine::Prometheus {
            let reasons: Vec<Refusal> = other.refused.iter().map(|one| one.reason).collect();
            assert!(
                matches!(reasons[..], [Refusal::Duplicate | Refusal::OutOfOrder]),
                "{reasons:?}"
            );
        }
    }

    async fn answers_expressions(&self) {
        let sum = self.query("sum(load)", Params::instant(self.last)).await.unwrap();
        let Value::Vector(sum) = sum else { panic!("{sum:?}") };
        assert_eq!(sum[0].0, Labels::empty());
        if self.engine != Engine::Victoria {
            assert_eq!(sum[0].1, Sample { timestamp: self.last, value: 30.0 });
            let scalar = self.query("scalar(sum(load)) * 2", Params::instant(self.last)).await;
            assert_eq!(
                scalar.unwrap(),
                Value::Scalar(Sample { timestamp: self.last, value: 60.0 })
            );
            let ended = self.query("gone", Params::instant(self.last)).await.unwrap();
            assert_eq!(ended, Value::Vector(vec![]), "the series has ended");
        }
        let range = Params::range(self.at(50), self.last, Duration::from_secs(10));
        let matrix = self.query("load{endpoint=\"a\"} > 5", range).await.unwrap();
        let Value::Matrix(matrix) = matrix else { panic!("{matrix:?}") };
        // VictoriaMetrics fills the steps in its own way.
        assert_eq!(matrix.len(), 1);
        assert!(matrix[0].samples.len() == 5 || self.engine == Engine::Victoria, "{matrix:?}");
        let text = "topk(1, load{path=\"a \\\"b\\\" \\\\ 磁盘\"})";
        let top = self.query(text, Params::instant(self.last)).await.unwrap();
        let Value::Vector(top) = top else { panic!("{top:?}") };
        assert_eq!((top.len(), top[0].0.get("endpoint")), (1, Some("b")));
    }

    async fn gives_raw_samples(&self) {
        let reader = self.storage.reader();
        let selection = matching("load", self.at(50), self.at(10));
        let mut raw = reader.select(&selection).await.unwrap();
        raw.sort_by(|a, b| a.labels.cmp(&b.labels));
        assert_eq!(raw.len(), 2);
        if self.engine != Engine::Victoria {
            assert_eq!(raw[0].samples, self.samples(1.0)[5..=9], "both ends are included");
        }
        let error = reader.select_at_most(&selection, 3).await.expect_err("there are ten");
        assert!(matches!(error, ReadError::TooManySamples { limit: 3 }), "{error}");
        let none = reader.select(&matching("no_such_name", self.at(50), self.last)).await.unwrap();
        assert_eq!(none, []);
    }

    async fn tells_what_there_is(&self) {
        let reader = self.storage.reader();
        let selection = [matching("load", self.at(100), self.last)];
        let sets = reader.series(&selection, 0).await.unwrap();
        let hosts: Vec<_> = sets.iter().filter_map(|labels| labels.get("endpoint")).collect();
        assert_eq!(hosts, ["a", "b"]);
        assert_eq!(reader.series(&selection, 1).await.unwrap().len(), 1);
        let (start, end) = (self.at(100), self.last);
        let names = reader.label_names(&selection, start, end, 0).await.unwrap();
        assert_eq!(names, ["__name__", "endpoint", "path"]);
        let values = reader.label_values("endpoint", &selection, start, end, 0).await.unwrap();
        assert_eq!(values, ["a", "b"]);
        let all =
            reader.label_values("__name__", &[], Timestamp::MIN, Timestamp::MAX, 0).await.unwrap();
        assert!(all.iter().any(|name| name == "load"), "{all:?}");
        let metadata = reader.metadata(Some("load"), 0).await.unwrap();
        if self.engine == Engine::Saker {
            assert_eq!((metadata.len(), metadata[0].1.kind), (1, MetricKind::Gauge));
        }
    }

    async fn says_what_is_wrong(&self) {
        let many = "load * on () load";
        if self.engine != Engine::Victoria {
            let error = self.query(many, Params::instant(self.last)).await.expect_err("ambiguous");
            let QueryError::Remote(error) = &error else { panic!("{error}") };
            assert_eq!((error.kind(), error.may_pass()), ("execution", false), "{error}");
        }
        let mut few = Params::instant(self.last);
        few.limits.samples_max = 1;
        let error = self.query("load", few).await.expect_err("there are two");
        assert!(matches!(error, QueryError::Evaluate(_)), "{error}");
        let error = self.query("load", Params::instant(self.last)).await;
        assert!(error.is_ok());
    }
}

fn start_prometheus(program: &Path, folder: &Path, port: u16) -> Process {
    let config = folder.join("prometheus.yml");
    fs::write(&config, "global:\n  evaluation_interval: 1m\n").unwrap();
    let args = [
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", folder.join("tsdb").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
        "--web.enable-remote-write-receiver".to_owned(),
    ];
    Process::start(program, args)
}

async fn ready(url: &str) {
    eventually("the engine is ready", SOON, async || get_text(&http(), url).await).await;
}

#[tokio::test]
async fn prometheus_is_a_store() {
    let Some(prometheus) = program("prometheus") else { return };
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let _running = start_prometheus(&prometheus, folder.path(), port);
    let base = format!("http://127.0.0.1:{port}");
    ready(&format!("{base}/-/ready")).await;
    let storage = remote(&base, &format!("{base}/api/v1/write"));
    World::new(storage, Engine::Prometheus).await.check().await;
}

#[tokio::test]
async fn victoria_metrics_is_a_store() {
    let Some(victoria) = program("victoria-metrics") else { return };
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let args = [
        format!("-storageDataPath={}", folder.path().display()),
        format!("-httpListenAddr=127.0.0.1:{port}"),
    ];
    let _running = Process::start(&victoria, args);
    let base = format!("http://127.0.0.1:{port}");
    ready(&format!("{base}/health")).await;
    let storage = remote(&base, &format!("{base}/api/v1/write"));
    World::new(storage, Engine::Victoria).await.check().await;
}

#[tokio::test]
async fn another_saker_is_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.yml");
    fs::write(&rules, "groups: []\n").unwrap();
    let mut stack = Stack::new(&rules).await;
    stack.start_saker().await;
    let write_url = format!("{}/api/v1/write", stack.transfer());
    World::new(remote(&stack.apiproxy(), &write_url), Engine::Saker).await.check().await;

    // What was written in this moment is seen at once, and evaluated here with what the store has.
    let config = RemoteConfig::new(stack.apiproxy(), write_url);
    let storage = Storage::remote(&config, http()).unwrap();
    let world = World::new(storage, Engine::Saker).await;
    let rule = |value| series("rule", "a", vec![Sample { timestamp: world.last, value }]);
    let batch = Batch { series: vec![rule(5.0)], metadata: vec![] };
    world.storage.writer().write(batch).await.unwrap();
    for (text, expected) in [
        ("sum(rule) + sum(load)", 35.0),
        ("rule{endpoint=\"a\"} * on () group_left () count(load)", 10.0),
        ("max_over_time(rule[1m]) + on () sum(sum_over_time(load[1m]))", 5.0 + 3.0 * 45.0),
        ("timestamp(rule)", world.last.seconds_f64()),
    ] {
        let value = world.query(text, Params::instant(world.last)).await.unwrap();
        let Value::Vector(vector) = value else { panic!("{text}: {value:?}") };
        assert_eq!(vector.iter().map(|one| one.1.value).collect::<Vec<_>>(), [expected], "{text}");
    }
    // The end of a series is a marker, which hides it here as in the store.
    let ended = Batch { series: vec![rule(model::stale_nan())], metadata: vec![] };
    drop(world.storage.writer().write(ended).await);
    stack.saker().kill();
    let error = world.query("load", Params::instant(world.last)).await.expect_err("it is away");
    let QueryError::Remote(error) = &error else { panic!("{error}") };
    assert!(error.may_pass() && error.kind() == "unavailable", "{error}");
    let batch = Batch { series: vec![rule(6.0)], metadata: vec![] };
    let error = world.storage.writer().write(batch.clone()).await.expect_err("it is away");
    assert!(matches!(error, WriteError::Remote(_)), "{error}");
    let guarded = world.storage.writer().guarded(|| false);
    let error = guarded.write(batch).await.expect_err("it may not");
    assert!(matches!(error, WriteError::NotAllowed), "{error}");
}
