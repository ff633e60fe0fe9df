use model::{Metadata, MetricKind, Sample};
use wire::remote_write::{CONTENT_TYPE, encode};

use crate::service::{NOW, Service, answer, series};

fn write(service: &Service, body: Vec<u8>) -> reqwest::RequestBuilder {
    let request = service.post("/api/v1/write").header("content-type", CONTENT_TYPE);
    request.header("content-encoding", "snappy").body(body)
}

#[tokio::test]
async fn a_sample_is_stored_when_the_client_is_answered() {
    let service = Service::start(|_| {}).await;
    let sent = [series(&[("__name__", "cpu_idle"), ("endpoint", "a")], &[(NOW.millis(), 97.5)])];
    let about = Metadata { kind: MetricKind::Gauge, help: "Idle.".into(), unit: "percent".into() };
    let body = encode(&sent, &[("cpu_idle".to_owned(), about.clone())]);
    assert_eq!(answer(write(&service, body)).await, (204.try_into().unwrap(), String::new()));
    assert_eq!(service.stored("cpu_idle").await, sent);
    let metadata = service.storage.reader().metadata(Some("cpu_idle"), 0).await.unwrap();
    assert_eq!(metadata, [("cpu_idle".to_owned(), about)]);
    assert_eq!(service.metric("transfer_received_samples_total", &[("protocol", "remote_write")]).await, 1.0);
    assert_eq!(service.metric("transfer_stored_samples_total", &[]).await, 1.0);
    assert_eq!(service.metric("transfer_store_series", &[]).await, 1.0);
}

#[tokio::test]
async fn a_malformed_series_is_dropped_and_counted_and_the_rest_is_stored() {
    let service = Service::start(|_| {}).await;
    let now = NOW.millis();
    let sent = [series(&[("job", "nameless")], &[(now, 1.0)]), series(&[("__name__", "up")], &[(now, 1.0)])];
    assert_eq!(answer(write(&service, encode(&sent, &[]))).await.0, 204);
    assert_eq!(service.stored("up").await.len(), 1);
    let refused = service.metric("transfer_refused_samples_total", &[("reason", "no_metric_name")]).await;
    assert_eq!(refused, 1.0);
}

#[tokio::test]
async fn samples_at_the_wrong_time_make_a_400_that_says_what_is_stored() {
    let service = Service::start(|_| {}).await;
    let now = NOW.millis();
    let sent = [series(&[("__name__", "up")], &[(now, 1.0), (now + 3_600_000, 1.0)])];
    let (status, text) = answer(write(&service, encode(&sent, &[]))).await;
    assert_eq!(status, 400);
    assert_eq!(text, "1 of 2 samples are stored, refused: 1 too_far_in_future (such as up)\n");
    assert_eq!(service.stored("up").await[0].samples, [Sample::new(now, 1.0)]);
}

#[tokio::test]
async fn a_repeated_request_is_a_success() {
    let service = Service::start(|_| {}).await;
    let body = encode(&[series(&[("__name__", "up")], &[(NOW.millis(), 1.0)])], &[]);
    for _ in 0..2 {
        assert_eq!(answer(write(&service, body.clone())).await.0, 204);
    }
    assert_eq!(service.stored("up").await[0].samples.len(), 1);
}

#[tokio::test]
async fn hostile_bodies_get_a_clear_answer() {
    let service = Service::start(|config| config.message_bytes_max = 16 << 20).await;
    let bomb = snap_bomb(17 << 20);
    for (body, status, words) in [
        (Vec::new(), 400, "not a snappy block"),
        (b"not snappy".to_vec(), 400, "not a snappy block"),
        (
            encode_raw(b"\x0a\xff\xff\xff\x7f"),
            400,
            "not a prometheus.WriteRequest: the message ends inside a field",
        ),
        (bomb, 413, "more than the limit of 16777216"),
        (vec![0; (16 << 20) + 1], 413, "transfer.body_bytes_max"),
    ] {
        let (got, text) = answer(write(&service, body)).await;
        assert_eq!(got.as_u16(), status, "{text}");
        assert!(text.contains(words), "{text}");
    }
    assert_eq!(service.metric("transfer_refused_requests_total", &[("reason", "malformed")]).await, 3.0);
    assert_eq!(service.metric("transfer_refused_requests_total", &[("reason", "too_large")]).await, 2.0);
}

#[tokio::test]
async fn other_versions_and_encodings_are_415() {
    let service = Service::start(|_| {}).await;
    let v2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    let request = service.post("/api/v1/write").header("content-type", v2).body("x");
    let (status, text) = answer(request).await;
    assert_eq!(status, 415);
    assert!(text.contains("send remote write version 1"), "{text}");
    let request = service.post("/api/v1/write").header("content-encoding", "zstd").body("x");
    assert_eq!(answer(request).await.0, 415);
    assert_eq!(
        service.metric("transfer_refused_requests_total", &[("reason", "unsupported_type")]).await,
        2.0
    );
}

/// A snappy block around bytes that are no message: one literal.
fn encode_raw(message: &[u8]) -> Vec<u8> {
    let length = u8::try_from(message.len()).expect("it is short");
    [&[length, (length - 1) << 2], message].concat()
}

/// A snappy header that promises more than follows.
fn snap_bomb(bytes: u32) -> Vec<u8> {
    let mut header = Vec::new();
    let mut rest = bytes;
    while rest >= 0x80 {
        header.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    header.push(rest as u8);
    header
}
