//! One apiproxy in front of three data centres: a Saker, a VictoriaMetrics and a Prometheus, the hosts split over
//! them. Its answers are those of one Prometheus that holds everything, and stay so for the others' hosts when one of
//! them is slow, lies or dies.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::{Labels, Series};
use nix::sys::signal::Signal;
use reqwest::StatusCode;
use serde_json::Value;
use testkit::{Process, binary, eventually, free_port, program};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::{ALIGNMENT, Both, DOCUMENTED, PHASE, SOON, data, expressions, start_prometheus};
use crate::stack::Stack;

/// An answer comes within this time, whatever the data centres do; each is waited for 2 s.
const DEADLINE: Duration = Duration::from_secs(10);

struct World {
    both: Both,
    saker: Stack,
    victoria: Process,
    prometheus: Process,
    prometheus_port: u16,
    _proxy: Process,
    _whole: Process,
    _folder: tempfile::TempDir,
}

impl World {
    async fn start(prometheus: &Path, victoria: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let within = |name: &str| -> PathBuf {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let rules = folder.path().join("rules.yml");
        fs::write(&rules, "groups: []\n").unwrap();
        let mut saker = Stack::new(&rules).await;
        saker.start_saker().await;
        let [whole_port, prometheus_port, victoria_port, port] = [(); 4].map(|()| free_port());
        let whole = start_prometheus(prometheus, &within("whole"), whole_port);
        let third = start_prometheus(prometheus, &within("third"), prometheus_port);
        let victoria = Process::start(
            victoria,
            [
                format!("-storageDataPath={}", within("victoria").display()),
                format!("-httpListenAddr=127.0.0.1:{victoria_port}"),
            ],
        );
        let config = folder.path().join("proxy.toml");
        let centre = |name: &str, url: &str| {
            format!("[[apiproxy.datacenters]]\nname = {name:?}\nurl = {url:?}\ntimeout = \"2s\"\n")
        };
        let urls = [
            saker.apiproxy(),
            format!("http://127.0.0.1:{victoria_port}"),
            format!("http://127.0.0.1:{prometheus_port}"),
        ];
        let text = format!(
            "data_dir = {:?}\n[apiproxy]\nlisten = \"127.0.0.1:{port}\"\n{}{}{}",
            folder.path().join("proxy"),
            centre("bj", &urls[0]),
            centre("sh", &urls[1]),
            centre("gz", &urls[2]),
        );
        fs::write(&config, text).unwrap();
        let last = saker.context.clock.now().slot(ALIGNMENT).millis() - 15_000 + PHASE;
        let both = Both {
            http: saker.context.http.clone(),
            ours: format!("http://127.0.0.1:{port}"),
            prometheus: format!("http://127.0.0.1:{whole_port}"),
            last: model::Timestamp(last),
            _started: None,
        };
        for url in [&urls[1], &urls[2]] {
            eventually("the stores are up", SOON, async || {
                let health = both.http.get(format!("{url}/health")).send().await.ok();
                let ready = both.http.get(format!("{url}/-/ready")).send().await.ok();
                [health, ready].into_iter().flatten().find(|answer| answer.status().is_success())
            })
            .await;
        }
        // Filled before it is asked for its hosts: what it does not know may be anywhere.
        let series = held(both.last);
        let transfers = [saker.transfer(), urls[1].clone(), urls[2].clone()];
        for (at, url) in transfers.iter().enumerate() {
            let own: Vec<Series> =
                series.iter().filter(|one| place(&one.labels) == at).cloned().collect();
            for part in own.chunks(super::SERIES_PER_REQUEST) {
                both.write(url, wire::remote_write::encode(part, &[])).await;
            }
        }
        let args = ["apiproxy".as_ref(), "--config".as_ref(), config.as_os_str()];
        let proxy = Process::start(&binary("saker"), args);
        eventually("the proxy knows the hosts", SOON, async || {
            let url = format!("{}/api/v1/datacenters", both.ours);
            let told = testkit::get_json(&both.http, &url).await?;
            let list = told["data"].as_array()?.clone();
            list.iter().all(|one| one["hosts"].as_u64() > Some(0)).then_some(())
        })
        .await;
        both.hold(&both.prometheus.clone(), &series).await;
        let (victoria, prometheus, _whole) = (victoria, third, whole);
        Self {
            both,
            saker,
            victoria,
            prometheus,
            prometheus_port,
            _proxy: proxy,
            _whole,
            _folder: folder,
        }
    }

    /// An answer, its status, and the data centres that it says are missing.
    async fn ask(&self, expression: &str, more: &str) -> (StatusCode, String, Value) {
        let time = (self.both.last.millis() + super::MOMENT) as f64 / 1000.0;
        let url = format!("{}/api/v1/query?time={time}{more}", self.both.ours);
        let begun = Instant::now();
        let answer = self.both.http.get(url).query(&[("query", expression)]).send().await.unwrap();
        assert!(begun.elapsed() < DEADLINE, "{expression} took {:?}", begun.elapsed());
        let missing = answer.headers().get("x-saker-partial").cloned();
        let missing = missing.map(|value| value.to_str().unwrap().to_owned());
        let status = answer.status();
        (status, missing.unwrap_or_default(), answer.json().await.unwrap())
    }

    /// One data centre is not to be had: the others' hosts are answered as ever, and the answer says what is missing.
    async fn check_without(&self, at: usize, name: &str) {
        let others: Vec<String> = (0..3).filter(|other| *other != at).map(hosts_of).collect();
        let others = format!("load1{{endpoint=~\"{}\"}}", others.join("|"));
        let (ours, theirs) = self.both.ask(super::Kind::Instant, &others).await;
        assert_eq!(super::compare::difference(&others, &ours, &theirs, 1e-9), None);
        let (status, missing, answer) = self.ask("count(load1)", "").await;
        assert_eq!((status, missing.as_str()), (StatusCode::OK, name), "{answer}");
        assert!(answer["warnings"].to_string().contains(name), "{answer}");
        let expected = self.both.ask(super::Kind::Instant, &format!("count({others})")).await.1;
        assert_eq!(answer["data"]["result"][0]["value"], expected["data"]["result"][0]["value"]);
        let (status, _, answer) = self.ask("count(load1)", "&partial=deny").await;
        assert!(status.is_server_error() && answer["status"] == "error", "{answer}");
        let own = format!("load1{{endpoint=~\"{}\"}}", hosts_of(at));
        let (status, _, answer) = self.ask(&own, "").await;
        assert!(status.is_server_error() && answer.to_string().contains(name), "{answer}");
    }
}

/// The data, but in VictoriaMetrics' part: that takes no NaN, and does not give back markers of ended series.
fn held(last: model::Timestamp) -> Vec<Series> {
    let mut series = data::series(last);
    for one in series.iter_mut().filter(|one| place(&one.labels) == 1) {
        one.samples.retain(|sample| !sample.value.is_nan());
    }
    series
}

/// Which data centre a series is in.
fn place(labels: &Labels) -> usize {
    let digits = labels.get("endpoint").unwrap_or("").chars().filter(char::is_ascii_digit);
    digits.collect::<String>().parse::<usize>().unwrap_or(0) % 3
}

/// The hosts of a data centre, as a pattern.
fn hosts_of(at: usize) -> String {
    let known = data::series(model::Timestamp(0));
    let mut hosts: Vec<&str> = known
        .iter()
        .filter(|one| place(&one.labels) == at)
        .filter_map(|one| one.labels.get("endpoint"))
        .collect();
    hosts.sort_unstable();
    hosts.dedup();
    hosts.join("|")
}

/// Whether an expression is an aggregation whose series are in several data centres.
fn is_of_many(expression: &str) -> bool {
    let Ok(expr) = promql::parse(expression) else { return false };
    let mut inner = vec![&expr];
    let mut aggregates = false;
    while let Some(one) = inner.pop() {
        aggregates |= matches!(one.kind, promql::ExprKind::Aggregate(_));
        inner.extend(one.children());
    }
    let is_pinned = |selector: &&promql::VectorSelector| {
        selector.matchers.iter().any(|matcher| matcher.name == model::ENDPOINT)
    };
    aggregates && !expr.selectors().iter().any(is_pinned)
}

#[tokio::test]
async fn three_data_centres_are_answered_for_like_one_and_without_one_it_is_said() {
    let (Some(prometheus), Some(victoria)) = (program("prometheus"), program("victoria-metrics"))
    else {
        return;
    };
    let mut world = World::start(&prometheus, &victoria).await;
    let all = expressions();
    let of_many = all.iter().filter(|one| is_of_many(one)).count();
    assert!(all.len() >= 200 && of_many >= 100, "{of_many} of {}", all.len());
    world.both.compare(&all, &DOCUMENTED).await;

    world.victoria.signal(Signal::SIGSTOP);
    world.check_without(1, "sh").await;
    world.victoria.signal(Signal::SIGCONT);
    eventually("it is asked again", SOON, async || {
        world.ask("count(load1)", "").await.1.is_empty().then_some(())
    })
    .await;

    world.prometheus.kill();
    world.check_without(2, "gz").await;
    let liar = TcpListener::bind(("127.0.0.1", world.prometheus_port)).await.unwrap();
    world.saker.context.spawn("liar", async move {
        while let Ok((mut stream, _)) = liar.accept().await {
            let _request = stream.read(&mut [0; 4096]).await;
            let body =
                "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[{\"me";
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _sent = stream.write_all((head + body).as_bytes()).await;
        }
    });
    world.check_without(2, "gz").await;
    world.saker.saker().kill();
    let (status, missing, answer) = world.ask("count(load1)", "").await;
    assert_eq!((status, missing.as_str()), (StatusCode::OK, "bj, gz"), "{answer}");
}
