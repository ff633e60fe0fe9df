use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::service::{NOW, Service};

#[tokio::test]
async fn an_instant_query_answers_as_prometheus_does() {
    let service = Service::start(|_| {}).await;
    let data = service.data("/api/v1/query", &[("query", "cpu_idle")]).await;
    assert_eq!(data["resultType"], "vector");
    let mut result = data["result"].as_array().expect("it is a list").to_owned();
    result.sort_by_key(|one| one["metric"]["endpoint"].to_string());
    let expected = |host: &str, value: &str| json!({ "metric": { "__name__": "cpu_idle", "endpoint": host }, "value": [1_760_000_460, value] });
    assert_eq!(result, [expected("a", "90"), expected("b", "0.30000000000000004")]);
    let data = service.data("/api/v1/query", &[("query", "odd")]).await;
    assert_eq!(data["result"][0]["value"], json!([1_760_000_460, "NaN"]));
    assert_eq!(data["result"][0]["metric"]["http.status"], "温\"度");
}

#[tokio::test]
async fn results_of_every_type_have_their_shape() {
    let service = Service::start(|_| {}).await;
    let result = async |query: &str| {
        service.data("/api/v1/query", &[("query", query), ("time", "1.5")]).await
    };
    assert_eq!(result("1/0").await, json!({ "resultType": "scalar", "result": [1.5, "+Inf"] }));
    assert_eq!(result("\"x\"").await, json!({ "resultType": "string", "result": [1.5, "x"] }));
    assert_eq!(result("cpu_idle").await, json!({ "resultType": "vector", "result": [] }));
    let range = [("query", "net_in_bytes[25s]")];
    let data = service.data("/api/v1/query", &range).await;
    assert_eq!(data["resultType"], "matrix");
    assert_eq!(data["result"][0]["values"][1], json!([1_760_000_450, "35900"]));
}

#[tokio::test]
async fn a_range_query_gives_a_point_a_step() {
    let service = Service::start(|_| {}).await;
    let pairs = [
        ("query", "rate(net_in_bytes[1m])"),
        ("start", "1760000160.000"),
        ("end", "2025-10-09T09:01:00Z"),
        ("step", "60"),
    ];
    for (status, answer) in [
        service.get("/api/v1/query_range", &pairs).await,
        service.post("/api/v1/query_range", &pairs).await,
    ] {
        assert_eq!(status, 200, "{answer}");
        let data = &answer["data"];
        assert_eq!(data["resultType"], "matrix");
        let values = data["result"][0]["values"].as_array().expect("it is a list");
        assert_eq!(values.len(), 6);
        assert_eq!(values[5], json!([NOW.seconds(), "10"]));
    }
}

#[tokio::test]
async fn a_form_goes_before_the_url() {
    let service = Service::start(|_| {}).await;
    let (_, answer) = service.post("/api/v1/query?query=1&time=5", &[("query", "2")]).await;
    assert_eq!(answer["data"]["result"], json!([5, "2"]));
}

#[tokio::test]
async fn wrong_parameters_are_bad_data_in_prometheus_words() {
    let service = Service::start(|_| {}).await;
    let range =
        |start, end, step| [("query", "up"), ("start", start), ("end", end), ("step", step)];
    let check = async |path: &str, pairs: &[(&str, &str)], words: &str| {
        let (status, kind, text) = service.error(path, pairs).await;
        assert_eq!((status, kind.as_str()), (400, "bad_data"), "{text}");
        assert!(text.contains(words), "{text}");
    };
    check("/api/v1/query", &[], "invalid parameter \"query\": ").await;
    check("/api/v1/query", &[("query", "up{")], "parse error").await;
    check(
        "/api/v1/query",
        &[("query", "up"), ("time", "x")],
        "invalid parameter \"time\": cannot parse \"x\"",
    )
    .await;
    check("/api/v1/query", &[("query", "up"), ("timeout", "0")], "invalid parameter \"timeout\": ")
        .await;
    check(
        "/api/v1/query_range",
        &range("9", "8", "1"),
        "end timestamp must not be before start time",
    )
    .await;
    check(
        "/api/v1/query_range",
        &range("1", "8", "-1"),
        "zero or negative query resolution step widths",
    )
    .await;
    check("/api/v1/query_range", &range("", "8", "1"), "invalid parameter \"start\": ").await;
    let words = "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution";
    check("/api/v1/query_range", &range("0", "11001", "1"), words).await;
    let matrix = [("query", "up[5m]"), ("start", "1"), ("end", "2"), ("step", "1")];
    check("/api/v1/query_range", &matrix, "invalid parameter \"query\": invalid expression type")
        .await;
    let allowed = service.data("/api/v1/query_range", &range("0", "11000", "1")).await;
    assert_eq!(allowed["result"], json!([]));
}

#[tokio::test]
async fn a_query_that_fails_while_it_runs_is_422() {
    let service = Service::start(|config| config.samples_max = 100).await;
    let (status, kind, text) =
        service.error("/api/v1/query", &[("query", "sum_over_time(cpu_idle[1h])")]).await;
    assert_eq!((status, kind.as_str()), (422, "execution"));
    assert!(text.contains("too many samples"), "{text}");
    let many_to_many = [("query", "cpu_idle + on() cpu_idle"), ("time", "1760000460")];
    assert_eq!(service.error("/api/v1/query", &many_to_many).await.0, 422);
    assert_eq!(
        service
            .metric("apiproxy_requests_total", &[("request", "query"), ("result", "execution")])
            .await,
        2.0
    );
}

#[tokio::test]
async fn a_limit_cuts_the_answer_with_a_warning() {
    let service = Service::start(|_| {}).await;
    let (_, answer) = service.get("/api/v1/query", &[("query", "cpu_idle"), ("limit", "1")]).await;
    assert_eq!(answer["data"]["result"].as_array().map(Vec::len), Some(1));
    assert_eq!(answer["warnings"], json!(["results truncated due to limit"]));
}

#[tokio::test]
async fn the_lookback_can_be_asked_for() {
    let service = Service::start(|_| {}).await;
    let later = (NOW.seconds() + 120).to_string();
    let pairs = [("query", "count(cpu_idle)"), ("time", later.as_str())];
    assert_eq!(service.data("/api/v1/query", &pairs).await["result"][0]["value"][1], "2");
    let short = [pairs[0], pairs[1], ("lookback_delta", "1m")];
    assert_eq!(service.data("/api/v1/query", &short).await["result"], json!([]));
}

#[tokio::test]
async fn a_query_without_a_turn_times_out_and_names_the_limit() {
    let service = Service::start(|config| config.queries_in_flight_max = 1).await;
    // Millions of steps of a nested subquery: it does not end by itself within the test.
    let slow = "max_over_time(sum(rate(net_in_bytes[1h]))[1h:1ms])%2bmax_over_time(sum(rate(net_in_bytes[1h]))[1h:1ms])";
    let head = format!("GET /api/v1/query?query={slow} HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut stream = TcpStream::connect(service.address()).await.expect("it listens");
    stream.write_all(head.as_bytes()).await.expect("it reads");
    testkit::eventually("the slow query runs", Duration::from_secs(5), async || {
        (service.metric("apiproxy_queries_in_flight", &[]).await == 1.0).then_some(())
    })
    .await;

    let (status, kind, text) =
        service.error("/api/v1/query", &[("query", "1"), ("timeout", "10ms")]).await;
    assert_eq!((status, kind.as_str()), (503, "timeout"));
    assert!(text.contains("apiproxy.queries_in_flight_max"), "{text}");

    drop(stream);
    testkit::eventually(
        "a client that leaves frees its turn",
        Duration::from_secs(10),
        async || (service.metric("apiproxy_queries_in_flight", &[]).await == 0.0).then_some(()),
    )
    .await;
    assert_eq!(service.data("/api/v1/query", &[("query", "1")]).await["resultType"], "scalar");
}

#[tokio::test]
async fn a_query_that_takes_too_long_is_a_timeout() {
    let service = Service::start(|_| {}).await;
    let slow = "max_over_time(sum(rate(net_in_bytes[1h]))[1h:1ms])";
    let (status, kind, text) =
        service.error("/api/v1/query", &[("query", slow), ("timeout", "20ms")]).await;
    assert_eq!((status, kind.as_str()), (503, "timeout"));
    assert!(text.starts_with("query timed out in query execution"), "{text}");
}

#[tokio::test]
async fn a_query_is_written_in_one_form() {
    let service = Service::start(|_| {}).await;
    let data = service
        .data("/api/v1/format_query", &[("query", "sum  by(endpoint)( rate( a [5m] ) )")])
        .await;
    assert_eq!(data, "sum by (endpoint) (rate(a[5m]))");
    assert_eq!(service.error("/api/v1/format_query", &[("query", "sum(")]).await.0, 400);
}
