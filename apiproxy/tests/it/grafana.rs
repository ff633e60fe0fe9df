use serde_json::json;

use crate::service::{NOW, Service};

/// What Grafana's Prometheus data source does from "Save & test" to the first panel.
#[tokio::test]
async fn grafanas_data_source_finds_everything_it_asks_for() {
    let service = Service::start(|_| {}).await;
    let (status, health) =
        service.post("/api/v1/query", &[("query", "1+1"), ("time", "1760000460")]).await;
    assert_eq!((status.as_u16(), &health["data"]["result"][1]), (200, &json!("2")));

    let about = service.data("/api/v1/status/buildinfo", &[]).await;
    assert!(about["version"].as_str().is_some_and(|version| version.starts_with("3.")), "{about}");
    assert_eq!(about.get("features"), None, "features would make Grafana look for a ruler");

    let (start, end) = ((NOW.seconds() - 3600).to_string(), NOW.seconds().to_string());
    let span = [("start", start.as_str()), ("end", end.as_str()), ("limit", "40000")];
    let names = service.data("/api/v1/label/__name__/values", &span).await;
    assert!(names.as_array().is_some_and(|names| names.contains(&json!("cpu_idle"))));
    let selector = [span[0], span[1], span[2], ("match[]", "{__name__=\"cpu_idle\"}")];
    assert_eq!(
        service.post("/api/v1/labels", &selector).await.1["data"],
        json!(["__name__", "endpoint"])
    );
    assert_eq!(
        service.post("/api/v1/series", &selector).await.1["data"].as_array().map(Vec::len),
        Some(2)
    );
    assert!(service.data("/api/v1/metadata", &[]).await.is_object());

    let panel = [
        ("query", "avg(cpu_idle)"),
        ("start", &start),
        ("end", &end),
        ("step", "15"),
        ("timeout", "60s"),
    ];
    let (status, answer) = service.post("/api/v1/query_range", &panel).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["data"]["result"][0]["values"].as_array().map(Vec::len), Some(241));
}

/// Grafana posts to this path first, and falls back to GET on exactly this answer.
#[tokio::test]
async fn posting_for_label_values_is_405() {
    let service = Service::start(|_| {}).await;
    let url = service.url("/api/v1/label/job/values");
    assert_eq!(service.context.http.post(url).send().await.expect("it answers").status(), 405);
}
