use model::Series;
use reqwest::StatusCode;
use transfer::{Config, TokenConfig};
use wire::remote_write::encode;

use crate::service::{NOW, Service, answer, series};
use crate::sink::{Answer, Sink};

async fn service(change: impl FnOnce(&mut Config)) -> Service {
    let dir = tempfile::tempdir().unwrap();
    let token_file = dir.path().join("token");
    std::fs::write(&token_file, "s3cret\n").unwrap();
    Service::start(|config| {
        let name = "team".to_owned();
        config.tokens =
            vec![TokenConfig { name, token_file, samples_per_second_max: 1, series_max: 0 }];
        change(config);
    })
    .await
}

fn samples(count: usize) -> Vec<Series> {
    let one =
        |number: usize| series(&[("__name__", &format!("m{number}"))], &[(NOW.millis(), 1.0)]);
    (0..count).map(one).collect()
}

async fn write(service: &Service, token: &str, count: usize) -> (StatusCode, String) {
    let request = service.post("/api/v1/write").body(encode(&samples(count), &[]));
    let request = if token.is_empty() { request } else { request.bearer_auth(token) };
    answer(request).await
}

#[tokio::test]
async fn a_token_is_counted_and_limited_as_a_whole() {
    let service = service(|_| {}).await;
    assert_eq!(write(&service, "s3cret", 50).await.0, 204);
    let (status, text) = write(&service, "s3cret", 15).await;
    assert_eq!(status, 400);
    assert!(text.starts_with("10 of 15 samples are stored, refused: 5 token_rate"), "{text}");
    assert_eq!(write(&service, "", 50).await.0, 204, "others are not limited by it");
    let received = service.metric("transfer_token_samples_total", &[("token", "team")]).await;
    assert_eq!(received, 65.0);
    let refused = [("reason", "token_rate")];
    assert_eq!(service.metric("transfer_refused_samples_total", &refused).await, 5.0);
}

#[tokio::test]
async fn the_limit_holds_for_what_is_forwarded_in_its_bytes_too() {
    let sink = Sink::start(Answer::Ok).await;
    let service = service(|config| config.destinations = vec![sink.destination("a")]).await;
    assert_eq!(write(&service, "s3cret", 55).await.0, 204);
    assert_eq!(write(&service, "s3cret", 15).await.0, 400);
    assert_eq!(sink.await_series(60).await.len(), 60);
}

#[tokio::test]
async fn a_wrong_token_and_none_where_one_is_required_are_refused() {
    let service = service(|config| config.token_required = true).await;
    let response = service.post("/api/push").body("[]").send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["www-authenticate"]),
        (401, &"Bearer".parse().unwrap())
    );
    let (status, text) = write(&service, "s3crets", 1).await;
    assert_eq!(
        (status.as_u16(), text.as_str()),
        (401, "the bearer token is none of transfer.tokens\n")
    );
    assert_eq!(write(&service, "s3cret", 1).await.0, 204);
    assert_eq!(answer(service.post("/api/push").bearer_auth("s3cret").body("[]")).await.0, 200);
    let reason = [("reason", "token")];
    assert_eq!(service.metric("transfer_refused_requests_total", &reason).await, 2.0);
    assert_eq!(service.get("/health").await, "ok\n");
}
