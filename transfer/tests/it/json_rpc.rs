use std::time::Duration;

use model::Sample;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::service::{NOW, Service, series};

/// What a client that sends `bytes` and then closes its side is answered.
async fn transcript(service: &Service, bytes: &str) -> String {
    let mut stream = TcpStream::connect(service.at.rpc).await.expect("it listens");
    stream.write_all(bytes.as_bytes()).await.expect("it reads");
    stream.shutdown().await.expect("the other side is still open");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers in UTF-8");
    answer
}

async fn check(service: &Service, sent: &str, answered: &str) {
    assert_eq!(transcript(service, sent).await, answered, "{sent}");
}

const SAMPLE: &str = r#"{"endpoint":"pay-api-03","metric":"load.1min","value":0.42,"step":60,
 "counterType":"GAUGE","tags":"","timestamp":1760000460}"#;

#[tokio::test]
async fn the_transcripts_of_the_original_come_out_byte_for_byte() {
    let service = Service::start(|_| {}).await;
    check(
        &service,
        "{\"method\":\"Transfer.Ping\",\"params\":[{}],\"id\":0}\n",
        "{\"id\":0,\"result\":{\"code\":0},\"error\":null}\n",
    )
    .await;
    check(
        &service,
        &format!("{{\"method\":\"Transfer.Update\",\"params\":[[{SAMPLE}]],\"id\":1}}\n"),
        "{\"id\":1,\"result\":{\"Message\":\"ok\",\"Total\":1,\"Invalid\":0,\"Latency\":0},\"error\":null}\n",
    )
    .await;
    let labels = [("__name__", "load_1min"), ("endpoint", "pay-api-03")];
    assert_eq!(service.stored("load_1min").await, [series(&labels, &[(NOW.millis(), 0.42)])]);
    let protocol = [("protocol", "json_rpc")];
    assert_eq!(service.metric("transfer_received_samples_total", &protocol).await, 1.0);
}

#[tokio::test]
async fn errors_have_the_originals_words_and_the_connection_goes_on() {
    let service = Service::start(|_| {}).await;
    check(
        &service,
        r#"{"method":"Transfer.Nope","params":[{}],"id":"a"}{"method":"Update","params":[[]],"id":[1]}
           {"method":"Transfer.Update","params":null,"id":3} {"method":"Transfer.Update","id":4}
           {"method":"Transfer.Update","params":[{"a":1}],"id":5}{"method":"Transfer.Ping","params":[{}]}"#,
        concat!(
            r#"{"id":"a","result":null,"error":"rpc: can't find method Transfer.Nope"}"#,
            "\n",
            r#"{"id":[1],"result":null,"error":"rpc: service/method request ill-formed: Update"}"#,
            "\n",
            r#"{"id":3,"result":null,"error":"jsonrpc: request body missing params"}"#,
            "\n",
            r#"{"id":4,"result":null,"error":"jsonrpc: request body missing params"}"#,
            "\n",
            r#"{"id":5,"result":null,"error":"json: cannot unmarshal object into Go value of type []*model.MetricValue"}"#,
            "\n",
            r#"{"id":null,"result":{"code":0},"error":null}"#,
            "\n",
        ),
    )
    .await;
}

#[tokio::test]
async fn a_bad_sample_is_counted_and_costs_only_itself() {
    let service = Service::start(|_| {}).await;
    let bad = SAMPLE.replace("0.42", "\"x\"");
    let fractional_step = SAMPLE.replace("60,", "60.5,");
    check(
        &service,
        &format!(r#"{{"Method":"Transfer.Update","PARAMS":[[{bad},{SAMPLE},{fractional_step}],7],"ID":1}}"#),
        "{\"id\":1,\"result\":{\"Message\":\"ok\",\"Total\":3,\"Invalid\":2,\"Latency\":0},\"error\":null}\n",
    )
    .await;
    assert_eq!(service.stored("load_1min").await[0].samples, [Sample::new(NOW.millis(), 0.42)]);
    assert_eq!(service.metric("transfer_refused_samples_total", &[("reason", "value")]).await, 1.0);
}

#[tokio::test]
async fn bytes_that_are_no_request_close_the_connection_without_a_word() {
    let service = Service::start(|config| config.rpc_object_bytes_max = 100).await;
    for sent in ["GET / HTTP/1.1\r\n\r\n", "{]", "{\"method\":7}", "[]"] {
        check(&service, sent, "").await;
    }
    assert_eq!(
        service.metric("transfer_refused_requests_total", &[("reason", "malformed")]).await,
        4.0
    );
    check(&service, &format!("{{\"method\":\"{}", "x".repeat(200)), "").await;
    assert_eq!(
        service.metric("transfer_refused_requests_total", &[("reason", "too_large")]).await,
        1.0
    );
}

#[tokio::test]
async fn large_calls_in_small_pieces_are_put_together() {
    let service = Service::start(|_| {}).await;
    let samples: Vec<String> = (0..400)
        .map(|at| SAMPLE.replace("\"tags\":\"\"", &format!("\"tags\":\"n={at}\"")))
        .collect();
    let call =
        format!(r#"{{"method":"Transfer.Update","params":[[{}]],"id":1}}"#, samples.join(","));
    let mut stream = TcpStream::connect(service.at.rpc).await.expect("it listens");
    for piece in call.as_bytes().chunks(7001) {
        stream.write_all(piece).await.expect("it reads");
        stream.flush().await.expect("it reads");
    }
    let mut answer = vec![0; 80];
    let length = stream.read(&mut answer).await.expect("it answers");
    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
    assert!(
        answer.starts_with(r#"{"id":1,"result":{"Message":"ok","Total":400,"Invalid":0,"#),
        "{answer}"
    );
    assert_eq!(service.metric("transfer_rpc_connections", &[]).await, 1.0);
    assert_eq!(service.metric("transfer_requests_in_flight", &[]).await, 0.0);
}

#[tokio::test]
async fn silent_and_slow_connections_are_closed() {
    let service = Service::start(|config| {
        config.rpc_idle_timeout = Duration::from_millis(30);
        config.request_timeout = Duration::from_millis(60);
    })
    .await;
    for begun in ["", "{\"method\":"] {
        let mut stream = TcpStream::connect(service.at.rpc).await.expect("it listens");
        stream.write_all(begun.as_bytes()).await.expect("it reads");
        assert_eq!(stream.read(&mut [0; 10]).await.expect("it closes"), 0, "{begun}");
    }
    let reason = [("reason", "request_timeout")];
    assert_eq!(service.metric("transfer_refused_requests_total", &reason).await, 1.0);
}

#[tokio::test]
async fn a_store_that_takes_nothing_makes_an_error_and_not_an_ok() {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let config = storage::LocalConfig::new(dir.path());
    let storage = storage::Storage::open(config, NOW).await.expect("the directory is empty");
    let service = Service::over(storage.clone(), |_| {}).await;
    storage.close().await.expect("nothing was written");
    check(
        &service,
        &format!("{{\"method\":\"Transfer.Update\",\"params\":[[{SAMPLE}]],\"id\":1}}\n"),
        "{\"id\":1,\"result\":null,\"error\":\"the store does not take samples at the moment: the store is \
         closed\"}\n",
    )
    .await;
}
