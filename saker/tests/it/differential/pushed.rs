//! What is gained by computing at the data centres: the queries of the bench, answered by apiproxy over three of them,
//! and from all their samples; and what apiproxy costs where one data centre could be asked directly. A report:
//! `cargo nextest run --release -p saker --test it --run-ignored all --no-capture pushed_down`.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use daemon::Context;
use model::{Series, Timestamp};
use promql::{Expr, Params, Value};
use serde_json::Value as Json;
use storage::{Reader, RemoteConfig, Storage};
use testkit::{Process, binary, eventually, free_port};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::{ALIGNMENT, SERIES_PER_REQUEST, SOON, bench};
use crate::stack::Stack;

const HOSTS: u64 = 300;
const ROUNDS: usize = 9;
const DIRECT_ROUNDS: usize = 300;
/// What apiproxy may add to the answer of one data centre, at the median.
const OVERHEAD_MAX: Duration = Duration::from_millis(3);

/// Passes connections on and counts what goes through.
struct Relay {
    url: String,
    bytes: Arc<AtomicU64>,
}

impl Relay {
    async fn to(url: String, context: &Context) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let own = format!("http://{}", listener.local_addr().unwrap());
        let bytes = Arc::new(AtomicU64::default());
        let (counted, tasks) = (Arc::clone(&bytes), context.clone());
        let to = url.trim_start_matches("http://").to_owned();
        context.spawn("relay", async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(&to).await else { continue };
                let _set = (near.set_nodelay(true), far.set_nodelay(true));
                let (near, far) = (near.into_split(), far.into_split());
                tasks.spawn("relay there", pump(near.0, far.1, Arc::clone(&counted)));
                tasks.spawn("relay back", pump(far.0, near.1, Arc::clone(&counted)));
            }
        });
        Self { url: own, bytes }
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    bytes: Arc<AtomicU64>,
) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(count) = from.read(&mut piece).await {
        bytes.fetch_add(count as u64, Ordering::Relaxed);
        if count == 0 || to.write_all(&piece[..count]).await.is_err() {
            break;
        }
    }
    let _shut = to.shutdown().await;
}

/// Three data centres, each behind a relay, and apiproxy in front of them.
struct World {
    stacks: Vec<Stack>,
    relays: Vec<Relay>,
    readers: Vec<Reader>,
    proxy: String,
    at: Timestamp,
    _proxy: Process,
    _folder: tempfile::TempDir,
}

/// What a way to an answer costs.
struct Cost {
    bytes: u64,
    took: Duration,
    series: usize,
}

impl World {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rules = folder.path().join("rules.yml");
        fs::write(&rules, "groups: []\n").unwrap();
        let (mut stacks, mut relays, mut readers) = (Vec::new(), Vec::new(), Vec::new());
        let port = free_port();
        let mut config = format!(
            "data_dir = {:?}\n[apiproxy]\nlisten = \"127.0.0.1:{port}\"\n",
            folder.path().join("proxy")
        );
        for name in ["bj", "sh", "gz"] {
            let mut stack = Stack::new(&rules).await;
            stack.start_saker().await;
            let relay = Relay::to(stack.apiproxy(), &stack.context).await;
            let remote = RemoteConfig::new(relay.url.as_str(), "");
            let remote = Storage::remote(&remote, stack.context.http.clone()).unwrap();
            config += &format!(
                "[[apiproxy.datacenters]]\nname = {name:?}\nurl = {:?}\ntimeout = \"1m\"\n",
                relay.url
            );
            readers.push(remote.reader());
            relays.push(relay);
            stacks.push(stack);
        }
        let last = Timestamp(stacks[0].context.clock.now().slot(ALIGNMENT).millis() - 15_000);
        let path = folder.path().join("proxy.toml");
        fs::write(&path, config).unwrap();
        let args = ["apiproxy".as_ref(), "--config".as_ref(), path.as_os_str()];
        let process = Process::start(&binary("saker"), args);
        let proxy = format!("http://127.0.0.1:{port}");
        let at = last.plus(Duration::from_secs(3));
        let world = Self { stacks, relays, readers, proxy, at, _proxy: process, _folder: folder };
        world.fill(&bench::series_of(HOSTS, last)).await;
        world
    }

    async fn fill(&self, series: &[Series]) {
        for (at, stack) in self.stacks.iter().enumerate() {
            let own = series.iter().filter(|one| place(one) == at).cloned();
            let own: Vec<Series> = own.collect();
            for part in own.chunks(SERIES_PER_REQUEST) {
                let body = wire::remote_write::encode(part, &[]);
                let request = stack.context.http.post(format!("{}/api/v1/write", stack.transfer()));
                let request = request.header("content-encoding", "snappy").body(body);
                let answer = request.header("content-type", "application/x-protobuf").send().await;
                assert!(answer.unwrap().status().is_success());
            }
        }
        eventually("all hosts are known", SOON, async || {
            let url = format!("{}/api/v1/datacenters", self.proxy);
            let told = testkit::get_json(&self.stacks[0].context.http, &url).await?;
            let hosts = told["data"].as_array()?.iter().filter_map(|one| one["hosts"].as_u64());
            (hosts.sum::<u64>() == HOSTS).then_some(())
        })
        .await;
    }

    fn bytes(&self) -> u64 {
        self.relays.iter().map(|relay| relay.bytes.load(Ordering::Relaxed)).sum()
    }

    /// The answer of a server; a range is ten minutes in steps of ten seconds.
    async fn ask(&self, base: &str, kind: &str, query: &str) -> Json {
        let end = self.at.seconds();
        let path = match kind {
            "i" => format!("query?time={end}"),
            _ => format!("query_range?start={}&end={end}&step=10", end - 600),
        };
        let url = format!("{base}/api/v1/{path}&nocache=1");
        let request = self.stacks[0].context.http.get(url).query(&[("query", query)]);
        request.send().await.unwrap().json().await.unwrap()
    }

    async fn pushed(&self, kind: &str, query: &str) -> Cost {
        let (before, begun) = (self.bytes(), Instant::now());
        let answer = self.ask(&self.proxy, kind, query).await;
        let took = begun.elapsed();
        let series = answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{answer}"));
        assert_eq!(answer.get("warnings"), None, "{query}");
        Cost { bytes: self.bytes() - before, took, series: series.len() }
    }

    /// From all samples that the expression reads.
    async fn raw(&self, kind: &str, expr: &Expr) -> Cost {
        let (before, begun) = (self.bytes(), Instant::now());
        let params = match kind {
            "i" => Params::instant(self.at),
            _ => {
                let start = self.at.minus(Duration::from_secs(600));
                Params::range(start, self.at, Duration::from_secs(10))
            }
        };
        let plan = promql::plan(expr, params).unwrap();
        let mut inputs = Vec::new();
        for selection in plan.selections() {
            let [first, second, third] = &self.readers[..] else { panic!("there are three") };
            let found = tokio::try_join!(
                first.select(selection),
                second.select(selection),
                third.select(selection)
            );
            let (first, second, third) = found.unwrap();
            inputs.push([first, second, third].concat());
        }
        let output = promql::evaluate(&plan, &inputs, &|| false).unwrap();
        let series = match output.value {
            Value::Vector(vector) => vector.len(),
            Value::Matrix(matrix) => matrix.len(),
            _ => 1,
        };
        Cost { bytes: self.bytes() - before, took: begun.elapsed(), series }
    }
}

/// Which data centre a series is in.
fn place(series: &Series) -> usize {
    let digits = series.labels.get("endpoint").unwrap_or("").trim_start_matches("host-");
    digits.parse::<usize>().unwrap_or(0) % 3
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a report of a minute; run it by name, of the release build"]
async fn what_is_pushed_down_moves_less_and_one_data_centre_is_asked_for_next_to_nothing() {
    let world = World::start().await;
    let mut sums = [0.0; 4];
    eprintln!("{:>10} {:>10} {:>9} {:>9}  query", "bytes", "raw bytes", "ms", "raw ms");
    for line in include_str!("bench_queries.txt").lines() {
        let (kind, query) = line.split_at(1);
        let expr = promql::parse(query.trim()).unwrap();
        let (mut pushed, mut raw) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            pushed.push(world.pushed(kind, query.trim()).await);
            raw.push(world.raw(kind, &expr).await);
        }
        assert_eq!(pushed[0].series, raw[0].series, "{line}");
        let took = |all: &[Cost]| millis(median(all.iter().map(|cost| cost.took).collect()));
        let bytes = |all: &[Cost]| all.iter().map(|cost| cost.bytes).min().unwrap_or(0);
        let row = [bytes(&pushed) as f64, bytes(&raw) as f64, took(&pushed), took(&raw)];
        eprintln!("{:>10} {:>10} {:>9.2} {:>9.2}  {line}", row[0], row[1], row[2], row[3]);
        sums.iter_mut().zip(row).for_each(|(sum, one)| *sum += one);
    }
    eprintln!("{:>10} {:>10} {:>9.2} {:>9.2}  all", sums[0], sums[1], sums[2], sums[3]);
    // Where groups are small, their partial sums over a range are as many as the samples: those queries are most of
    // the bytes that are left.
    assert!(sums[0] < sums[1] / 2.0 && sums[2] < sums[3], "{sums:?}");

    let query = "cpu_idle{endpoint=\"host-00042\"}";
    let direct = world.relays[0].url.as_str();
    let (mut by_proxy, mut directly) = (Vec::new(), Vec::new());
    for _ in 0..DIRECT_ROUNDS {
        for (base, all) in [(world.proxy.as_str(), &mut by_proxy), (direct, &mut directly)] {
            let begun = Instant::now();
            let answer = world.ask(base, "i", query).await;
            all.push(begun.elapsed());
            assert_eq!(answer["data"]["result"].as_array().map(Vec::len), Some(1), "{answer}");
        }
    }
    let (by_proxy, directly) = (median(by_proxy), median(directly));
    eprintln!(
        "one data centre, p50: {:.2} ms, directly {:.2} ms",
        millis(by_proxy),
        millis(directly)
    );
    assert!(by_proxy < directly + OVERHEAD_MAX, "{by_proxy:?} {directly:?}");
}
