use serde_json::json;

use crate::service::Service;

#[tokio::test]
async fn series_are_listed_by_selector() {
    let service = Service::start(|_| {}).await;
    let both = [("match[]", "cpu_idle{endpoint=\"a\"}"), ("match[]", "net_in_bytes")];
    let expected = json!([
        { "__name__": "cpu_idle", "endpoint": "a" },
        { "__name__": "net_in_bytes", "endpoint": "a" },
    ]);
    assert_eq!(service.data("/api/v1/series", &both).await, expected);
    assert_eq!(service.post("/api/v1/series", &both).await.1["data"], expected);
    let before = [both[0], ("start", "1"), ("end", "2")];
    assert_eq!(service.data("/api/v1/series", &before).await, json!([]));
    let (status, kind, text) = service.error("/api/v1/series", &[]).await;
    assert_eq!(
        (status, kind.as_str(), text.as_str()),
        (400, "bad_data", "no match[] parameter provided")
    );
}

#[tokio::test]
async fn label_names_and_values_are_sorted() {
    let service = Service::start(|_| {}).await;
    assert_eq!(
        service.data("/api/v1/labels", &[]).await,
        json!(["__name__", "endpoint", "http.status"])
    );
    assert_eq!(
        service.data("/api/v1/labels", &[("match[]", "cpu_idle")]).await,
        json!(["__name__", "endpoint"])
    );
    let names = service.data("/api/v1/label/__name__/values", &[]).await;
    assert_eq!(names, json!(["cpu_idle", "net_in_bytes", "odd"]));
    let hosts = service.data("/api/v1/label/endpoint/values", &[("match[]", "net_in_bytes")]).await;
    assert_eq!(hosts, json!(["a"]));
    assert_eq!(service.data("/api/v1/label/nobody_has_it/values", &[]).await, json!([]));
}

#[tokio::test]
async fn a_label_name_outside_ascii_is_reached_by_its_escaped_form() {
    let service = Service::start(|_| {}).await;
    assert_eq!(
        service.data("/api/v1/label/U__http_2e_status/values", &[]).await,
        json!(["温\"度"])
    );
}

#[tokio::test]
async fn a_limit_cuts_lists_with_a_warning() {
    let service = Service::start(|_| {}).await;
    let (_, answer) = service.get("/api/v1/label/__name__/values", &[("limit", "2")]).await;
    assert_eq!(answer["data"], json!(["cpu_idle", "net_in_bytes"]));
    assert_eq!(answer["warnings"], json!(["results truncated due to limit"]));
    let (_, answer) = service.get("/api/v1/label/__name__/values", &[("limit", "3")]).await;
    assert_eq!(answer.get("warnings"), None);
}

#[tokio::test]
async fn metadata_is_told_by_metric() {
    let service = Service::start(|_| {}).await;
    let all = service.data("/api/v1/metadata", &[]).await;
    assert_eq!(
        all["cpu_idle"],
        json!([{ "type": "gauge", "help": "Idle time.", "unit": "percent" }])
    );
    assert_eq!(all["odd"][0]["type"], "unknown");
    let one = service.data("/api/v1/metadata", &[("metric", "odd"), ("limit", "5")]).await;
    assert_eq!(one.as_object().map(|found| found.len()), Some(1));
    assert_eq!(service.data("/api/v1/metadata", &[("metric", "nobody")]).await, json!({}));
    assert_eq!(service.error("/api/v1/metadata", &[("limit", "x")]).await.0, 400);
}
