use model::Sample;

use crate::service::{NOW, Service, answer, series};

fn item(metric: &str, value: &str) -> String {
    format!(
        r#"{{"endpoint":"h","metric":"{metric}","timestamp":1760000460,"step":60,"value":{value},"counterType":"GAUGE","tags":"idc=bj"}}"#
    )
}

async fn push(service: &Service, body: String) -> (u16, String) {
    let (status, text) = answer(service.post("/api/push").body(body)).await;
    (status.as_u16(), text)
}

fn reply(total: usize, invalid: usize) -> String {
    format!(
        r#"{{"msg":"success","data":{{"Message":"ok","Total":{total},"Invalid":{invalid},"Latency":0}}}}"#
    )
}

fn without_latency(text: &str) -> String {
    let (start, rest) = text.split_once("\"Latency\":").expect("the reply has a latency");
    format!("{start}\"Latency\":0{}", rest.trim_start_matches(|c: char| c.is_ascii_digit()))
}

#[tokio::test]
async fn a_push_is_stored_under_its_canonical_name_with_its_metadata() {
    let service = Service::start(|_| {}).await;
    let body = format!("[{},{}]", item("cpu.idle", "\"97.5\""), item("cpu.idle", "\"\""));
    let (status, text) = push(&service, body).await;
    assert_eq!((status, without_latency(&text)), (200, reply(2, 1)));
    let expected = series(
        &[("__name__", "cpu_idle"), ("endpoint", "h"), ("idc", "bj")],
        &[(NOW.millis(), 97.5)],
    );
    assert_eq!(service.stored("cpu_idle").await, [expected]);
    let metadata = service.storage.reader().metadata(Some("cpu_idle"), 0).await.unwrap();
    assert_eq!(wire::falcon_json::original_name(&metadata[0].1.help), Some("cpu.idle"));
    assert_eq!(service.metric("transfer_refused_samples_total", &[("reason", "value")]).await, 1.0);
    assert_eq!(
        service.metric("transfer_received_samples_total", &[("protocol", "falcon")]).await,
        2.0
    );
}

#[tokio::test]
async fn the_second_original_of_a_canonical_name_is_refused_also_after_a_restart() {
    let first = Service::start(|_| {}).await;
    assert_eq!(push(&first, format!("[{}]", item("cpu.idle", "1"))).await.0, 200);
    let (_, text) = push(&first, format!("[{}]", item("cpu-idle", "2"))).await;
    assert_eq!(without_latency(&text), reply(1, 1));

    let restarted = Service::over(first.storage.clone(), |_| {}).await;
    let body = format!("[{},{}]", item("cpu-idle", "3"), item("cpu.idle", "1"));
    let (_, text) = push(&restarted, body).await;
    assert_eq!(without_latency(&text), reply(2, 1));
    assert_eq!(restarted.stored("cpu_idle").await[0].samples, [Sample::new(NOW.millis(), 1.0)]);
    assert_eq!(
        restarted.metric("transfer_refused_samples_total", &[("reason", "name_collision")]).await,
        1.0
    );
    assert_eq!(restarted.metric("transfer_falcon_names", &[]).await, 1.0);
}

#[tokio::test]
async fn bodies_that_are_no_list_get_the_originals_words() {
    let service = Service::start(|_| {}).await;
    assert_eq!(push(&service, String::new()).await, (400, "blank body\n".into()));
    for body in ["{}", "[{]", "[", "\u{0}"] {
        assert_eq!(push(&service, body.into()).await, (400, "decode error\n".into()), "{body}");
    }
    assert_eq!(without_latency(&push(&service, "[]".into()).await.1), reply(0, 0));
    assert_eq!(without_latency(&push(&service, "[1,null]".into()).await.1), reply(2, 2));
}

#[tokio::test]
async fn a_label_beyond_its_limit_is_refused_by_name() {
    let service = Service::start(|config| config.label_value_bytes_max = 10).await;
    let body = format!("[{},{}]", item(&"x".repeat(11), "1"), item("short", "1"));
    assert_eq!(without_latency(&push(&service, body).await.1), reply(2, 1));
    let refused = service
        .metric("transfer_refused_samples_total", &[("reason", "label_value_too_long")])
        .await;
    assert_eq!(refused, 1.0);
}

#[tokio::test]
async fn health_is_what_falcon_clients_expect() {
    assert_eq!(Service::start(|_| {}).await.get("/health").await, "ok\n");
}

#[tokio::test]
async fn a_verbose_reply_says_why() {
    let service = Service::start(|_| {}).await;
    let body = format!("[{},7]", item("m", "1"));
    let (status, text) = answer(service.post("/api/push?verbose=1").body(body)).await;
    assert_eq!(status, 200);
    let refused =
        r#""refused":[{"example":"item 1 of the list","reason":"not_an_object","samples":1}]}"#;
    assert!(text.ends_with(refused) && text.contains("\"Total\":2,\"Invalid\":1"), "{text}");
}
