use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::service::{NOW, Service, series};

async fn connect(service: &Service) -> TcpStream {
    TcpStream::connect(service.at.line).await.expect("it listens")
}

async fn stored(service: &Service, name: &str) -> Vec<model::Series> {
    testkit::eventually("the samples are stored", Duration::from_secs(5), async || {
        let stored = service.stored(name).await;
        (!stored.is_empty()).then_some(stored)
    })
    .await
}

#[tokio::test]
async fn samples_are_stored_while_the_connection_stays_open() {
    let service = Service::start(|_| {}).await;
    let mut stream = connect(&service).await;
    stream
        .write_all(b"update pay-api-03 qps 1760000460 120 GAUGE 60\nupdate pay-api-03 ")
        .await
        .unwrap();
    let labels = [("__name__", "qps"), ("endpoint", "pay-api-03")];
    assert_eq!(stored(&service, "qps").await, [series(&labels, &[(NOW.millis(), 120.0)])]);
    stream.write_all(b"rps 0 7\n").await.unwrap();
    assert_eq!(stored(&service, "rps").await[0].samples[0].timestamp, NOW);
    assert_eq!(
        service.metric("transfer_received_samples_total", &[("protocol", "line")]).await,
        2.0
    );
    assert_eq!(service.metric("transfer_line_connections", &[]).await, 1.0);
    let metadata = service.storage.reader().metadata(Some("rps"), 0).await.unwrap();
    assert_eq!(metadata[0].1.help, "Open-Falcon metric rps, COUNTER, step 60 s.");
}

#[tokio::test]
async fn bad_lines_are_counted_and_never_end_the_connection() {
    let service = Service::start(|config| config.line_bytes_max = 100).await;
    let mut stream = connect(&service).await;
    let long = format!("update {} a 1 1\n", "x".repeat(20_000));
    let lines =
        format!("hello\nbogus\n{long}update a b\nupdate a b 1 x\nput m 1\n\nupdate a fine 0 1\n");
    stream.write_all(lines.as_bytes()).await.unwrap();
    assert_eq!(stored(&service, "fine").await.len(), 1);
    stream
        .write_all(b"update a b 0 1 gauge\nput fine.too 1760000460 2 host=a\nquit\n")
        .await
        .unwrap();
    assert_eq!(stream.read(&mut [0; 10]).await.expect("quit closes it"), 0);
    let labels = [("__name__", "fine_too"), ("host", "a")];
    assert_eq!(service.stored("fine_too").await, [series(&labels, &[(NOW.millis(), 2.0)])]);
    for (reason, count) in [
        ("line_command", 2.0),
        ("line_too_long", 1.0),
        ("line_words", 1.0),
        ("value", 1.0),
        ("opentsdb_words", 1.0),
        ("counter_type", 1.0),
    ] {
        let refused = service.metric("transfer_refused_samples_total", &[("reason", reason)]).await;
        assert_eq!(refused, count, "{reason}");
    }
}

#[tokio::test]
async fn a_last_line_without_an_end_counts() {
    let service = Service::start(|_| {}).await;
    let mut stream = connect(&service).await;
    stream.write_all(b"update a last 0 1").await.unwrap();
    drop(stream);
    assert_eq!(stored(&service, "last").await.len(), 1);
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let service =
        Service::start(|config| config.line_idle_timeout = Duration::from_millis(30)).await;
    let mut stream = connect(&service).await;
    assert_eq!(stream.read(&mut [0; 10]).await.expect("it closes"), 0);
}

#[tokio::test]
async fn what_the_store_does_not_take_in_time_is_counted_as_lost() {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let config = storage::LocalConfig::new(dir.path());
    let storage = storage::Storage::open(config, NOW).await.expect("the directory is empty");
    let service =
        Service::over(storage.clone(), |config| config.request_timeout = Duration::ZERO).await;
    storage.close().await.expect("nothing was written");
    let mut stream = connect(&service).await;
    stream.write_all(b"update a b 0 1\nput c 0 1\nquit\n").await.unwrap();
    assert_eq!(stream.read(&mut [0; 10]).await.expect("quit closes it"), 0);
    assert_eq!(service.metric("transfer_lost_line_samples_total", &[]).await, 2.0);
}
