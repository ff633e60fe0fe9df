//! Prometheus text, OpenTSDB, Influx, and Nightingale's path for Open-Falcon clients.

use std::io::Write;

use crate::service::{NOW, Service, answer, series};

async fn post(service: &Service, path: &str, body: &str) -> (u16, String) {
    let (status, text) = answer(service.post(path).body(body.to_owned())).await;
    (status.as_u16(), text)
}

async fn check(service: &Service, path: &str, body: &str, status: u16, text: &str) {
    assert_eq!(post(service, path, body).await, (status, text.to_owned()), "{path} {body}");
}

#[tokio::test]
async fn prometheus_text_is_stored_with_its_metadata() {
    let service = Service::start(|_| {}).await;
    let path = "/api/v1/import/prometheus?extra_label=endpoint=web-01";
    check(
        &service,
        path,
        "# HELP up Is it?\n# TYPE up gauge\nup 1\nup{a=\"b\"} 0 1760000400000\n",
        204,
        "",
    )
    .await;
    let stored = service.stored("up").await;
    let of_host = [("__name__", "up"), ("endpoint", "web-01")];
    assert_eq!(stored.last(), Some(&series(&of_host, &[(NOW.millis(), 1.0)])));
    assert_eq!(service.storage.reader().metadata(Some("up"), 0).await.unwrap()[0].1.help, "Is it?");
    let text = "1 of 2 samples are stored, refused: 1 prometheus_text_line (such as line 1: the value is not a number)\n";
    check(&service, path, "up x\nfine 1", 400, text).await;
    check(
        &service,
        "/api/v1/import/prometheus?extra_label=x",
        "up 1",
        400,
        "extra_label=\"x\" is not NAME=VALUE\n",
    )
    .await;
    let protocol = [("protocol", "prometheus_text")];
    assert_eq!(service.metric("transfer_received_samples_total", &protocol).await, 4.0);
}

#[tokio::test]
async fn a_gzipped_body_is_unpacked() {
    let service = Service::start(|_| {}).await;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(b"packed 1\n").unwrap();
    let request = service.post("/api/v1/import/prometheus").header("content-encoding", "gzip");
    assert_eq!(answer(request.body(packed.finish().unwrap())).await.0, 204);
    assert_eq!(service.stored("packed").await.len(), 1);
}

#[tokio::test]
async fn opentsdb_points_are_stored_and_the_answer_says_as_much_as_is_asked() {
    let service = Service::start(|_| {}).await;
    let good = r#"{"metric":"sys.cpu","timestamp":1760000400,"value":"18","tags":{"host":"a"}}"#;
    let far = r#"{"metric":"far","timestamp":1860000400,"value":1}"#;
    check(&service, "/api/put", good, 204, "").await;
    check(
        &service,
        "/opentsdb/put?summary",
        &format!("[{good}]"),
        200,
        r#"{"success":1,"failed":0}"#,
    )
    .await;
    let labels = [("__name__", "sys_cpu"), ("host", "a")];
    assert_eq!(service.stored("sys_cpu").await, [series(&labels, &[(1_760_000_400_000, 18.0)])]);

    let mixed = format!("[{good},7,{far}]");
    check(&service, "/api/put?summary", &mixed, 400, r#"{"success":1,"failed":2}"#).await;
    let details = r#"{"success":1,"failed":2,"errors":[{"datapoint":7,"error":"opentsdb_not_a_point"},{"datapoint":null,"error":"1 too_far_in_future (such as far)"}]}"#;
    check(&service, "/api/put?details", &mixed, 400, details).await;
    let text = r#"{"error":{"code":400,"message":"2 of 3 points are refused: 1 opentsdb_not_a_point (such as 7), 1 too_far_in_future (such as far)"}}"#;
    check(&service, "/api/put", &mixed, 400, text).await;
    let (status, text) = post(&service, "/api/put", "[").await;
    assert_eq!(status, 400);
    assert!(text.starts_with("the body is neither a JSON object nor a list of them: "), "{text}");
}

#[tokio::test]
async fn influx_lines_are_stored_by_both_versions_of_the_api() {
    let service = Service::start(|_| {}).await;
    check(
        &service,
        "/write?db=x",
        "cpu,host=a idle=97.5,state=\"ok\" 1760000400000000000",
        204,
        "",
    )
    .await;
    check(
        &service,
        "/api/v2/write?org=o&bucket=b&precision=s",
        "cpu,host=b idle=1i 1760000400",
        204,
        "",
    )
    .await;
    let of = |host| [("__name__", "cpu_idle"), ("host", host)];
    let at = 1_760_000_400_000;
    assert_eq!(
        service.stored("cpu_idle").await,
        [series(&of("a"), &[(at, 97.5)]), series(&of("b"), &[(at, 1.0)])]
    );
    let reason = [("reason", "influx_text_field")];
    assert_eq!(service.metric("transfer_refused_samples_total", &reason).await, 1.0);

    let (status, text) = post(&service, "/write", "cpu idle\nmem free=1").await;
    assert_eq!(status, 400);
    assert!(
        text.contains(
            "partial write: 1 of 2 values are stored, dropped: 1 influx_field (such as line 1)"
        ),
        "{text}"
    );
    let text = "precision \"d\" is none of ns, us, ms, s, m and h\n";
    check(&service, "/write?precision=d", "cpu idle=1", 400, text).await;
    let request = service.post("/write").body(vec![b'a', 0xff]);
    assert_eq!(answer(request).await.1, "the body is not UTF-8 from byte 1 on\n");
    assert_eq!(service.get("/ping").await, "");
}

#[tokio::test]
async fn nightingales_path_takes_a_list_or_one_object() {
    let service = Service::start(|_| {}).await;
    let one = r#"{"endpoint":"h","metric":"m","timestamp":1760000460,"step":60,"value":1,"counterType":"GAUGE"}"#;
    check(&service, "/openfalcon/push", one, 200, r#"{"fail":0,"msg":"received","succ":1}"#).await;
    let list = format!("[{one},{{}}]");
    check(&service, "/openfalcon/push", &list, 200, r#"{"fail":1,"msg":"received","succ":1}"#)
        .await;
    assert_eq!(service.stored("m").await.len(), 1);
}

#[tokio::test]
async fn more_than_the_limit_is_refused_as_a_whole_in_every_format() {
    let service = Service::start(|config| config.samples_per_request_max = 1).await;
    for (path, body) in [
        ("/api/v1/import/prometheus", "a 1\nb 1"),
        ("/api/put", "[{},{}]"),
        ("/write", "a x=1,y=2"),
        ("/openfalcon/push", "[{},{}]"),
    ] {
        assert_eq!(post(&service, path, body).await.0, 413, "{path}");
    }
}
