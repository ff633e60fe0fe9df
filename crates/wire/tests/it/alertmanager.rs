use model::Timestamp;
use wire::alert::{RESOLVE_TIMEOUT, decode};

const NOW: Timestamp = Timestamp::from_seconds(1_760_000_460);

#[test]
fn what_prometheus_posts_is_taken() {
    let body = br#"[{
        "annotations": {"summary": "host a is silent"},
        "endsAt": "2025-10-09T09:05:00.123456789Z",
        "startsAt": "2025-10-09T09:00:00.123456789Z",
        "generatorURL": "http://prometheus:9090/graph?g0.expr=up+%3D%3D+0&g0.tab=1",
        "labels": {"alertname": "HostSilent", "endpoint": "a", "severity": "critical"}
    }]"#;
    let alert = decode(body).expect("it is a list").remove(0).expect("it is an alert");
    let accepted = alert.accept(NOW, RESOLVE_TIMEOUT).expect("it is whole");
    assert!(!accepted.end_is_timeout);
    assert_eq!(accepted.alert.starts_at, Timestamp(1_760_000_400_123));
    assert!(!accepted.alert.is_resolved_at(NOW));
    assert_eq!(
        accepted.alert.labels.to_string(),
        r#"{alertname="HostSilent", endpoint="a", severity="critical"}"#
    );
}

#[test]
fn what_amtool_posts_is_taken() {
    let body = br#"[{"startsAt":"0001-01-01T00:00:00.000Z","endsAt":"0001-01-01T00:00:00.000Z",
        "annotations":{},"labels":{"alertname":"test"}}]"#;
    let alert = decode(body).expect("it is a list").remove(0).expect("it is an alert");
    let accepted = alert.accept(NOW, RESOLVE_TIMEOUT).expect("it is whole");
    assert!(accepted.end_is_timeout);
    assert_eq!(accepted.alert.ends_at, NOW.plus(RESOLVE_TIMEOUT));
}
