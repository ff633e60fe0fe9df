//! Data centres that are set by API.

use apiproxy::{Config, DataCentreConfig, Deps};
use reqwest::Method;
use serde_json::{Value, json};
use storage::{Limits, Storage};
use tempfile::TempDir;
use testkit::eventually;
use tokio::sync::watch;

use crate::service::NOW;
use crate::world::{SOON, World, config, context, open_db, write};

const PATH: &str = "/api/v1/datacenters";

async fn store(hosts: &[&str]) -> Storage {
    let storage = Storage::memory(Limits::default());
    write(&storage, hosts, NOW).await;
    storage
}

/// In front of a store with these hosts, with the database in a folder.
async fn world(hosts: &[&str], folder: &TempDir, config: Config) -> World {
    let (_, db) = watch::channel(Some(open_db(folder).await));
    let own = Some(store(hosts).await.reader());
    World::with(context(), config, Deps { own, db: Some(db), ..Deps::default() }).await
}

async fn names(world: &World) -> Vec<String> {
    let told = world.json(PATH).await;
    let list = told["data"].as_array().expect("a list").iter();
    list.map(|one| one["name"].as_str().expect("a name").to_owned()).collect()
}

impl World {
    async fn put_centre(&self, name: &str, body: &Value) -> (u16, String) {
        self.change(Method::PUT, &format!("{PATH}/{name}"), &body.to_string()).await
    }

    fn url(&self) -> String {
        let request = self.request(Method::GET, "").build().expect("a request");
        request.url().as_str().trim_end_matches('/').to_owned()
    }
}

#[tokio::test]
async fn a_data_centre_is_asked_as_soon_as_it_is_set_and_no_more_when_it_is_removed() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let far = world(&["far-1", "far-2"], &other, config()).await;
    let world = world(&["near"], &folder, config()).await;
    assert_eq!(names(&world).await, ["local"]);
    assert_eq!(world.put_centre("bj", &json!({ "labels": { "dc": "bj" } })).await.0, 200);
    assert_eq!(names(&world).await, ["bj"]);
    let body = json!({ "url": far.url(), "token": "s3cret-s3cret-s3", "labels": { "dc": "sh" } });
    let (status, answer) = world.put_centre("sh", &body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(names(&world).await, ["bj", "sh"]);
    assert_eq!(world.sum("load").await, "3");
    assert_eq!(world.sum("load{dc=\"sh\"}").await, "2");

    let shown = world.json(&format!("{PATH}/sh")).await;
    assert_eq!(shown["data"]["spec"]["url"], format!("{}/", far.url()).trim_end_matches('/'));
    assert_eq!(
        (&shown["data"]["spec"]["hasToken"], &shown["data"]["setBy"]),
        (&json!(true), &json!("api"))
    );
    assert!(!format!("{shown}{answer}").contains("s3cret"), "{shown} {answer}");

    assert_eq!(world.change(Method::DELETE, &format!("{PATH}/sh"), "").await.0, 204);
    assert_eq!(world.sum("load").await, "1");
    let (status, text) = world.change(Method::DELETE, &format!("{PATH}/sh"), "").await;
    assert!(status == 404 && text.contains("not known"), "{text}");
    assert_eq!(world.change(Method::DELETE, &format!("{PATH}/bj"), "").await.0, 204);
    assert_eq!(names(&world).await, ["local"], "the store of [storage] is asked again");
}

#[tokio::test]
async fn another_apiproxy_with_the_same_database_and_the_next_start_have_it_too() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) =
        (world(&["a"], &folder, config()).await, world(&["b"], &folder, config()).await);
    assert_eq!(one.put_centre("bj", &json!({})).await.0, 200);
    other.ten_seconds_later();
    eventually("the other looks at the database", SOON, async || {
        (names(&other).await == ["bj"]).then_some(())
    })
    .await;
    let next = world(&["c"], &folder, config()).await;
    eventually("it is read at the start", SOON, async || {
        (names(&next).await == ["bj"]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_the_configuration_names_and_what_is_wrong_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let fixed = DataCentreConfig { name: "bj".to_owned(), ..DataCentreConfig::default() };
    let with_bj = world(&["a"], &folder, Config { datacenters: vec![fixed], ..config() }).await;
    let refused = async |world: &World, name: &str, body: Value, part: &str| {
        let (status, text) = world.put_centre(name, &body).await;
        assert!(status == 400 && text.contains(part), "{name} {body}: {status} {text}");
    };
    refused(&with_bj, "bj", json!({}), "in the configuration").await;
    assert_eq!(with_bj.change(Method::DELETE, &format!("{PATH}/bj"), "").await.0, 400);
    for (body, part) in [
        (json!({ "url": "vm:8428" }), "url"),
        (json!({ "timeout": "10ms" }), "timeout"),
        (json!({ "labels": { "a b": "c" } }), "labels"),
        (json!({ "judge_url": "judge" }), "judge_url"),
        (json!({ "hbs_urls": ["hbs"] }), "hbs_urls"),
        (json!({ "headers": { "a b": "c" }, "url": "http://vm" }), "a b"),
        (json!({ "token": "a\nb", "url": "http://vm" }), "token"),
        (json!({ "token_file": "/etc/shadow" }), "token_file"),
        (json!([]), "the body must be like"),
    ] {
        refused(&with_bj, "sh", body, part).await;
    }
    refused(&with_bj, "a%2Fb", json!({}), "a name has").await;
    refused(&with_bj, "a,b", json!({}), "name").await;
    assert_eq!(names(&with_bj).await, ["bj"]);

    let plain = world(&["a"], &tempfile::tempdir().unwrap(), config()).await;
    refused(&plain, "sh", json!({ "url": "http://vm:8428" }), "name it first").await;
    assert_eq!(plain.sum("load").await, "1");
}

#[tokio::test]
async fn only_who_may_changes_something_and_without_a_database_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, "ops 0123456789abcdef\n").unwrap();
    let world = world(&["a"], &folder, Config { token_file: tokens, ..config() }).await;
    let put = |name: &str, value: &str| {
        let request = world.request(Method::PUT, &format!("{PATH}/bj")).body("{}");
        let request = request.header(name, value).header("x-forwarded-for", "192.0.2.1");
        async move { request.send().await.unwrap().status().as_u16() }
    };
    assert_eq!(put("x-nothing", "").await, 403, "through a proxy it is not from this machine");
    assert_eq!(put("authorization", "Bearer 0123456789abcdeX").await, 403);
    assert_eq!(names(&world).await, ["local"]);
    assert_eq!(put("authorization", "Bearer 0123456789abcdef").await, 200);
    assert_eq!(names(&world).await, ["bj"]);
    assert_eq!(world.metrics().await.value("apiproxy_refused_total", &[]), Some(2.0));

    let alone = World::with(context(), config(), Deps::plain(store(&["a"]).await.reader())).await;
    let (status, text) = alone.put_centre("bj", &json!({})).await;
    assert!(status == 500 && text.contains("[db] url"), "{status} {text}");
}

#[tokio::test]
async fn a_database_that_comes_later_brings_its_data_centres() {
    let folder = tempfile::tempdir().unwrap();
    let (coming, db) = watch::channel(None);
    let own = Some(store(&["a"]).await.reader());
    let late =
        World::with(context(), config(), Deps { own, db: Some(db), ..Deps::default() }).await;
    let (status, text) = late.put_centre("bj", &json!({})).await;
    assert!(status == 500 && text.contains("does not answer yet"), "{status} {text}");
    let before = world(&["b"], &folder, config()).await;
    assert_eq!(before.put_centre("bj", &json!({})).await.0, 200);
    coming.send(Some(open_db(&folder).await)).unwrap();
    eventually("it is read when it comes", SOON, async || {
        (names(&late).await == ["bj"]).then_some(())
    })
    .await;
}
