use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::service::{NOW, Service, answer};

/// A request that has begun and does not go on: its turn is taken until it times out.
async fn stuck_request(service: &Service) -> TcpStream {
    let mut stream = TcpStream::connect(service.address()).await.expect("it listens");
    let head = "POST /api/push HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[";
    stream.write_all(head.as_bytes()).await.expect("it reads");
    testkit::eventually("the request has its turn", Duration::from_secs(5), async || {
        (service.metric("transfer_requests_in_flight", &[]).await == 1.0).then_some(())
    })
    .await;
    stream
}

#[tokio::test]
async fn a_request_without_a_turn_is_refused_with_the_name_of_the_limit() {
    let service = Service::start(|config| {
        config.requests_in_flight_max = 1;
        config.request_wait = Duration::ZERO;
    })
    .await;
    let stuck = stuck_request(&service).await;
    let response = service.post("/api/push").body("[]").send().await.expect("it answers");
    assert_eq!(
        (response.status().as_u16(), response.headers()["retry-after"].as_bytes()),
        (429, &b"1"[..])
    );
    let text = response.text().await.expect("it says why");
    assert!(text.contains("transfer.requests_in_flight_max"), "{text}");
    let reason = [("reason", "requests_in_flight_max")];
    assert_eq!(service.metric("transfer_refused_requests_total", &reason).await, 1.0);
    assert_eq!(service.get("/health").await, "ok\n", "health is no matter of turns");

    drop(stuck);
    testkit::eventually("the turn is free again", Duration::from_secs(5), async || {
        (answer(service.post("/api/push").body("[]")).await.0 == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_never_finishes_its_body_loses_its_turn() {
    let service = Service::start(|config| config.request_timeout = Duration::from_millis(50)).await;
    let mut stream = TcpStream::connect(service.address()).await.expect("it listens");
    let head = "POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[";
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers and closes");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("transfer.request_timeout"), "{answer}");
    assert_eq!(
        service.metric("transfer_refused_requests_total", &[("reason", "request_timeout")]).await,
        1.0
    );
}

#[tokio::test]
async fn a_store_that_takes_nothing_makes_a_503_and_no_sample_is_called_stored() {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let config = storage::LocalConfig::new(dir.path());
    let storage = storage::Storage::open(config, NOW).await.expect("the directory is empty");
    let service = Service::over(storage.clone(), |_| {}).await;
    storage.close().await.expect("nothing was written");
    let item = r#"{"endpoint":"h","metric":"m","step":60,"value":1,"counterType":"GAUGE"}"#;
    let (status, text) = answer(service.post("/api/push").body(format!("[{item}]"))).await;
    assert_eq!(status, 503);
    assert_eq!(text, "the store does not take samples at the moment: the store is closed\n");
    let (status, ready) = answer(service.context.http.get(service.url("/-/ready"))).await;
    assert_eq!((status.as_u16(), ready), (503, format!("store: {text}")));
    assert_eq!(
        service.metric("transfer_refused_requests_total", &[("reason", "storage")]).await,
        1.0
    );
    assert_eq!(service.metric("transfer_stored_samples_total", &[]).await, 0.0);
    assert_eq!(service.metric("transfer_store_wal_write_errors_total", &[]).await, 0.0);
}

#[tokio::test]
async fn more_samples_than_the_limit_are_refused_as_a_whole() {
    let service = Service::start(|config| config.samples_per_request_max = 2).await;
    let (status, text) = answer(service.post("/api/push").body("[1,2,3]")).await;
    assert_eq!(
        (status.as_u16(), text.as_str()),
        (413, "the list has more than 2 samples; send less at once\n")
    );
}
