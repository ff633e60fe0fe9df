//! Judges as processes of their own, over one store, one Redis and a sink that remembers what it is told; and signals
//! whose every change must be told once.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::time::Duration;

use daemon::Clock;
use model::{Labels, Sample, Series, Timestamp};
use serde_json::Value;
use tempfile::TempDir;
use testkit::{Process, Redis, binary, eventually, free_port, get_json, get_text, program};

use crate::stack::Stack;
use crate::write_tap::Tap;

/// How often groups are evaluated.
pub(crate) const INTERVAL: Duration = Duration::from_secs(4);
/// The shortest that is allowed.
pub(crate) const LEASE: Duration = Duration::from_secs(3);
/// Far above what any step takes on a loaded machine.
const SOON: Duration = Duration::from_secs(60);
/// Groups of one alert and one recording each.
const GROUPS: usize = 9;
/// A signal is on for this long, then off for as long.
const HALF: i64 = 16_000;
/// Rules look this far back, so that a slow moment of the writer changes nothing.
const OFFSET: i64 = 3_000;
pub(crate) const PUSH_EVERY: Duration = Duration::from_millis(500);

/// The judges and everything around them.
pub(crate) struct Fleet {
    pub(crate) stack: Stack,
    pub(crate) redis: Redis,
    judges: Vec<Option<Process>>,
    ports: Vec<u16>,
    /// How often each judge was started.
    starts: Vec<usize>,
    tap: Tap,
    db: String,
    store: Store,
    /// Has the rules of the store's own judge.
    _folder: TempDir,
}

/// What the judges read from and write to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    /// Saker's own store behind transfer and apiproxy.
    Saker,
    /// VictoriaMetrics of Debian.
    Victoria,
}

/// The store of a fleet.
enum Store {
    Saker,
    Victoria { port: u16, _process: Process },
}

impl Store {
    /// Starts the engine; `None` when this machine does not have it.
    async fn start(engine: Engine, stack: &mut Stack) -> Option<Self> {
        if engine == Engine::Saker {
            stack.start_saker().await;
            return Some(Self::Saker);
        }
        let (program, port) = (program("victoria-metrics")?, free_port());
        let args = [
            format!("-storageDataPath={}", stack.file("victoria").display()),
            format!("-httpListenAddr=127.0.0.1:{port}"),
            // It hides what is younger than half a minute unless told otherwise; rules look three seconds back here.
            "-search.latencyOffset=1s".to_owned(),
        ];
        let process = Process::start(&program, args);
        let url = format!("http://127.0.0.1:{port}/health");
        eventually("the store is ready", SOON, async || get_text(&stack.context.http, &url).await)
            .await;
        Some(Self::Victoria { port, _process: process })
    }

    /// Where samples are written to, without the path, and where expressions are asked.
    fn urls(&self, stack: &Stack) -> (String, String) {
        match self {
            Self::Saker => (stack.transfer(), stack.apiproxy()),
            Self::Victoria { port, .. } => {
                let url = format!("http://127.0.0.1:{port}");
                (url.to_owned(), url)
            }
        }
    }
}

/// One word of a judge to the sink.
#[derive(Debug, Clone, PartialEq)]
struct Word {
    group: usize,
    starts_at: Timestamp,
    /// When the alert ended; `None` while it fires.
    ended_at: Option<Timestamp>,
}

/// Whether a signal is on.
fn is_on(group: usize, at: Timestamp) -> bool {
    period(group, at) % 2 == 1
}

/// The number of the half period; odd ones are on.
fn period(group: usize, at: Timestamp) -> i64 {
    (at.millis() + group as i64 * 1_500).div_euclid(HALF)
}

impl Fleet {
    /// Starts everything; `None` without a redis-server or the engine. `db` is the `[db]` url of all judges, empty for
    /// one each.
    pub(crate) async fn start(engine: Engine, judges: usize, db: &str) -> Option<Self> {
        let redis = Redis::start_with(&["--appendfsync", "always"]).await?;
        let folder = tempfile::tempdir().unwrap();
        let none = folder.path().join("none.yml");
        fs::write(&none, "groups: []\n").unwrap();
        let mut stack = Stack::new(&none).await;
        let store = Store::start(engine, &mut stack).await?;
        let tap = Tap::start(&stack.context, store.urls(&stack).0).await;
        let mut fleet = Self {
            stack,
            redis,
            judges: (0..judges).map(|_| None).collect(),
            ports: (0..judges).map(|_| free_port()).collect(),
            starts: vec![0; judges],
            tap,
            db: db.to_owned(),
            store,
            _folder: folder,
        };
        fs::write(fleet.stack.file("fleet.yml"), rules()).unwrap();
        for judge in 0..judges {
            fleet.start_judge(judge);
        }
        Some(fleet)
    }

    pub(crate) fn start_judge(&mut self, judge: usize) {
        let config = self.config(judge);
        self.starts[judge] += 1;
        fs::write(&config, self.text(judge)).unwrap();
        let args = ["judge".as_ref(), "--config".as_ref(), config.as_os_str()];
        self.judges[judge] = Some(Process::start(&binary("saker"), args));
    }

    pub(crate) fn judge(&mut self, judge: usize) -> &mut Process {
        self.judges[judge].as_mut().expect("it was started")
    }

    /// How many groups each judge holds, by its own metrics; nothing of one that does not answer.
    pub(crate) async fn held(&self) -> Vec<usize> {
        let mut held = Vec::new();
        for port in &self.ports {
            let url = format!("http://127.0.0.1:{port}/metrics");
            let text = testkit::get_text(&self.stack.context.http, &url).await.unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("judge_rule_groups_held "));
            held.push(line.and_then(|number| number.parse().ok()).unwrap_or(0));
        }
        held
    }

    /// How many evaluations of rules failed so far, by the metrics of the judges.
    pub(crate) async fn failing(&self) -> f64 {
        let mut failed = 0.0;
        for port in &self.ports {
            let url = format!("http://127.0.0.1:{port}/metrics");
            let text = get_text(&self.stack.context.http, &url).await.unwrap_or_default();
            let of_failures =
                |line: &&str| line.starts_with("judge_rule_evaluation_failures_total{");
            let count = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
            failed += text.lines().filter(of_failures).filter_map(count).sum::<f64>();
        }
        failed
    }

    /// Waits until every one of these judges holds groups and all groups are held.
    pub(crate) async fn shared_by(&self, judges: usize) {
        eventually("the judges share the groups", SOON, async || {
            let held = self.held().await;
            let busy = held.iter().filter(|held| **held > 0).count();
            (busy == judges && held.iter().sum::<usize>() == GROUPS).then_some(())
        })
        .await;
    }

    /// Starts a second process that calls itself like this judge, on a port of its own; answers where it is healthy.
    pub(crate) fn twin(&mut self, judge: usize) -> String {
        let (port, config) = (free_port(), self.stack.file("twin.toml"));
        let before = self.ports[judge];
        let text = self.text(judge).replace(&format!(":{before}\""), &format!(":{port}\""));
        let data = self.stack.file("twin");
        let own = format!("data_dir = {:?}", self.stack.file(&format!("judge-{judge}")));
        fs::write(&config, text.replace(&own, &format!("data_dir = {data:?}"))).unwrap();
        let args = ["judge".as_ref(), "--config".as_ref(), config.as_os_str()];
        self.judges.push(Some(Process::start(&binary("saker"), args)));
        format!("http://127.0.0.1:{port}/-/healthy")
    }

    /// Where a judge says what it lacks.
    pub(crate) fn ready(&self, judge: usize) -> String {
        format!("http://127.0.0.1:{}/-/ready", self.ports[judge])
    }

    /// Writes the signals until dropped.
    pub(crate) async fn feed(http: &reqwest::Client, store: &str) {
        loop {
            let now = Clock::System.now().slot(PUSH_EVERY);
            let series = |group: usize| Series {
                labels: Labels::from_pairs([("__name__", "signal"), ("n", &group.to_string())]),
                samples: vec![Sample {
                    timestamp: now,
                    value: f64::from(u8::from(is_on(group, now))),
                }],
            };
            let series: Vec<Series> = (0..GROUPS).map(series).collect();
            let request = http
                .post(format!("{store}/api/v1/write"))
                .header("content-encoding", "snappy")
                .header("content-type", "application/x-protobuf")
                .body(wire::remote_write::encode(&series, &[]));
            // Where the store is not meant to be away, a period that was not told says so.
            drop(request.send().await);
            tokio::time::sleep(PUSH_EVERY).await;
        }
    }

    /// Everything that was told, in order.
    fn words(&self) -> Vec<Word> {
        let now = self.stack.context.clock.now();
        let time = |alert: &Value, key: &str| {
            alert[key].as_str().and_then(Timestamp::parse_rfc3339).expect("judge sends moments")
        };
        let word = |alert: &Value| {
            let ends_at = time(alert, "endsAt");
            let group = alert["labels"]["n"].as_str().expect("the alert has its signal's label");
            Word {
                group: group.parse().unwrap(),
                starts_at: time(alert, "startsAt"),
                // The news of a firing alert holds for minutes, longer than a test.
                ended_at: (ends_at <= now).then_some(ends_at),
            }
        };
        let bodies = self.stack.webhook.bodies();
        let alerts = bodies.iter().filter_map(Value::as_array).flatten();
        alerts.filter(|alert| alert["labels"]["alertname"] == "On").map(word).collect()
    }

    /// What a receiver makes of the words on each alert: repetitions of the last word are none, everything else is a
    /// transition.
    fn transitions(&self) -> BTreeMap<usize, Vec<Word>> {
        let mut seen: BTreeMap<usize, Vec<Word>> = BTreeMap::new();
        for word in self.words() {
            let list = seen.entry(word.group).or_default();
            if list.last() != Some(&word) {
                list.push(word);
            }
        }
        seen
    }

    /// Each transition is there once: starts and ends take turns, each start has one end, none ended while its signal
    /// was on, none began while it was off, and of the time between `from` and `until` no whole on-period is missing.
    /// While the store is `away` it takes no samples: asked about that time later, it answers with the last one before.
    pub(crate) fn check(&self, from: Timestamp, until: Timestamp, away: Option<&Range<Timestamp>>) {
        let stored = |group, at: Timestamp| {
            let away = away.filter(|away| away.contains(&at));
            is_on(group, away.map_or(at, |away| away.start))
        };
        let transitions = self.transitions();
        for group in 0..GROUPS {
            let list = transitions.get(&group).map(Vec::as_slice).unwrap_or_default();
            let mut periods = Vec::new();
            for (at, word) in list.iter().enumerate() {
                let before = at.checked_sub(1).map(|at| &list[at]);
                let begun = word.starts_at.millis() - OFFSET;
                match word.ended_at {
                    None => {
                        assert!(before.is_none_or(|one| one.ended_at.is_some()), "{list:#?}");
                        assert!(
                            before.is_none_or(|one| one.starts_at < word.starts_at),
                            "{list:#?}"
                        );
                        // On a loaded machine a sample comes seconds after its moment.
                        let seen = [0, 600, 1_200, 1_800, 2_400]
                            .map(|late| stored(group, Timestamp(begun - late)));
                        assert!(seen.contains(&true), "a false start: {word:?} in {list:#?}");
                        periods.push(period(group, Timestamp(begun)));
                    }
                    Some(ended) => {
                        let start = before.filter(|one| one.ended_at.is_none());
                        assert_eq!(
                            start.map(|one| one.starts_at),
                            Some(word.starts_at),
                            "{list:#?}"
                        );
                        let seen = [0, 600, 1_200, 1_800, 2_400]
                            .map(|late| stored(group, Timestamp(ended.millis() - OFFSET - late)));
                        assert!(seen.contains(&false), "a false end: {word:?} in {list:#?}");
                    }
                }
            }
            let expected = (period(group, from) + 1..period(group, until)).filter(|n| n % 2 == 1);
            for number in expected {
                let told = periods.iter().filter(|period| **period == number).count();
                assert_eq!(told, 1, "signal {group} was on in period {number}: {list:#?}");
            }
        }
    }

    /// Where samples are written to.
    pub(crate) fn write_url(&self) -> String {
        self.store.urls(&self.stack).0
    }

    /// The samples of a metric between the two moments, time and value, for each group.
    async fn samples(
        &self,
        metric: &str,
        from: Timestamp,
        until: Timestamp,
    ) -> Vec<Vec<(f64, f64)>> {
        let span = until.since(from).as_secs();
        let url = format!("{}/api/v1/query", self.store.urls(&self.stack).1);
        let query = [("query", format!("{metric}[{span}s]")), ("time", until.to_string())];
        let url = reqwest::Url::parse_with_params(&url, query).unwrap();
        let answer = get_json(&self.stack.context.http, url.as_str()).await.unwrap();
        let series = answer["data"]["result"].as_array().unwrap();
        assert_eq!(series.len(), GROUPS, "{metric}");
        let sample = |value: &Value| {
            let number = value[1].as_str().unwrap().parse().unwrap();
            (value[0].as_f64().unwrap(), number)
        };
        series
            .iter()
            .map(|one| one["values"].as_array().unwrap().iter().map(sample).collect())
            .collect()
    }

    /// A rule saw in every slot what the rule before it had written in the same one.
    pub(crate) async fn check_chain(&self, from: Timestamp, until: Timestamp) {
        for samples in self.samples("tock", from, until).await {
            assert!(samples.len() > 2, "{samples:?}");
            let late: Vec<_> =
                samples.iter().filter(|(at, value)| (at - value).abs() > 0.001).collect();
            assert!(late.is_empty(), "what an earlier slot wrote: {late:?}");
        }
    }

    /// The longest distance of two recorded samples of any group between the two moments, in slots.
    pub(crate) async fn longest_gap(&self, from: Timestamp, until: Timestamp) -> f64 {
        let mut longest: f64 = 0.0;
        for samples in self.samples("recorded", from, until).await {
            let times: Vec<f64> = samples.into_iter().map(|(at, _)| at).collect();
            let inner = times.windows(2).map(|pair| pair[1] - pair[0]);
            let first = times[0] - from.seconds_f64();
            let last = until.seconds_f64() - OFFSET as f64 / 1000.0 - times[times.len() - 1];
            let gap = inner.chain([first, last]).fold(0.0, f64::max);
            if gap > 2.0 * INTERVAL.as_secs_f64() {
                eprintln!("{times:?}");
            }
            longest = longest.max(gap);
        }
        longest / INTERVAL.as_secs_f64()
    }

    /// No slot of a group was evaluated by two judges, nor twice by one that was started again.
    pub(crate) fn check_slots(&self) {
        let (samples, twice) = self.tap.written("recorded");
        assert!(samples > GROUPS, "{samples} samples went through the tap");
        assert!(twice.is_empty(), "{twice:#?}");
        println!("{samples} slots were evaluated, each once");
    }

    /// Samples that the store refused, since another value was there for the moment.
    pub(crate) async fn contradictions(&self) -> f64 {
        if !matches!(self.store, Store::Saker) {
            // It takes them all; the tap has seen who wrote what.
            return 0.0;
        }
        let url = format!("{}/metrics", self.stack.transfer());
        let text = testkit::get_text(&self.stack.context.http, &url).await.unwrap();
        let of_duplicates = |line: &&str| line.contains("refused") && line.contains("\"duplicate");
        let count = |line: &str| line.rsplit(' ').next().and_then(|text| text.parse::<f64>().ok());
        let lines: Vec<&str> = text.lines().filter(of_duplicates).collect();
        assert!(!lines.is_empty(), "transfer tells what it refused");
        lines.into_iter().filter_map(count).sum()
    }

    fn config(&self, judge: usize) -> std::path::PathBuf {
        self.stack.file(&format!("judge-{judge}.toml"))
    }

    fn text(&self, judge: usize) -> String {
        let (port, db) = (self.ports[judge], &self.db);
        let sink = self.stack.webhook.url().replace("/hook", "");
        format!(
            "data_dir = {data:?}\n[db]\nurl = {db:?}\n[state]\nredis_url = {redis:?}\n\
             [storage]\nurl = {read:?}\nwrite_url = {write:?}\n\
             [judge]\nlisten = \"127.0.0.1:{port}\"\ninstance = \"judge-{judge}\"\nalarm_urls = [{sink:?}]\n\
             rule_files = [{rules:?}]\nlease_time = \"{lease}s\"\nsettle_time = \"4s\"\n",
            data = self.stack.file(&format!("judge-{judge}")),
            redis = self.redis.url(),
            read = self.store.urls(&self.stack).1,
            write = self.tap.url(&format!("judge-{judge}.{}", self.starts[judge])),
            rules = self.stack.file("fleet.yml"),
            lease = LEASE.as_secs(),
        )
    }
}

fn rules() -> String {
    let group = |n: usize| {
        format!(
            "- name: group {n}\n  interval: {}s\n  query_offset: {OFFSET}ms\n  rules:\n  \
             - {{alert: On, expr: 'signal{{n=\"{n}\"}} == 1'}}\n  \
             - {{record: recorded, expr: 'signal{{n=\"{n}\"}}'}}\n  \
             - {{record: tick, expr: 'time()', labels: {{n: '{n}'}}}}\n  \
             - {{record: tock, expr: 'tick{{n=\"{n}\"}}'}}\n",
            INTERVAL.as_secs()
        )
    };
    let groups: String = (0..GROUPS).map(group).collect();
    format!("groups:\n{groups}")
}
