//! apiproxy on a free port over a store with an hour of two hosts.

use std::net::SocketAddr;

use apiproxy::{Config, Deps};
use model::{Labels, Metadata, MetricKind, Sample, Series, Timestamp};
use reqwest::StatusCode;
use serde_json::Value;
use storage::{Batch, Limits, Storage};

/// 2025-10-09T09:01:00Z, the time of the newest samples.
pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_760_000_460);

pub(crate) struct Service {
    pub(crate) context: daemon::Context,
    addr: SocketAddr,
}

impl Service {
    pub(crate) async fn start(change: impl FnOnce(&mut Config)) -> Self {
        Self::over(samples(), change).await
    }

    /// Over a store that holds this.
    pub(crate) async fn over(batch: Batch, change: impl FnOnce(&mut Config)) -> Self {
        Self::over_at(batch, NOW, change).await
    }

    /// As [`Service::over`], at another time.
    pub(crate) async fn over_at(
        batch: Batch,
        now: Timestamp,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let storage = Storage::memory(Limits::default());
        storage.writer().write(batch).await.expect("memory takes it");
        let context = testkit::context_at(now).for_role("apiproxy");
        let mut config = Config { listen: ([127, 0, 0, 1], 0).into(), ..Config::default() };
        change(&mut config);
        let addr = apiproxy::start(config, Deps::plain(storage.reader()), &context)
            .await
            .expect("port 0 is free");
        Self { context, addr }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) async fn get(&self, path: &str, pairs: &[(&str, &str)]) -> (StatusCode, Value) {
        json(self.context.http.get(self.url(path)).query(pairs)).await
    }

    pub(crate) async fn post(&self, path: &str, pairs: &[(&str, &str)]) -> (StatusCode, Value) {
        json(self.context.http.post(self.url(path)).form(pairs)).await
    }

    /// The data of an answer that must be a success.
    pub(crate) async fn data(&self, path: &str, pairs: &[(&str, &str)]) -> Value {
        let (status, mut answer) = self.get(path, pairs).await;
        assert_eq!((status.as_u16(), &answer["status"]), (200, &"success".into()), "{answer}");
        answer["data"].take()
    }

    /// Status, type and text of an answer that must be an error.
    pub(crate) async fn error(&self, path: &str, pairs: &[(&str, &str)]) -> (u16, String, String) {
        let (status, answer) = self.get(path, pairs).await;
        assert_eq!(answer["status"], "error", "{answer}");
        let text = |key: &str| answer[key].as_str().expect("it is a text").to_owned();
        (status.as_u16(), text("errorType"), text("error"))
    }

    /// The value of a metric on `/metrics`.
    pub(crate) async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let page =
            testkit::get_text(&self.context.http, &self.url("/metrics")).await.expect("it answers");
        let page = wire::exposition::parse(&page, NOW);
        page.value(name, labels).unwrap_or_else(|| panic!("{name} {labels:?} is not on /metrics"))
    }
}

async fn json(request: reqwest::RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.expect("the service is there");
    assert_eq!(response.headers()["content-type"], "application/json");
    (response.status(), response.json().await.expect("the answer is JSON"))
}

fn samples() -> Batch {
    let series = |name: &str, host: &str, value: fn(i64) -> f64| Series {
        labels: Labels::from_pairs([("__name__", name), ("endpoint", host)]),
        samples: (0..=360)
            .map(|n| Sample::new(NOW.millis() - 3_600_000 + n * 10_000, value(n)))
            .collect(),
    };
    let mut all = vec![
        series("cpu_idle", "a", |_| 90.0),
        series("cpu_idle", "b", |_| 0.1 + 0.2),
        series("net_in_bytes", "a", |n| n as f64 * 100.0),
    ];
    let odd = Labels::from_pairs([("__name__", "odd"), ("http.status", "温\"度")]);
    all.push(Series { labels: odd, samples: vec![Sample { timestamp: NOW, value: f64::NAN }] });
    let about =
        Metadata { kind: MetricKind::Gauge, help: "Idle time.".into(), unit: "percent".into() };
    Batch {
        series: all,
        metadata: vec![("cpu_idle".into(), about), ("odd".into(), Metadata::default())],
    }
}
