//! What somebody sees who misses data.

use std::time::Duration;

use serde_json::{Value, json};

use crate::service::{Service, answer};

async fn get(service: &Service, path: &str) -> Value {
    serde_json::from_str(&service.get(path).await).expect("it is JSON")
}

fn item(endpoint: &str, metric: &str, timestamp: i64, value: f64) -> String {
    format!(
        r#"{{"endpoint":"{endpoint}","metric":"{metric}","timestamp":{timestamp},"step":60,"value":{value},"counterType":"GAUGE"}}"#
    )
}

async fn push(service: &Service, items: &[String]) -> String {
    answer(service.post("/api/push").body(format!("[{}]", items.join(",")))).await.1
}

#[tokio::test]
async fn a_trace_shows_what_became_of_the_samples_from_the_question_on() {
    let service = Service::start(|_| {}).await;
    let at = 1_760_000_460;
    push(&service, &[item("a", "cpu.idle", at - 60, 1.0)]).await;
    let path = "/trace?endpoint=a&metric=cpu.idle";
    let first = get(&service, path).await;
    assert_eq!(first["passed"], json!([]), "nobody had asked yet");
    assert_eq!(first["watched_until"], "2025-10-09T09:06:00.000Z");

    let reply = push(
        &service,
        &[
            item("a", "cpu.idle", at, 2.0),
            item("b", "cpu.idle", at, 3.0),
            item("a", "cpu.idle", at + 6000, 4.0),
        ],
    )
    .await;
    assert!(reply.contains("\"Total\":3,\"Invalid\":1"), "{reply}");
    push(&service, &[item("a", "cpu.idle", at, 9.0), item("a", "cpu-idle", at, 9.0)]).await;
    let series = "cpu_idle{endpoint=\"a\"}";
    let seen = get(&service, path).await;
    let passed = seen["passed"].as_array().expect("it is a list");
    let outcomes: Vec<&str> = passed.iter().filter_map(|one| one["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["stored", "1 too_far_in_future", "1 duplicate", "1 name_collision"]);
    let expected = json!({
        "received": "2025-10-09T09:01:00.000Z", "protocol": "falcon", "series": series,
        "samples": [["2025-10-09T09:01:00.000Z", "2"]], "outcome": "stored",
    });
    assert_eq!(passed[0], expected);
    assert_eq!(
        service.metric("transfer_received_samples_total", &[("protocol", "falcon")]).await,
        6.0
    );
    assert_eq!(
        service.stored("cpu_idle").await.len(),
        2,
        "the sample of the other host went its way"
    );

    service.context.clock.advance(Duration::from_secs(301));
    push(&service, &[item("a", "cpu.idle", at + 300, 5.0)]).await;
    assert_eq!(get(&service, path).await["passed"], json!([]), "the interest had ended");
}

#[tokio::test]
async fn a_trace_needs_something_to_look_for() {
    let service = Service::start(|_| {}).await;
    let url = format!("http://{}/trace?endpoint=", service.address());
    let (status, text) = answer(service.context.http.get(url)).await;
    assert_eq!(status, 400);
    assert!(text.starts_with("say which series: /trace?endpoint=HOST&metric=NAME"), "{text}");
}

#[tokio::test]
async fn counters_have_the_originals_names_and_shape() {
    let service = Service::start(|_| {}).await;
    push(&service, &[item("a", "m", 0, 1.0), "7".to_owned()]).await;
    service.context.clock.advance(Duration::from_secs(2));
    let seen = get(&service, "/counter/all").await;
    assert_eq!(seen["msg"], "success");
    let expected = json!({ "Name": "RecvCnt", "Cnt": 2, "Qps": 1, "Time": "2025-10-09 09:01:02", "Other": {} });
    assert_eq!(seen["data"][0], expected);
    let of = |name: &str| {
        let data = seen["data"].as_array().expect("it is a list");
        data.iter().find(|one| one["Name"] == name).map(|one| one["Cnt"].clone())
    };
    let values = ["HttpRecvCnt", "RpcRecvCnt", "SendToTsdbCnt", "RefusedCnt"].map(of);
    assert_eq!(values, [Some(json!(2)), Some(json!(0)), Some(json!(1)), Some(json!(1))]);
    assert_eq!(get(&service, "/statistics/all").await["data"][0]["Cnt"], 2);
}

#[tokio::test]
async fn endpoints_are_counted_and_limited_one_by_one() {
    let service = Service::start(|config| {
        config.endpoint_samples_per_second_max = 1;
        config.endpoint_series_max = 2;
    })
    .await;
    let many: Vec<String> = (0..61).map(|at| item("busy", "m", 1_760_000_400 - at, 1.0)).collect();
    let reply = push(&service, &many).await;
    assert!(reply.contains("\"Total\":61,\"Invalid\":1"), "a minute of the rate at once: {reply}");
    let reply = push(
        &service,
        &[item("calm", "x", 0, 1.0), item("calm", "y", 0, 1.0), item("calm", "z", 0, 1.0)],
    )
    .await;
    assert!(reply.contains("\"Total\":3,\"Invalid\":1"), "{reply}");
    let seen = get(&service, "/endpoints?limit=1").await;
    let expected = json!({
        "endpoint": "busy", "samples": 61, "limited": 1, "last": "2025-10-09T09:01:00.000Z", "protocol": "falcon",
    });
    assert_eq!(seen, json!({ "known": 2, "endpoints": [expected] }));
    for reason in ["endpoint_rate", "endpoint_series"] {
        assert_eq!(
            service.metric("transfer_refused_samples_total", &[("reason", reason)]).await,
            1.0
        );
    }
}
