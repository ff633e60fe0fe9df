//! What agents and operators get.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use hbs::Config;
use reqwest::Method;
use serde_json::{Value, json};

use crate::hbs::{Hbs, NOW};

#[tokio::test]
async fn a_heartbeat_is_answered_with_the_interval_and_the_time() {
    let hbs = Hbs::start(Config::default()).await;
    let answer: Value = hbs.post(&json!({ "host": "web-01" })).await.json().await.unwrap();
    assert_eq!(answer["desired"]["heartbeat_interval_seconds"], 30);
    assert_eq!(answer["server_time"], NOW.millis());
}

#[tokio::test]
async fn agent_versions_have_open_falcons_shape() {
    let hbs = Hbs::start(Config::default()).await;
    assert_eq!(hbs.get("/agentversions").await, r#"{"msg":"success","data":{}}"#);
    hbs.beat("web-01").await;
    assert_eq!(hbs.get("/agentversions").await, r#"{"msg":"success","data":{"web-01":"7.0"}}"#);
}

#[tokio::test]
async fn hosts_survive_a_restart() {
    let hbs = Hbs::start(Config::default()).await;
    hbs.beat("web-01").await;
    let hbs = hbs.restart(Config::default(), NOW).await;
    let hosts: Value = serde_json::from_str(&hbs.get("/api/v1/hosts").await).unwrap();
    assert_eq!(
        (&hosts["total"], &hosts["hosts"][0]["name"], &hosts["hosts"][0]["ip"]),
        (&json!(1), &json!("web-01"), &json!("192.0.2.1"))
    );
}

#[tokio::test]
async fn hosts_are_listed_in_pages() {
    let hbs = Hbs::start(Config::default()).await;
    for host in ["a", "b", "c"] {
        hbs.beat(host).await;
    }
    let names = |page: &Value| -> Vec<String> {
        page["hosts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|host| host["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let first: Value = serde_json::from_str(&hbs.get("/api/v1/hosts?limit=2").await).unwrap();
    assert_eq!(
        (names(&first), &first["next_after"]),
        (vec!["a".to_owned(), "b".to_owned()], &json!("b"))
    );
    let last: Value =
        serde_json::from_str(&hbs.get("/api/v1/hosts?limit=2&after=b").await).unwrap();
    assert_eq!((names(&last), &last["next_after"]), (vec!["c".to_owned()], &Value::Null));
}

#[tokio::test]
async fn a_forgotten_host_is_gone() {
    let hbs = Hbs::start(Config::default()).await;
    hbs.beat("web-01").await;
    assert_eq!(hbs.delete("/api/v1/hosts/web-01").await, 204);
    assert_eq!(hbs.delete("/api/v1/hosts/web-01").await, 404);
    assert_eq!(hbs.get("/agentversions").await, r#"{"msg":"success","data":{}}"#);
}

#[tokio::test]
async fn a_malformed_heartbeat_is_told_what_is_wrong() {
    let hbs = Hbs::start(Config::default()).await;
    let answer = hbs.post(&json!({ "host": "" })).await;
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.text().await.unwrap(), "field host: must not be empty\n");
    assert!(hbs.get("/metrics").await.contains(r#"hbs_heartbeats_total{result="Malformed"} 1"#));
}

#[tokio::test]
async fn a_host_beyond_the_limit_is_refused_by_name() {
    let hbs = Hbs::start(Config { hosts_max: 1, ..Config::default() }).await;
    hbs.beat("a").await;
    let answer = hbs.post(&json!({ "host": "b" })).await;
    assert_eq!(answer.status(), 429);
    assert!(answer.text().await.unwrap().contains("hbs.hosts_max"));
}

#[tokio::test]
async fn a_heartbeat_may_be_packed_with_gzip() {
    let hbs = Hbs::start(Config::default()).await;
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(br#"{"host":"web-01"}"#).unwrap();
    let request = hbs.request(Method::POST, "/v1/heartbeat").header("content-encoding", "gzip");
    let answer = request.body(packed.finish().unwrap()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(hbs.json("/api/v1/hosts").await["hosts"][0]["name"], "web-01");
}

#[tokio::test]
async fn a_bomb_of_gzip_is_refused_by_its_size() {
    let hbs = Hbs::start(Config::default()).await;
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&vec![b' '; 1 << 20]).unwrap();
    let request = hbs.request(Method::POST, "/v1/heartbeat").header("content-encoding", "gzip");
    let answer = request.body(packed.finish().unwrap()).send().await.unwrap();
    assert_eq!(answer.status(), 413);
}
