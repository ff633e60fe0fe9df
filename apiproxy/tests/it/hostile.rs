use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::service::Service;

async fn raw(service: &Service, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(service.address()).await.expect("it listens");
    stream.write_all(request).await.expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("it answers and closes");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_form_that_is_too_long_is_refused() {
    let service = Service::start(|_| {}).await;
    let long = "x".repeat(2 << 20);
    let (status, answer) = service.post("/api/v1/query", &[("query", &long)]).await;
    assert_eq!((status.as_u16(), &answer["errorType"]), (400, &"bad_data".into()), "{answer}");
}

#[tokio::test]
async fn bytes_that_are_no_text_do_no_harm() {
    let service = Service::start(|_| {}).await;
    for path in [
        "/api/v1/query?query=%ff%00",
        "/api/v1/label/%ff/values",
        "/api/v1/series?match[]=%e6%b8",
        "/api/v1/query?%=%",
    ] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let answer = raw(&service, head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{path}: {answer}");
    }
    assert_eq!(service.data("/api/v1/query", &[("query", "1")]).await["resultType"], "scalar");
}

#[tokio::test]
async fn a_deeply_nested_query_is_refused_and_not_a_stack_overflow() {
    let service = Service::start(|_| {}).await;
    let nested = format!("{}1{}", "(".repeat(20_000), ")".repeat(20_000));
    let (status, answer) = service.post("/api/v1/query", &[("query", &nested)]).await;
    assert_eq!((status.as_u16(), &answer["errorType"]), (400, &"bad_data".into()), "{answer}");
}

#[tokio::test]
async fn a_pattern_that_grows_without_bound_is_refused() {
    let service = Service::start(|_| {}).await;
    let (status, kind, _) =
        service.error("/api/v1/series", &[("match[]", "{a=~\"((a{100}){100}){100}\"}")]).await;
    assert_eq!((status, kind.as_str()), (400, "bad_data"));
}
