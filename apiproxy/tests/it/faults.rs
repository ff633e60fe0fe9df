//! Data centres behind real sockets that die, hang, lie or answer by halves: what is left of an answer is right, comes
//! in time and says what is missing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use apiproxy::{Config, DataCentre, Deps};
use daemon::Context;
use model::Series;
use reqwest::StatusCode;
use serde_json::Value;
use storage::{Batch, Limits, RemoteConfig, Storage};
use testkit::eventually;

use crate::federation::{hosts, lines};
use crate::gate::{Gate, Way};
use crate::service::NOW;

const SOON: Duration = Duration::from_secs(30);
/// How long a data centre is waited for: long enough for one that is well on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How long one is waited for that is going to hang.
const SHORT: Duration = Duration::from_secs(1);
/// An answer must come within this time: a data centre that hangs would hold it for ever.
const DEADLINE: Duration = Duration::from_secs(15);

const NAMES: [&str; 3] = ["bj", "sh", "gz"];

const EXPRESSIONS: [&str; 6] = [
    "cpu",
    "count(cpu)",
    "sum by (group) (rate(bytes_total[1m]))",
    "topk(2, cpu)",
    "cpu / on (endpoint) bytes_total",
    "max_over_time(sum(cpu)[5m:1m])",
];

const PAGE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n<html>hello</html>\r\n";
const CUT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 71\r\n\r\n\
    {\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[{\"metric\":{";
const OTHER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 46\r\n\r\n\
    {\"status\":\"success\",\"data\":{\"result\":\"nothing\"}}";
const NO_HTTP: &str = "220 mail.example ESMTP\r\n";
const WRONG_PAGE: &str = "HTTP/1.1 400 Bad Request\r\ncontent-length: 11\r\n\r\nBad Request";
const AWAY: &str = "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 11\r\n\r\nBad Gateway";

const FAULTS: [Way; 9] = [
    Way::Closed,
    Way::Silent,
    Way::Half,
    Way::Lies(PAGE),
    Way::Lies(CUT),
    Way::Lies(OTHER),
    Way::Lies(NO_HTTP),
    Way::Lies(WRONG_PAGE),
    Way::Lies(AWAY),
];

/// What came of a question.
#[derive(Debug, Clone, PartialEq)]
struct Answer {
    status: StatusCode,
    /// The data centres that it says are missing.
    missing: String,
    body: Value,
}

impl Answer {
    fn lines(&self) -> Vec<String> {
        lines(&self.body["data"]["result"])
    }
}

/// A question about the newest samples.
async fn ask(http: &reqwest::Client, addr: SocketAddr, expr: &str, more: &str) -> Answer {
    ask_at(http, format!("http://{addr}/api/v1/query?time={}{more}", NOW.seconds()), expr).await
}

async fn ask_at(http: &reqwest::Client, url: String, expr: &str) -> Answer {
    let asked = tokio::time::timeout(DEADLINE, http.get(url).query(&[("query", expr)]).send());
    let answer = asked.await.expect("it answers in time").expect("it answers");
    let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
    let missing = header("x-saker-partial").unwrap_or_default().to_owned();
    Answer { status: answer.status(), missing, body: answer.json().await.expect("it is JSON") }
}

/// apiproxy over one store in memory.
pub(crate) async fn store(series: Vec<Series>) -> SocketAddr {
    let storage = Storage::memory(Limits::default());
    let batch = Batch { series, metadata: vec![] };
    storage.writer().write(batch).await.expect("memory takes it");
    let config = Config { listen: ([127, 0, 0, 1], 0).into(), ..Config::default() };
    // Every service has metrics of its own.
    let context = testkit::context_at(NOW).for_role("apiproxy");
    apiproxy::start(config, Deps::plain(storage.reader()), &context).await.expect("port 0 is free")
}

/// apiproxy in front of three data centres, each behind a gate.
struct World {
    context: Context,
    addr: SocketAddr,
    gates: Vec<Gate>,
}

impl World {
    async fn new(parts: [Vec<Series>; 3], change: impl Fn(&mut Config, &mut RemoteConfig)) -> Self {
        Self::waiting([TIMEOUT; 3], parts, change).await
    }

    async fn waiting(
        timeouts: [Duration; 3],
        parts: [Vec<Series>; 3],
        change: impl Fn(&mut Config, &mut RemoteConfig),
    ) -> Self {
        let context = testkit::context_at(NOW).for_role("apiproxy");
        let mut config = Config { listen: ([127, 0, 0, 1], 0).into(), ..Config::default() };
        let (mut gates, mut centres) = (Vec::new(), Vec::new());
        for ((name, series), timeout) in NAMES.into_iter().zip(parts).zip(timeouts) {
            let gate = Gate::to(store(series).await, &context).await;
            let mut remote = RemoteConfig { timeout, ..RemoteConfig::new(gate.url(), "") };
            change(&mut config, &mut remote);
            let storage = Storage::remote(&remote, context.http.clone()).expect("it is an address");
            gates.push(gate);
            centres.push(DataCentre {
                name: name.to_owned(),
                reader: storage.reader(),
                labels: BTreeMap::new(),
                timeout,
                replicas: vec![],
            });
        }
        let deps = Deps { centres, ..Deps::default() };
        let addr = apiproxy::start(config, deps, &context).await.expect("port 0 is free");
        let world = Self { context, addr, gates };
        eventually("the hosts are known", SOON, async || {
            // Whoever was too slow to tell its hosts is asked again.
            world.context.clock.advance(Duration::from_secs(6));
            let list = world.centres().await;
            list.iter().all(|one| one["hosts"] != 0).then_some(())
        })
        .await;
        world
    }

    async fn split() -> Self {
        Self::new([hosts(0..3), hosts(3..6), hosts(6..9)], |_, _| {}).await
    }

    async fn ask(&self, expr: &str, more: &str) -> Answer {
        ask(&self.context.http, self.addr, expr, more).await
    }

    /// A question about samples that are five to ten minutes old.
    async fn ask_range(&self, expr: &str) -> Answer {
        let (start, end) = (NOW.seconds() - 600, NOW.seconds() - 300);
        let times = format!("start={start}&end={end}&step=30");
        let url = format!("http://{}/api/v1/query_range?{times}", self.addr);
        ask_at(&self.context.http, url, expr).await
    }

    async fn centres(&self) -> Vec<Value> {
        let url = format!("http://{}/api/v1/datacenters", self.addr);
        let told = testkit::get_json(&self.context.http, &url).await.expect("it answers");
        told["data"].as_array().expect("it is a list").clone()
    }

    async fn health(&self, at: usize) -> String {
        self.centres().await[at]["health"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until nothing is missing any more.
    async fn recovers(&self) {
        eventually("all answer again", SOON, async || {
            self.context.clock.advance(Duration::from_secs(6));
            self.ask("count(cpu)", "").await.missing.is_empty().then_some(())
        })
        .await;
    }
}

/// The answers to all expressions over these hosts.
async fn expected(series: Vec<Series>, context: &Context) -> Vec<Vec<String>> {
    let addr = store(series).await;
    let mut all = Vec::new();
    for expr in EXPRESSIONS {
        let answer = ask(&context.http, addr, expr, "").await;
        assert_eq!(answer.status, StatusCode::OK, "{expr}: {}", answer.body);
        all.push(answer.lines());
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn answers_under_load_are_whole_or_say_who_is_missing_whatever_is_wrong_with_one() {
    for (at, name) in NAMES.iter().enumerate() {
        let mut timeouts = [TIMEOUT; 3];
        timeouts[at] = SHORT;
        let parts = [hosts(0..3), hosts(3..6), hosts(6..9)];
        let world = World::waiting(timeouts, parts, |_, _| {}).await;
        let whole = expected(hosts(0..9), &world.context).await;
        let others = (0..9).filter(|host| host / 3 != at).flat_map(|host| hosts(host..host + 1));
        let rest = expected(others.collect(), &world.context).await;
        for fault in FAULTS {
            world.recovers().await;
            let check = async |number: usize| {
                if number == 6 {
                    world.gates[at].set(fault);
                }
                let expr = EXPRESSIONS[number % EXPRESSIONS.len()];
                let answer = world.ask(expr, "").await;
                let right = if answer.missing.is_empty() { &whole } else { &rest };
                assert_eq!(answer.status, StatusCode::OK, "{fault:?} {expr}: {}", answer.body);
                assert_eq!(answer.lines(), right[number % right.len()], "{fault:?} {expr}");
                let is_named = answer.body["warnings"].to_string().contains(name);
                assert_eq!(is_named, !answer.missing.is_empty(), "{}", answer.body);
                assert!([*name, ""].contains(&answer.missing.as_str()), "{}", answer.missing);
                usize::from(!answer.missing.is_empty())
            };
            let load = (0..18).map(check);
            let marked: usize = futures_util::future::join_all(load).await.into_iter().sum();
            assert_eq!(check(7).await, 1, "{fault:?} goes unsaid, after {marked} that said it");
            world.gates[at].set(Way::Open);
        }
    }
}

#[tokio::test]
async fn who_asks_for_all_or_nothing_gets_an_error_that_names_the_missing() {
    let world = World::split().await;
    assert_eq!(world.ask("count(cpu)", "&partial=deny").await.status, StatusCode::OK);
    world.gates[1].set(Way::Closed);
    let answer = world.ask("count(cpu)", "&partial=deny").await;
    assert!(answer.status.is_server_error(), "{}", answer.body);
    assert!(answer.body["error"].to_string().contains("sh"), "{}", answer.body);
    for path in ["labels", "label/endpoint/values", "metadata", "series?match[]=cpu"] {
        let url = format!("http://{}/api/v1/{path}", world.addr);
        let answer = world.context.http.get(&url).send().await.expect("it answers");
        assert_eq!(answer.headers()["x-saker-partial"], "sh", "{path}");
        let denied = [url.as_str(), if path.contains('?') { "&" } else { "?" }, "partial=deny"];
        let answer = world.context.http.get(denied.concat()).send().await.expect("it answers");
        assert!(answer.status().is_server_error(), "{path}");
    }
}

#[tokio::test]
async fn only_questions_that_concern_the_missing_one_are_marked() {
    let world = World::split().await;
    world.gates[2].set(Way::Closed);
    let of_others = world.ask("sum(cpu{endpoint=~\"h1|h4\"})", "&partial=deny").await;
    assert_eq!((of_others.status, of_others.missing.as_str()), (StatusCode::OK, ""));
    let of_missing = world.ask("cpu{endpoint=\"h7\"}", "").await;
    assert!(of_missing.status.is_server_error(), "{}", of_missing.body);
    assert!(of_missing.body["error"].to_string().contains("gz"), "{}", of_missing.body);
    let of_both = world.ask("count(cpu{endpoint=~\"h1|h7\"})", "").await;
    assert_eq!((of_both.missing.as_str(), of_both.lines().len()), ("gz", 1), "{}", of_both.body);
}

#[tokio::test]
async fn a_host_that_nobody_knows_may_be_where_nobody_answers() {
    let world = World::split().await;
    let answer = world.ask("cpu{endpoint=\"nobody\"}", "").await;
    assert_eq!((answer.status, answer.missing.as_str()), (StatusCode::OK, ""));
    assert_eq!(answer.lines(), [""; 0]);
    world.gates[0].set(Way::Closed);
    let answer = world.ask("cpu{endpoint=\"nobody\"}", "").await;
    assert_eq!((answer.status, answer.missing.as_str()), (StatusCode::OK, "bj"));
}

#[tokio::test]
async fn a_host_in_two_data_centres_is_answered_for_by_the_one_that_is_there() {
    let parts = [hosts(0..4), hosts(3..6), hosts(6..9)];
    let world = World::new(parts, |_, _| {}).await;
    let whole = world.ask("cpu{endpoint=\"h3\"}", "").await;
    assert_eq!((whole.missing.as_str(), whole.lines().len()), ("", 1), "{}", whole.body);
    let count = world.ask("count(cpu)", "").await;
    assert!(count.lines()[0].contains("\"9.0"), "it counts once: {}", count.body);
    for (at, name) in [(0, "bj"), (1, "sh")] {
        world.gates[at].set(Way::Closed);
        let answer = world.ask("cpu{endpoint=\"h3\"}", "").await;
        assert_eq!((answer.lines(), answer.missing.as_str()), (whole.lines(), name));
        world.gates[at].set(Way::Open);
        world.recovers().await;
    }
}

#[tokio::test]
async fn a_question_too_large_is_refused_by_its_limit_and_costs_no_data_centre_its_health() {
    let few = |config: &mut Config, _: &mut RemoteConfig| config.samples_max = 20;
    let small = |_: &mut Config, remote: &mut RemoteConfig| remote.answer_bytes_max = 2_000;
    for (change, name) in [
        (&few as &dyn Fn(&mut Config, &mut RemoteConfig), "20"),
        (&small as &dyn Fn(&mut Config, &mut RemoteConfig), "2000 bytes"),
    ] {
        let world = World::new([hosts(0..3), hosts(3..6), hosts(6..9)], change).await;
        for expr in ["{endpoint=~\".+\"}[10m]", "max_over_time(sum(cpu + cpu)[9m:1m])"] {
            for _ in 0..4 {
                let answer = world.ask(expr, "").await;
                assert!(!answer.status.is_success(), "{expr}: {}", answer.body);
                let text = answer.body["error"].to_string();
                assert!(text.contains(name), "{expr}: {text}");
            }
        }
        for at in 0..3 {
            assert_eq!(world.health(at).await, "ok");
        }
        let answer = world.ask("count(cpu)", "").await;
        assert_eq!((answer.status, answer.missing.as_str()), (StatusCode::OK, ""));
    }
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_questions_back_everywhere() {
    let world = World::split().await;
    world.gates.iter().for_each(|gate| gate.set(Way::Silent));
    let before: Vec<usize> = world.gates.iter().map(Gate::asked).collect();
    let client = reqwest::Client::new();
    let url = format!("http://{}/api/v1/query?query=count(cpu)", world.addr);
    let question = client.get(url).send();
    tokio::select! {
        _ = question => panic!("nobody answers"),
        () = eventually("all are asked", TIMEOUT, async || {
            let mut asked = world.gates.iter().zip(&before);
            asked.all(|(gate, before)| gate.asked() > *before).then_some(())
        }) => {}
    }
    drop(client);
    eventually("the questions are taken back", SOON, async || {
        world.gates.iter().all(|gate| gate.given_up() > 0).then_some(())
    })
    .await;
    let url = format!("http://{}/metrics", world.addr);
    eventually("nothing is worked on", SOON, async || {
        let page = testkit::get_text(&world.context.http, &url).await?;
        page.contains("\napiproxy_queries_in_flight 0\n").then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_impatient_client_costs_no_data_centre_its_health() {
    let world = World::split().await;
    world.gates[1].set(Way::Silent);
    for _ in 0..4 {
        let answer = world.ask("count(cpu)", "&timeout=100ms").await;
        assert!(answer.missing.contains("sh") || !answer.status.is_success(), "{}", answer.body);
    }
    world.gates[1].set(Way::Open);
    let answer = world.ask("count(cpu)", "").await;
    assert_eq!((answer.missing.as_str(), world.health(1).await.as_str()), ("", "ok"));
}

#[tokio::test]
async fn a_partial_answer_is_not_kept_and_a_whole_one_outlives_its_data_centre() {
    let fresh = |config: &mut Config, _: &mut RemoteConfig| {
        config.cache_fresh = Duration::from_secs(300);
    };
    let world = World::new([hosts(0..3), hosts(3..6), hosts(6..9)], fresh).await;
    let expr = "sum by (group) (cpu)";
    world.gates[1].set(Way::Closed);
    assert_eq!(world.ask_range(expr).await.missing, "sh");
    assert_eq!(world.ask_range(expr).await.missing, "sh");
    world.gates[1].set(Way::Open);
    world.recovers().await;
    let whole = world.ask_range(expr).await;
    let alone = store(hosts(0..9)).await;
    let (start, end) = (NOW.seconds() - 600, NOW.seconds() - 300);
    let url = format!("http://{alone}/api/v1/query_range?start={start}&end={end}&step=30");
    let expected = ask_at(&world.context.http, url, expr).await;
    assert_eq!((whole.missing.as_str(), whole.lines()), ("", expected.lines()));
    world.gates.iter().for_each(|gate| gate.set(Way::Closed));
    assert_eq!(world.ask_range(expr).await, whole);
    assert!(world.ask_range("sum(cpu)").await.status.is_server_error());
}
