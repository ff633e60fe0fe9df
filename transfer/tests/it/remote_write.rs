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
    assert_eq!(
        service.metric("transfer_received_samples_total", &[("protocol", "remote_write")]).await,
        1.0
    );
    assert_eq!(service.metric("transfer_stored_samples_total", &[]).await, 1.0);
    assert_eq!(service.metric("transfer_store_series", &[]).await, 1.0);
}

#[tokio::test]
async fn a_malformed_series_is_dropped_and_counted_and_the_rest_is_stored() {
    let service = Service::start(|_| {}).await;
    let now = NOW.millis();
    let sent = [
        series(&[("job", "nameless")], &[(now, 1.0)]),
        series(&[("__name__", "up")], &[(now, 1.0)]),
    ];
    assert_eq!(answer(write(&service, encode(&sent, &[]))).await.0, 204);
    assert_eq!(service.stored("up").await.len(), 1);
    let refused =
        service.metric("transfer_refused_samples_total", &[("reason", "no_metric_name")]).await;
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
            "not a remote-write request: the message ends inside a field",
        ),
        (bomb, 413, "more than the limit of 16777216"),
        (vec![0; (16 << 20) + 1], 413, "transfer.body_bytes_max"),
    ] {
        let (got, text) = answer(write(&service, body)).await;
        assert_eq!(got.as_u16(), status, "{text}");
        assert!(text.contains(words), "{text}");
    }
    assert_eq!(
        service.metric("transfer_refused_requests_total", &[("reason", "malformed")]).await,
        3.0
    );
    assert_eq!(
        service.metric("transfer_refused_requests_total", &[("reason", "too_large")]).await,
        2.0
    );
}

#[tokio::test]
async fn other_versions_and_encodings_are_415() {
    let service = Service::start(|_| {}).await;
    let v2 = "application/x-protobuf;proto=io.prometheus.write.v3.Request";
    let request = service.post("/api/v1/write").header("content-type", v2).body("x");
    let (status, text) = answer(request).await;
    assert_eq!(status, 415);
    assert!(
        text.contains("send prometheus.WriteRequest or io.prometheus.write.v2.Request"),
        "{text}"
    );
    let request = service.post("/api/v1/write").header("content-encoding", "zstd").body("x");
    assert_eq!(answer(request).await.0, 415);
    assert_eq!(
        service.metric("transfer_refused_requests_total", &[("reason", "unsupported_type")]).await,
        2.0
    );
}

#[tokio::test]
async fn version_2_is_stored_and_the_answer_says_how_much() {
    let service = Service::start(|_| {}).await;
    // symbols "", "__name__", "x", "Help."; a series of `x` with help and two samples, one of them in the far
    // future; a series with a histogram.
    let now = varint(NOW.millis() as u64);
    let value_and_key = [0x09, 0, 0, 0, 0, 0, 0, 0x04, 0x40, 0x10];
    let sample =
        [&[0x12, (value_and_key.len() + now.len()) as u8][..], &value_and_key, &now].concat();
    let far = [&[0x12, 10][..], &[0x10], &varint(i64::MAX as u64)[..]].concat();
    let body_of_series = [&b"\x0a\x02\x01\x02\x2a\x02\x18\x03"[..], &sample, &far].concat();
    let histogram = b"\x0a\x02\x01\x02\x1a\x00";
    let mut message = b"\x22\x00\x22\x08__name__\x22\x01x\x22\x05Help.".to_vec();
    for series in [body_of_series.as_slice(), histogram] {
        message.extend_from_slice(&[0x2a, series.len() as u8]);
        message.extend_from_slice(series);
    }
    let proto = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    let request = service.post("/api/v1/write").header("content-type", proto);
    let response = request
        .header("content-encoding", "snappy")
        .body(encode_raw(&message))
        .send()
        .await
        .unwrap();
    let headers = response.headers().clone();
    let status = response.status();
    let text = response.text().await.unwrap();
    assert_eq!((status.as_u16(), text.contains("1 too_far_in_future")), (400, true), "{text}");
    let written = |what: &str| {
        headers[&format!("x-prometheus-remote-write-{what}-written")].to_str().unwrap().to_owned()
    };
    assert_eq!([written("samples"), written("histograms"), written("exemplars")], ["1", "0", "0"]);
    assert_eq!(service.stored("x").await, [series(&[("__name__", "x")], &[(NOW.millis(), 2.5)])]);
    assert_eq!(service.storage.reader().metadata(Some("x"), 0).await.unwrap()[0].1.help, "Help.");
    assert_eq!(service.metric("transfer_skipped_histograms_total", &[]).await, 1.0);
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A snappy block around bytes that are no message: one literal.
fn encode_raw(message: &[u8]) -> Vec<u8> {
    let length =
        u8::try_from(message.len()).ok().filter(|length| *length < 128).expect("it is short");
    // A literal of up to 60 bytes has its length in the tag, a longer one in the byte after it.
    let tag = if length <= 60 { vec![(length - 1) << 2] } else { vec![60 << 2, length - 1] };
    [&[length][..], &tag, message].concat()
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
