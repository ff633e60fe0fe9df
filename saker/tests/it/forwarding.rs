//! transfer with a destination that works, one that is slow and one that is dead, killed under load:
//! every acknowledged sample arrives everywhere.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use daemon::{Clock, Context};
use model::{Labels, Sample, Series, Timestamp};
use tempfile::TempDir;
use testkit::{Process, binary, eventually, free_port, get_text};
use wire::remote_write::{Limits, decode, encode};

const SOON: Duration = Duration::from_secs(30);
const HOSTS: usize = 50;
const WRITERS: usize = 3;

/// Which sample of which host.
type Mark = (String, i64);

/// A destination that notes what it was sent.
#[derive(Clone)]
struct Sink {
    seen: Arc<Mutex<BTreeSet<Mark>>>,
    pause: Duration,
}

impl Sink {
    async fn start(context: &Context, address: SocketAddr, pause: Duration) -> (Self, SocketAddr) {
        let sink = Self { seen: Arc::default(), pause };
        let routes = Router::new().route("/write", post(take)).with_state(sink.clone());
        let bound = context.listen(address, routes).await.expect("the port is free");
        (sink, bound)
    }

    fn lacks(&self, acknowledged: &BTreeSet<Mark>) -> usize {
        acknowledged.difference(&self.seen.lock().unwrap()).count()
    }
}

async fn take(State(sink): State<Sink>, body: Bytes) -> StatusCode {
    // This is what is slow about the slow one.
    tokio::time::sleep(sink.pause).await;
    let decoded = decode(&body, Limits::default()).expect("transfer sends remote write");
    let mark = |one: &Series| {
        let host = one.labels.get("endpoint").unwrap_or("").to_owned();
        one.samples.iter().map(move |sample| (host.clone(), sample.timestamp.millis())).collect()
    };
    let marks: Vec<Vec<Mark>> = decoded.series.iter().map(mark).collect();
    sink.seen.lock().unwrap().extend(marks.into_iter().flatten());
    StatusCode::NO_CONTENT
}

struct Transfer {
    folder: TempDir,
    port: u16,
    context: Context,
    process: Process,
}

impl Transfer {
    async fn start(sinks: [(&str, SocketAddr); 3]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut text = format!("data_dir = {:?}\n[transfer]\n", folder.path().join("data"));
        let [rpc, line] = [free_port(), free_port()];
        text += &format!("listen = \"127.0.0.1:{port}\"\nrpc_listen = \"127.0.0.1:{rpc}\"\n");
        text += &format!("line_listen = \"127.0.0.1:{line}\"\nqueue_sync = false\n");
        for (at, (name, address)) in sinks.into_iter().enumerate() {
            let list = if at == 0 { "destinations" } else { "mirrors" };
            text += &format!("[[transfer.{list}]]\nname = {name:?}\n");
            text += &format!("url = \"http://{address}/write\"\nbackoff_max = \"1s\"\n");
        }
        fs::write(folder.path().join("saker.toml"), text).unwrap();
        let context = Context::new("e2e", Clock::System).unwrap();
        let process = Self::process(&folder);
        let transfer = Self { folder, port, context, process };
        transfer.wait().await;
        transfer
    }

    fn process(folder: &TempDir) -> Process {
        let config = folder.path().join("saker.toml");
        let args = ["transfer".as_ref(), "--config".as_ref(), config.as_os_str()];
        Process::start(&binary("saker"), args)
    }

    async fn wait(&self) {
        let url = self.url("/-/healthy");
        eventually("transfer answers", SOON, async || get_text(&self.context.http, &url).await)
            .await;
    }

    async fn kill_and_start(&mut self) {
        self.process.kill();
        self.process = Self::process(&self.folder);
        self.wait().await;
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// One request; whether it was acknowledged.
    async fn write(&self, series: &[Series]) -> bool {
        let request = self.context.http.post(self.url("/api/v1/write"));
        let answer = request.body(encode(series, &[])).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Writes for a while from several clients; what was acknowledged.
    async fn write_for(&self, span: Duration, from: Timestamp) -> BTreeSet<Mark> {
        let acknowledged = Mutex::new(BTreeSet::new());
        let writer = async |writer: usize| {
            for round in 0_u64.. {
                let at = from.plus(Duration::from_millis(round));
                let one = |host: usize| Series {
                    labels: Labels::from_pairs([
                        ("__name__", "up"),
                        ("endpoint", &format!("w{writer}-{host}")),
                    ]),
                    samples: vec![Sample::new(at.millis(), round as f64)],
                };
                let series: Vec<Series> = (0..HOSTS).map(one).collect();
                if self.write(&series).await {
                    let marks = (0..HOSTS).map(|host| (format!("w{writer}-{host}"), at.millis()));
                    acknowledged.lock().unwrap().extend(marks);
                }
            }
        };
        let writers = async { tokio::join!(writer(0), writer(1), writer(WRITERS - 1)) };
        let _ = tokio::time::timeout(span, writers).await;
        acknowledged.into_inner().unwrap()
    }

    fn memory_bytes(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.process.pid())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() << 10
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_one_destination_dead_and_one_slow_kills_lose_nothing_that_was_acknowledged() {
    let context = Context::new("e2e", Clock::System).unwrap();
    let any = ([127, 0, 0, 1], 0).into();
    let (good, good_at) = Sink::start(&context, any, Duration::ZERO).await;
    let (slow, slow_at) = Sink::start(&context, any, Duration::from_millis(300)).await;
    let dead_at: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let mut transfer =
        Transfer::start([("good", good_at), ("slow", slow_at), ("dead", dead_at)]).await;
    let start = Clock::System.now().minus(Duration::from_secs(600));
    let mut acknowledged = BTreeSet::new();
    for kill in 0..3_u64 {
        let from = start.plus(Duration::from_secs(100 * kill));
        let marks = transfer.write_for(Duration::from_millis(1500 + 71 * kill), from).await;
        assert!(marks.len() > 10 * HOSTS, "the load was real: {}", marks.len());
        acknowledged.extend(marks);
        transfer.kill_and_start().await;
    }
    let what = "the good one has all, whatever the others do";
    eventually(what, SOON, async || (good.lacks(&acknowledged) == 0).then_some(())).await;
    let ready = transfer.context.http.get(transfer.url("/-/ready")).send().await.unwrap();
    let ready = ready.text().await.unwrap();
    assert!(ready.starts_with("destinations: dead: ") && !ready.contains("good"), "{ready}");
    assert!(transfer.memory_bytes() < 200 << 20, "{}", transfer.memory_bytes());

    let (revived, _) = Sink::start(&context, dead_at, Duration::ZERO).await;
    for (name, sink) in [("slow", slow), ("dead", revived)] {
        let what = format!("the {name} one has all");
        eventually(&what, SOON, async || (sink.lacks(&acknowledged) == 0).then_some(())).await;
    }
    eventually("nothing is away", SOON, async || {
        get_text(&transfer.context.http, &transfer.url("/-/ready")).await
    })
    .await;
}
