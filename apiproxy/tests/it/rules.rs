use axum::extract::RawQuery;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::{Router, routing::get};
use serde_json::json;

use crate::service::{NOW, Service};

/// Stands in for judge: repeats what it was asked, and refuses `type=x` as judge does.
async fn answer(RawQuery(query): RawQuery) -> impl IntoResponse {
    let query = query.unwrap_or_default();
    let headers = [(header::CONTENT_TYPE, "application/json")];
    if query == "type=x" {
        let body =
            json!({ "status": "error", "errorType": "bad_data", "error": "invalid parameter" });
        return (StatusCode::BAD_REQUEST, headers, body.to_string());
    }
    let body = json!({ "status": "success", "data": { "groups": [], "asked": query } });
    (StatusCode::OK, headers, body.to_string())
}

#[tokio::test]
async fn rules_and_alerts_are_those_of_judge() {
    let context = testkit::context_at(NOW).for_role("judge");
    let routes =
        Router::new().route("/api/v1/rules", get(answer)).route("/api/v1/alerts", get(answer));
    let judge = context.listen(([127, 0, 0, 1], 0).into(), routes).await.expect("port 0 is free");
    let service = Service::start(|config| config.judge_url = format!("http://{judge}/")).await;

    let data = service.data("/api/v1/rules", &[("type", "alert"), ("rule_name[]", "A B")]).await;
    assert_eq!(data["asked"], "type=alert&rule_name%5B%5D=A+B");
    assert_eq!(service.data("/api/v1/alerts", &[]).await["asked"], "");
    let (status, kind, text) = service.error("/api/v1/rules", &[("type", "x")]).await;
    assert_eq!((status, kind.as_str(), text.as_str()), (400, "bad_data", "invalid parameter"));
    assert_eq!(
        service
            .metric("apiproxy_requests_total", &[("request", "rules"), ("result", "success")])
            .await,
        1.0
    );

    context.stop().await;
    let (status, kind, text) = service.error("/api/v1/rules", &[]).await;
    assert_eq!((status, kind.as_str()), (500, "unavailable"));
    assert!(text.starts_with(&format!("judge at http://{judge} (apiproxy.judge_url): ")), "{text}");
}

#[tokio::test]
async fn without_a_judge_the_setting_is_named() {
    let service = Service::start(|config| config.judge_url = String::new()).await;
    let (status, kind, text) = service.error("/api/v1/alerts", &[]).await;
    assert_eq!((status, kind.as_str()), (404, "not_found"));
    assert!(text.contains("apiproxy.judge_url"), "{text}");
}
