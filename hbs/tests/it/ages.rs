//! The series that tells how long hosts have been silent.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use daemon::Context;
use hbs::Config;
use model::{Sample, Series};
use testkit::eventually;
use wire::remote_write::{self, Limits};

use crate::hbs::{Hbs, NOW};

const SOON: Duration = Duration::from_secs(10);

type Written = Arc<Mutex<Vec<Series>>>;

/// A transfer that remembers what was written.
async fn transfer(context: &Context) -> (String, Written) {
    let written = Written::default();
    let taken = Arc::clone(&written);
    let take = move |body: Bytes| {
        let decoded =
            remote_write::decode(&body, Limits::default()).expect("hbs writes valid remote write");
        taken.lock().unwrap().extend(decoded.series);
        async {}
    };
    let routes = Router::new().route("/api/v1/write", post(take));
    let address = context.listen(([127, 0, 0, 1], 0).into(), routes).await.unwrap();
    (format!("http://{address}"), written)
}

fn ages(written: &Written, host: &str) -> Vec<Sample> {
    let written = written.lock().unwrap();
    let of_host = written.iter().filter(|series| {
        series.labels.metric_name() == "agent_heartbeat_age_seconds"
            && series.labels.get("endpoint") == Some(host)
    });
    of_host.flat_map(|series| series.samples.clone()).collect()
}

#[tokio::test]
async fn the_age_of_every_host_is_written_at_its_slots() {
    let outside = testkit::context_at(NOW);
    let (transfer_url, written) = transfer(&outside).await;
    let hbs = Hbs::start(Config { transfer_url, ..Config::default() }).await;
    hbs.beat("web-01").await;
    hbs.context.clock.advance(Duration::from_secs(10));
    eventually("the first slot is written", SOON, async || {
        (!ages(&written, "web-01").is_empty()).then_some(())
    })
    .await;
    hbs.context.clock.advance(Duration::from_secs(10));
    let both = eventually("the second slot is written", SOON, async || {
        Some(ages(&written, "web-01")).filter(|samples| samples.len() == 2)
    });
    let at = |seconds: u64| NOW.plus(Duration::from_secs(seconds));
    assert_eq!(
        both.await,
        [Sample { timestamp: at(10), value: 10.0 }, Sample { timestamp: at(20), value: 20.0 }]
    );
}

#[tokio::test]
async fn a_transfer_that_is_away_is_named_and_heartbeats_go_on() {
    let hbs =
        Hbs::start(Config { transfer_url: "http://127.0.0.1:1".into(), ..Config::default() }).await;
    hbs.beat("web-01").await;
    hbs.context.clock.advance(Duration::from_secs(10));
    let ready = eventually("readiness names transfer", SOON, async || {
        Some(hbs.get("/-/ready").await).filter(|text| text.contains("transfer"))
    });
    assert!(ready.await.contains("http://127.0.0.1:1/api/v1/write"));
    hbs.beat("web-02").await;
    assert!(hbs.get("/metrics").await.contains("hbs_age_export_failures_total 1"));
}
