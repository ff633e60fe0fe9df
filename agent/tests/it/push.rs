//! Local programs push samples as they always did.

use reqwest::StatusCode;

use crate::tiers::{Agent, START};

async fn post(agent: &Agent, query: &str, body: &str) -> (StatusCode, String) {
    let url = format!("{}/v1/push{query}", agent.url);
    let response = agent.ctx.http.post(url).body(body.to_owned()).send().await.unwrap();
    (response.status(), response.text().await.unwrap())
}

const GOOD: &str = r#"{"endpoint":"pay-api-03","metric":"order.latency.p99","timestamp":1760000000,"step":60,
    "value":83.5,"counterType":"GAUGE","tags":"idc=bj,api=/checkout"}"#;
const NO_STEP: &str =
    r#"{"endpoint":"pay-api-03","metric":"m","value":1,"counterType":"GAUGE","tags":""}"#;

#[tokio::test]
async fn answers_are_the_originals_to_the_byte() {
    let agent = Agent::start(|_| {}).await;
    let get = agent.ctx.http.get(format!("{}/v1/push", agent.url)).send().await.unwrap();
    assert_eq!(
        (get.status(), get.text().await.unwrap().as_str()),
        (StatusCode::BAD_REQUEST, "body is blank\n")
    );
    for (body, status, text) in [
        (format!("[{GOOD}]").as_str(), StatusCode::OK, "success"),
        (format!("[{NO_STEP}]").as_str(), StatusCode::OK, "success"),
        ("[]", StatusCode::OK, "success"),
        (GOOD, StatusCode::BAD_REQUEST, "connot decode body\n"),
        ("[{", StatusCode::BAD_REQUEST, "connot decode body\n"),
        ("", StatusCode::BAD_REQUEST, "body is blank\n"),
    ] {
        assert_eq!(post(&agent, "", body).await, (status, text.to_owned()), "{body}");
    }
    agent.ctx.stop().await;
}

#[tokio::test]
async fn one_bad_sample_costs_only_itself_and_has_a_reason_on_request() {
    let agent = Agent::start(|_| {}).await;
    let not_finite = GOOD.replace("83.5", "\"NaN\"");
    let body = format!("[{NO_STEP},{GOOD},{not_finite},7]");
    let (status, text) = post(&agent, "?verbose=1", &body).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&text).unwrap(),
        serde_json::json!({ "msg": "success", "total": 4, "accepted": 1, "refused": [
            { "index": 0, "reason": "step" },
            { "index": 2, "reason": "value" },
            { "index": 3, "reason": "not_an_object" },
        ]})
    );
    let taken = agent.neighbour.has_taken(1).await;
    let series = &taken[0].series[0];
    assert_eq!(
        series.labels.to_string(),
        r#"order_latency_p99{api="/checkout", endpoint="pay-api-03", idc="bj"}"#
    );
    assert_eq!(
        (series.samples[0].timestamp.seconds(), series.samples[0].value),
        (1_760_000_000, 83.5)
    );
    assert_eq!(
        wire::falcon_json::original_name(&taken[0].metadata[0].1.help),
        Some("order.latency.p99")
    );
    agent.ctx.stop().await;
}

async fn post_text(agent: &Agent, path: &str, kind: &str, body: &str) -> (StatusCode, String) {
    let url = format!("{}{path}", agent.url);
    let request = agent.ctx.http.post(url).header("content-type", kind).body(body.to_owned());
    let response = request.send().await.unwrap();
    (response.status(), response.text().await.unwrap())
}

#[tokio::test]
async fn prometheus_text_is_taken_by_its_path_or_by_its_content_type() {
    let agent = Agent::start(|config| {
        config.endpoint = Some("h".into());
        config.labels.insert("idc".into(), "bj".into());
    })
    .await;
    let text = "# TYPE jobs_total counter\njobs_total{queue=\"a\"} 3\n";
    let (status, told) = post_text(&agent, "/v1/push/prometheus", "text/plain", text).await;
    assert_eq!((status, told.as_str()), (StatusCode::OK, "success"));
    let kind = "text/plain; version=0.0.4";
    let (_, told) = post_text(&agent, "/v1/push?verbose=1", kind, "other 4 5000\nbad\n").await;
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&told).unwrap(),
        serde_json::json!({ "msg": "success", "total": 2, "accepted": 1, "refused": [
            { "line": 2, "reason": "a sample is a name, labels in braces if any, and a value" },
        ]})
    );
    let (status, told) = post_text(&agent, "/v1/push/prometheus", "text/plain", "bad\n").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(told.starts_with("line 1: "), "{told}");
    let taken = agent.neighbour.has_taken(2).await;
    let all: Vec<_> = taken.iter().flat_map(|request| &request.series).collect();
    let find = |name: &str| *all.iter().find(|one| one.labels.metric_name() == name).unwrap();
    assert_eq!(
        find("jobs_total").labels.to_string(),
        r#"jobs_total{endpoint="h", idc="bj", queue="a"}"#
    );
    assert_eq!(find("jobs_total").samples[0].timestamp, START);
    assert_eq!(find("other").samples[0].timestamp.millis(), 5000);
    agent.ctx.stop().await;
}

#[tokio::test]
async fn a_sample_without_a_time_gets_the_time_of_its_arrival() {
    let agent = Agent::start(|_| {}).await;
    post(&agent, "", &format!("[{}]", GOOD.replace("1760000000", "0"))).await;
    let taken = agent.neighbour.has_taken(1).await;
    assert_eq!(taken[0].series[0].samples[0].timestamp.seconds(), START.seconds());
    agent.ctx.stop().await;
}

#[tokio::test]
async fn limits_of_a_push_are_told() {
    let agent = Agent::start(|config| {
        config.push.samples_max = 2;
        config.push.body_bytes_max = 2000;
    })
    .await;
    let (status, text) = post(&agent, "", "[1,2,3]").await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(text.contains("more than 2 samples"), "{text}");
    let (status, _) = post(&agent, "", &format!("[{}]", " ".repeat(3000))).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    agent.ctx.stop().await;
}

/// The replies of `reference/open-falcon.md` 1.2, with what travels beside the bytes.
#[tokio::test]
async fn line_1_2_replies_to_whatever_a_program_may_push() {
    let agent = Agent::start(|_| {}).await;
    agent.neighbour.answer(503);
    let every_sample_is_invalid = format!("[{}]", GOOD.replace("GAUGE", "gauge"));
    for (body, status, text) in [
        // Transfer is down, and the client never learns it.
        (format!("[{GOOD}]").as_str(), 200, "success"),
        (every_sample_is_invalid.as_str(), 200, "success"),
        ("[null, 7, {}]", 200, "success"),
        ("null", 200, "success"),
        (" [ ] \n", 200, "success"),
        ("\"x\"", 400, "connot decode body\n"),
        ("[1] [2]", 400, "connot decode body\n"),
        ("endpoint=a", 400, "connot decode body\n"),
        ("", 400, "body is blank\n"),
    ] {
        let url = format!("{}/v1/push", agent.url);
        let response = agent.ctx.http.post(url).body(body.to_owned()).send().await.unwrap();
        let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
        assert_eq!(content_type, "text/plain; charset=utf-8", "{body}");
        assert_eq!(
            (response.status().as_u16(), response.text().await.unwrap().as_str()),
            (status, text),
            "{body}"
        );
    }
    agent.ctx.stop().await;
}

#[tokio::test]
async fn line_1_2_keys_match_without_regard_to_case_and_a_value_may_be_a_text() {
    let agent = Agent::start(|_| {}).await;
    let body = r#"[{"Endpoint":"h","METRIC":"qps","Value":"7","sTEP":60,"countertype":"COUNTER",
        "TAGS":"a = 1","TimeStamp":1760000000}]"#;
    assert_eq!(post(&agent, "", body).await, (StatusCode::OK, "success".to_owned()));
    let taken = agent.neighbour.has_taken(1).await;
    let series = &taken[0].series[0];
    assert_eq!(series.labels.to_string(), r#"qps{a="1", endpoint="h"}"#);
    assert_eq!(series.samples[0].value, 7.0);
    agent.ctx.stop().await;
}
