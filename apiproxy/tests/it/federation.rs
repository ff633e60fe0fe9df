//! Hosts in several data centres: answers equal those of one store that holds everything.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use apiproxy::{Config, DataCentre, Deps};
use model::{Labels, Sample, Series};
use serde_json::Value;
use storage::{Batch, Limits, Storage};

use crate::service::NOW;

const SOON: Duration = Duration::from_secs(30);

/// Each selects, and works on, other things.
const EXPRESSIONS: [&str; 50] = [
    "cpu",
    "cpu{endpoint=\"h1\"}",
    "cpu{endpoint=~\"h1|h4\"}",
    "cpu{endpoint=\"nobody\"}",
    "cpu > 40",
    "cpu > bool 40",
    "-cpu + 1",
    "rate(bytes_total[1m])",
    "clamp_max(round(cpu, 7), 50)",
    "max_over_time(rate(bytes_total[1m])[5m:30s])",
    "sum(cpu)",
    "sum by (group) (cpu)",
    "sum without (endpoint) (rate(bytes_total[1m]))",
    "count(cpu < 40)",
    "count by (group) (cpu)",
    "avg(cpu)",
    "avg by (group) (cpu) > 10",
    "min without (group) (cpu)",
    "max by (endpoint) (cpu)",
    "group by (group) (cpu)",
    "topk(3, cpu)",
    "bottomk by (group) (1, cpu)",
    "quantile(0.9, cpu)",
    "stddev by (group) (cpu)",
    "count_values(\"v\", round(cpu, 50))",
    "sum(rate(bytes_total[1m])) / count(cpu)",
    "cpu / on (endpoint) group_left () max by (endpoint) (bytes_total)",
    "cpu and cpu > 30",
    "cpu unless on (endpoint) (bytes_total > 1000)",
    "cpu{group=\"g0\"} or bytes_total",
    "absent(cpu{endpoint=\"nobody\"})",
    "absent(cpu)",
    "absent_over_time(cpu{endpoint=\"h1\"}[1m])",
    "max_over_time(sum(cpu)[5m:1m])",
    "scalar(sum(cpu)) + vector(1)",
    "label_replace(cpu, \"h\", \"$1\", \"endpoint\", \"h(.*)\")",
    "sort_desc(sum by (group) (cpu))",
    "sum(cpu offset 2m) - sum(cpu @ end())",
    "time() - timestamp(cpu)",
    "sum by (group) (cpu * scalar(count(cpu)))",
    "cpu / on (endpoint) bytes_total",
    "cpu * ignoring () bytes_total > 1000",
    "sum by (group) (cpu / on (endpoint, group) bytes_total)",
    "avg(cpu - on (endpoint) group_left () min by (endpoint) (cpu))",
    "topk(3, sum by (endpoint) (rate(bytes_total[1m])))",
    "count(max by (endpoint) (cpu) > 40)",
    "max_over_time(sum by (endpoint) (cpu)[5m:1m])",
    "count_over_time((cpu * (cpu @ end()))[5m:30s] offset 1m)",
    "sum(cpu) / on () group_right () sum by (endpoint) (bytes_total)",
    "quantile(0.5, stddev by (endpoint) ({__name__=~\"cpu|bytes_total\"}))",
];

fn host(at: usize, from: i64, to: i64) -> Vec<Series> {
    let times = |from: i64, to: i64| (from..to).map(|n| NOW.millis() - 600_000 + n * 10_000);
    let series = |name: &str, value: &dyn Fn(i64) -> f64| Series {
        labels: Labels::from_pairs([
            ("__name__", name),
            ("endpoint", &format!("h{at}")),
            ("group", &format!("g{}", at % 2)),
        ]),
        samples: times(from, to).map(|time| Sample::new(time, value(time / 10_000))).collect(),
    };
    let seed = at as i64;
    vec![
        series("cpu", &move |n| ((n * 7 + seed * 31) % 101) as f64),
        series("bytes_total", &move |n| ((n % 1000) * (100 + seed)) as f64),
    ]
}

struct Proxy {
    context: daemon::Context,
    addr: SocketAddr,
}

impl Proxy {
    async fn over(stores: Vec<(&str, Vec<Series>)>, label: bool) -> Self {
        let context = testkit::context_at(NOW).for_role("apiproxy");
        let mut centres = Vec::new();
        for (name, series) in stores {
            let storage = Storage::memory(Limits::default());
            let batch = Batch { series, metadata: vec![] };
            storage.writer().write(batch).await.expect("memory takes it");
            let labels = if label { vec![("dc".to_owned(), name.to_owned())] } else { vec![] };
            centres.push(DataCentre {
                name: name.to_owned(),
                reader: storage.reader(),
                labels: BTreeMap::from_iter(labels),
                timeout: SOON,
                replicas: vec![],
            });
        }
        let config = Config { listen: ([127, 0, 0, 1], 0).into(), ..Config::default() };
        let addr = apiproxy::start(config, Deps { centres, ..Deps::default() }, &context)
            .await
            .expect("port 0 is free");
        let proxy = Self { context, addr };
        testkit::eventually("the hosts are known", SOON, async || {
            let told = proxy.ask("/api/v1/datacenters", &[]).await;
            let list = told["data"].as_array().cloned().unwrap_or_default();
            (list.len() == 1 || list.iter().all(|one| one["hosts"] != 0)).then_some(())
        })
        .await;
        proxy
    }

    async fn ask(&self, path: &str, pairs: &[(&str, &str)]) -> Value {
        let url = format!("http://{}{path}", self.addr);
        let answer = self.context.http.get(url).query(pairs).send().await;
        answer.expect("the service is there").json().await.expect("the answer is JSON")
    }

    /// The answers to an expression, instant and range, in an order of their own.
    async fn answers(&self, expr: &str) -> Vec<Vec<String>> {
        let now = NOW.seconds().to_string();
        let before = (NOW.seconds() - 300).to_string();
        let instant = [("query", expr), ("time", now.as_str())];
        let range = [("query", expr), ("start", &*before), ("end", &*now), ("step", "30")];
        let mut all = Vec::new();
        for answer in [
            self.ask("/api/v1/query", &instant).await,
            self.ask("/api/v1/query_range", &range).await,
        ] {
            assert_eq!(answer["status"], "success", "{expr}: {answer}");
            all.push(lines(&answer["data"]["result"]));
            all.push(lines(&answer["warnings"]));
        }
        all
    }
}

/// Elements as texts, with values rounded where sums were made in another order.
pub(crate) fn lines(result: &Value) -> Vec<String> {
    fn rounded(value: &Value) -> Value {
        match value {
            Value::String(text) => {
                text.parse().map_or(value.clone(), |number: f64| format!("{number:.9e}").into())
            }
            Value::Array(list) => list.iter().map(rounded).collect(),
            Value::Object(object) => {
                let pair = |(name, value): (&String, &Value)| {
                    let is_labels = name == "metric";
                    (name.clone(), if is_labels { value.clone() } else { rounded(value) })
                };
                Value::Object(object.iter().map(pair).collect())
            }
            other => other.clone(),
        }
    }
    let one = |element: &Value| rounded(element).to_string();
    let mut lines: Vec<String> = match result {
        Value::Array(list) => list.iter().map(one).collect(),
        other => vec![one(other)],
    };
    lines.sort();
    lines
}

async fn check_all(one: &Proxy, many: &Proxy) {
    for expr in EXPRESSIONS {
        assert_eq!(many.answers(expr).await, one.answers(expr).await, "{expr}");
    }
}

pub(crate) fn hosts(range: std::ops::Range<usize>) -> Vec<Series> {
    range.flat_map(|at| host(at, 0, 60)).collect()
}

#[tokio::test]
async fn three_data_centres_answer_as_one_store_would() {
    let one = Proxy::over(vec![("all", hosts(0..9))], false).await;
    let parts = vec![("bj", hosts(0..3)), ("sh", hosts(3..6)), ("gz", hosts(6..9))];
    check_all(&one, &Proxy::over(parts, false).await).await;
}

#[tokio::test]
async fn a_host_that_moved_and_a_replicated_one_count_once() {
    let one = Proxy::over(vec![("all", hosts(0..6))], false).await;
    let moved = [host(2, 0, 30), host(1, 0, 60), host(0, 0, 60)].concat();
    let parts = vec![
        ("bj", moved),
        ("sh", [host(2, 30, 60), host(1, 0, 60), hosts(3..5)].concat()),
        ("gz", hosts(5..6)),
    ];
    check_all(&one, &Proxy::over(parts, false).await).await;
}

#[tokio::test]
async fn series_without_a_host_meet_across_data_centres() {
    let limit = |name: &str, group: &str, host: Option<&str>| {
        let mut labels = vec![("__name__", name), ("group", group)];
        labels.extend(host.map(|host| ("endpoint", host)));
        let letters = labels.iter().flat_map(|(_, value)| value.bytes());
        let own: i64 = letters.map(i64::from).sum();
        let sample = |n| Sample::new(NOW.millis() - 600_000 + n * 10_000, (own + n) as f64);
        let samples = (0..60).map(sample);
        Series { labels: Labels::from_pairs(labels), samples: samples.collect() }
    };
    let first = vec![limit("quota", "g0", None), limit("quota", "g1", Some("h1"))];
    let second = vec![limit("used", "g0", None), limit("used", "g1", Some("h4"))];
    let third = vec![limit("quota", "g1", Some("h4")), limit("used", "g1", Some("h1"))];
    let all = [hosts(0..9), first.clone(), second.clone(), third.clone()].concat();
    let one = Proxy::over(vec![("all", all)], false).await;
    let parts = vec![
        ("bj", [hosts(0..3), first].concat()),
        ("sh", [hosts(3..6), second].concat()),
        ("gz", [hosts(6..9), third].concat()),
    ];
    let many = Proxy::over(parts, false).await;
    for expr in [
        "used / quota",
        "used{endpoint=\"\"} / quota",
        "used{endpoint!=\"\"} / quota{endpoint!=\"\"}",
        "sum(used + quota)",
        "count(used or quota)",
        "avg by (group) (used * quota)",
        "topk(2, used / quota)",
        "max_over_time((used / quota)[5m:1m])",
        "sum by (endpoint) (quota)",
        "stddev(sum by (endpoint) (used))",
    ] {
        assert_eq!(many.answers(expr).await, one.answers(expr).await, "{expr}");
    }
}

#[tokio::test]
async fn labels_of_data_centres_are_like_labels_of_the_series() {
    let labelled = |dc: &str, mut series: Vec<Series>| {
        series.iter_mut().for_each(|one| one.labels = one.labels.with("dc", dc));
        series
    };
    let all = [labelled("bj", hosts(0..3)), labelled("sh", hosts(3..6))].concat();
    let one = Proxy::over(vec![("all", all)], false).await;
    let many = Proxy::over(vec![("bj", hosts(0..3)), ("sh", hosts(3..6))], true).await;
    check_all(&one, &many).await;
    for expr in
        ["sum by (dc) (cpu)", "avg(cpu{dc=\"sh\"})", "cpu{dc!=\"sh\"}", "sum without (dc) (cpu)"]
    {
        assert_eq!(many.answers(expr).await, one.answers(expr).await, "{expr}");
    }
    for (path, pairs) in [
        ("/api/v1/labels", vec![]),
        ("/api/v1/label/dc/values", vec![]),
        ("/api/v1/label/endpoint/values", vec![("match[]", "cpu{dc=\"sh\"}")]),
        ("/api/v1/label/dc/values", vec![("match[]", "cpu{endpoint=\"h1\"}")]),
        ("/api/v1/series", vec![("match[]", "cpu{group=\"g0\"}")]),
    ] {
        assert_eq!(many.ask(path, &pairs).await, one.ask(path, &pairs).await, "{path} {pairs:?}");
    }
}
