//! transfer on a free port with a store in memory.

use std::net::SocketAddr;

use model::{MatchOp, Matcher, Sample, Selection, Series, Timestamp};
use reqwest::{RequestBuilder, StatusCode};
use storage::Storage;
use tempfile::TempDir;
use transfer::{Addresses, Config, Deps};

pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_760_000_460);

pub(crate) struct Service {
    pub(crate) context: daemon::Context,
    pub(crate) storage: Storage,
    pub(crate) at: Addresses,
    pub(crate) queues: TempDir,
}

impl Service {
    pub(crate) async fn start(change: impl FnOnce(&mut Config)) -> Self {
        Self::over(Storage::memory(storage::Limits::default()), change).await
    }

    pub(crate) async fn over(storage: Storage, change: impl FnOnce(&mut Config)) -> Self {
        let queues = tempfile::tempdir().expect("a directory can be made");
        Self::with(storage, queues, change).await
    }

    /// With queues that may be there already.
    pub(crate) async fn with(
        storage: Storage,
        queues: TempDir,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let context = testkit::context_at(NOW).for_role("transfer");
        let free = ([127, 0, 0, 1], 0).into();
        let mut config =
            Config { listen: free, rpc_listen: free, line_listen: free, ..Config::default() };
        change(&mut config);
        let queue_dir = queues.path().to_owned();
        let deps = Deps { storage: Some(storage.clone()), queue_dir };
        let at = transfer::start(config, deps, &context).await.expect("port 0 is free");
        Self { context, storage, at, queues }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.at.http
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.at.http)
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.context.http.post(self.url(path))
    }

    pub(crate) async fn get(&self, path: &str) -> String {
        testkit::get_text(&self.context.http, &self.url(path)).await.expect("it answers")
    }

    /// The value of a metric on `/metrics`.
    pub(crate) async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let page = wire::exposition::parse(&self.get("/metrics").await, NOW);
        page.value(name, labels).unwrap_or_else(|| panic!("{name} {labels:?} is not on /metrics"))
    }

    /// The stored series of a metric, sorted.
    pub(crate) async fn stored(&self, name: &str) -> Vec<Series> {
        let matcher = Matcher::new("__name__", MatchOp::Equal, name).expect("equality cannot fail");
        let selection =
            Selection { matchers: vec![matcher], start: Timestamp::MIN, end: Timestamp::MAX };
        let mut series = self.storage.reader().select(&selection).await.expect("memory answers");
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        series
    }
}

pub(crate) async fn answer(request: RequestBuilder) -> (StatusCode, String) {
    let response = request.send().await.expect("the service is there");
    (response.status(), response.text().await.expect("the answer has a body"))
}

pub(crate) fn series(pairs: &[(&str, &str)], samples: &[(i64, f64)]) -> Series {
    let samples = samples.iter().map(|(at, value)| Sample::new(*at, *value)).collect();
    Series { labels: model::Labels::from_pairs(pairs.iter().copied()), samples }
}
