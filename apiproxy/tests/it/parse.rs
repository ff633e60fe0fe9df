//! The tree of a query.

use crate::service::Service;

#[tokio::test]
async fn a_query_is_shown_as_a_tree() {
    let service = Service::start(|_| {}).await;
    let data = service
        .data("/api/v1/parse_query", &[("query", "sum by (a) (rate(x{b=~\"c\"}[5m]))")])
        .await;
    assert_eq!((&data["type"], &data["op"]), (&"aggregation".into(), &"sum".into()));
    let range = &data["expr"]["args"][0];
    assert_eq!((&range["type"], &range["range"]), (&"matrixSelector".into(), &300_000.into()));
    assert_eq!(range["matchers"][1]["type"], "=~");
}

#[tokio::test]
async fn a_query_that_does_not_parse_has_no_tree() {
    let service = Service::start(|_| {}).await;
    let (status, kind, text) = service.error("/api/v1/parse_query", &[("query", "sum(")]).await;
    assert_eq!((status, kind.as_str()), (400, "bad_data"));
    assert!(text.contains("1:5"), "{text}");
}
