//! Answers to range queries that are kept, as clients and `/metrics` see it.

use std::time::Duration;

use serde_json::Value;

use crate::service::{NOW, Service};

async fn ask(service: &Service, expr: &str, back: (i64, i64), more: &[(&str, &str)]) -> Value {
    let (start, end) = (NOW.seconds() - back.0, NOW.seconds() - back.1);
    let (start, end) = (start.to_string(), end.to_string());
    let times = [("query", expr), ("start", &*start), ("end", &*end), ("step", "60")];
    service.data("/api/v1/query_range", &[&times, more].concat()).await
}

async fn count(service: &Service, result: &str) -> f64 {
    service.metric("apiproxy_cache_requests_total", &[("result", result)]).await
}

#[tokio::test]
async fn a_range_that_is_asked_for_again_is_kept_and_counted() {
    let service = Service::start(|config| config.cache_fresh = Duration::from_secs(300)).await;
    let first = ask(&service, "sum(cpu_idle)", (3_600, 0), &[]).await;
    assert_eq!(first["result"][0]["values"].as_array().map(Vec::len), Some(61));
    assert_eq!((count(&service, "miss").await, count(&service, "hit").await), (1.0, 0.0));
    assert_eq!(ask(&service, "sum(cpu_idle)", (3_600, 0), &[]).await, first);
    assert_eq!((count(&service, "miss").await, count(&service, "hit").await), (1.0, 1.0));
    let wider = ask(&service, "sum(cpu_idle)", (3_660, 600), &[]).await;
    assert_eq!(wider["result"][0]["values"].as_array().map(Vec::len), Some(51));
    assert_eq!(count(&service, "part").await, 1.0);
    ask(&service, "sum(cpu_idle @ end())", (3_600, 600), &[]).await;
    assert_eq!(count(&service, "unfit").await, 1.0);
    let held = service.metric("apiproxy_cache_bytes", &[]).await;
    assert!((100.0..10_000.0).contains(&held), "{held}");
}

#[tokio::test]
async fn who_wants_no_kept_answer_gets_none() {
    let service = Service::start(|config| config.cache_fresh = Duration::from_secs(300)).await;
    for _ in 0..2 {
        ask(&service, "sum(cpu_idle)", (3_600, 0), &[("nocache", "1")]).await;
    }
    for result in ["miss", "hit", "part", "unfit"] {
        assert_eq!(count(&service, result).await, 0.0, "{result}");
    }
    let service = Service::start(|config| config.cache_bytes_max = 0).await;
    ask(&service, "sum(cpu_idle)", (7_200, 3_600), &[]).await;
    assert_eq!(count(&service, "miss").await + count(&service, "unfit").await, 0.0);
}

#[tokio::test]
async fn the_limit_of_a_question_cuts_kept_answers_too() {
    let service = Service::start(|config| config.cache_fresh = Duration::from_secs(300)).await;
    for limit in ["0", "1", "2"] {
        let found = ask(&service, "cpu_idle", (3_600, 0), &[("limit", limit)]).await;
        let series = found["result"].as_array().map(Vec::len);
        assert_eq!(series, Some(if limit == "1" { 1 } else { 2 }), "{limit}");
    }
}
