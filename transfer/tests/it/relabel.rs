use transfer::{Action, RelabelRule};

use crate::service::{Service, answer};

#[tokio::test]
async fn rules_change_and_drop_series_of_every_format() {
    let service = Service::start(|config| {
        config.relabel = vec![
            RelabelRule {
                source_labels: vec!["host".into()],
                target_label: "endpoint".into(),
                regex: "(.+)".into(),
                ..RelabelRule::default()
            },
            RelabelRule {
                action: Action::LabelDrop,
                regex: "host".into(),
                ..RelabelRule::default()
            },
            RelabelRule {
                action: Action::Drop,
                source_labels: vec!["__name__".into()],
                regex: "go_.*".into(),
                ..RelabelRule::default()
            },
            RelabelRule {
                source_labels: vec!["__name__".into()],
                target_label: "__name__".into(),
                regex: "nameless".into(),
                replacement: String::new(),
                ..RelabelRule::default()
            },
        ];
    })
    .await;
    let lines = "cpu,host=a idle=1\ngo gc=1\n";
    assert_eq!(
        answer(service.post("/write").body(lines)).await.0,
        204,
        "a drop rule is no fault of the client"
    );
    let falcon = r#"[{"endpoint":"h","metric":"go.x","step":60,"value":1,"counterType":"GAUGE"}]"#;
    let (_, text) = answer(service.post("/api/push").body(falcon)).await;
    assert!(text.contains("\"Total\":1,\"Invalid\":0"), "{text}");
    assert_eq!(service.stored("cpu_idle").await[0].labels.to_string(), "cpu_idle{endpoint=\"a\"}");
    assert!(service.stored("go_gc").await.is_empty() && service.stored("go_x").await.is_empty());
    let (status, text) = answer(service.post("/api/v1/import/prometheus").body("nameless 1")).await;
    assert_eq!(
        (status.as_u16(), text.contains("1 relabel_nameless (such as nameless)")),
        (400, true),
        "{text}"
    );
    for (reason, count) in [("relabel_dropped", 2.0), ("relabel_nameless", 1.0)] {
        assert_eq!(
            service.metric("transfer_refused_samples_total", &[("reason", reason)]).await,
            count
        );
    }
}
