//! Rule groups by API: lost updates, switches, owners, versions, who may change them.

use std::time::Duration;

use judge::Config;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;

use crate::world::{Judge, PATIENCE, World};

const BODY: &str = "interval: 15s\nrules:\n- {alert: A, expr: up == 0}\n";
const OTHER: &str = "interval: 15s\nrules:\n- {alert: B, expr: up == 1}\n";
const GROUP: &str = "/api/v1/rule-groups/g";

struct Answer {
    status: u16,
    version: Option<String>,
    body: Value,
}

async fn ask(
    world: &World,
    judge: &Judge,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut request = world.http.request(method, format!("{}{path}", judge.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.body(body.to_owned()).send().await.unwrap();
    let version = answer.headers().get("etag").map(|tag| tag.to_str().unwrap().to_owned());
    Answer { status: answer.status().as_u16(), version, body: answer.json().await.unwrap() }
}

#[tokio::test]
async fn a_change_meant_for_another_version_is_refused() {
    let world = World::new().await;
    let judge = world.judge_with(world.config()).await;
    let put = async |headers: &[(&str, &str)], body| {
        ask(&world, &judge, Method::PUT, GROUP, headers, body).await
    };
    assert_eq!(put(&[("if-match", "\"1\"")], BODY).await.status, 412, "there is none yet");
    let first = put(&[("if-none-match", "*")], BODY).await;
    assert_eq!((first.status, first.version.as_deref()), (200, Some("\"1\"")));
    assert_eq!(put(&[("if-none-match", "*")], OTHER).await.status, 412);
    let second = put(&[("if-match", "\"1\"")], OTHER).await;
    assert_eq!((second.status, &second.body["data"]["version"]), (200, &json!(2)));
    let lost = put(&[("if-match", "\"1\"")], BODY).await;
    assert_eq!(lost.status, 412);
    assert!(lost.body["error"].as_str().unwrap().contains("it is at version 2"), "{}", lost.body);
    assert_eq!(put(&[("if-match", "one")], BODY).await.status, 400);
    let read = ask(&world, &judge, Method::GET, GROUP, &[], "").await;
    assert_eq!(
        (read.version.as_deref(), &read.body["data"]["body"]),
        (Some("\"2\""), &json!(OTHER))
    );
}

#[tokio::test]
async fn a_group_that_is_switched_off_is_kept_and_not_evaluated() {
    let world = World::new().await;
    let judge = world.judge_with(world.config()).await;
    let put = format!("{GROUP}?owner=team-a&enabled=false");
    let answer = ask(&world, &judge, Method::PUT, &put, &[], BODY).await.body;
    let expected = json!({ "name": "g", "version": 1, "owner": "team-a", "enabled": false });
    assert_eq!(answer["data"], expected);
    assert_eq!(judge.group(&world, "g").await, None);
    let on = format!("{GROUP}/enable");
    assert_eq!(ask(&world, &judge, Method::POST, &on, &[], "").await.status, 200);
    eventually("it is evaluated", PATIENCE, async || judge.group(&world, "g").await).await;
    let off = format!("{GROUP}/disable");
    let answer = ask(&world, &judge, Method::POST, &off, &[], "").await;
    assert_eq!(answer.body["data"]["version"], 3);
    eventually("it is gone", PATIENCE, async || {
        judge.group(&world, "g").await.is_none().then_some(())
    })
    .await;
    let missing = "/api/v1/rule-groups/none/enable";
    assert_eq!(ask(&world, &judge, Method::POST, missing, &[], "").await.status, 404);
}

#[tokio::test]
async fn versions_are_listed_with_before_and_after_and_can_be_restored() {
    let world = World::new().await;
    let judge = world.judge_with(world.config()).await;
    for body in [BODY, OTHER] {
        ask(&world, &judge, Method::PUT, GROUP, &[], body).await;
    }
    assert_eq!(ask(&world, &judge, Method::DELETE, GROUP, &[], "").await.status, 200);
    let list = judge.get(&world, &format!("{GROUP}/versions")).await.unwrap();
    let told = |at: usize| {
        let version = &list[at];
        ["version", "action", "before", "after", "actor"].map(|key| version[key].clone())
    };
    let removed = [json!(3), json!("rule_group.remove"), json!(OTHER), json!(""), json!("local")];
    assert_eq!(told(0), removed);
    assert_eq!(told(2)[..4], [json!(1), json!("rule_group.put"), json!(null), json!(BODY)]);
    let restore = format!("{GROUP}/restore?version=1");
    let answer = ask(&world, &judge, Method::POST, &restore, &[], "").await;
    assert_eq!((answer.status, &answer.body["data"]["version"]), (200, &json!(4)));
    assert_eq!(judge.get(&world, GROUP).await.unwrap()["body"], BODY);
    let nothing = format!("{GROUP}/restore?version=3");
    assert_eq!(ask(&world, &judge, Method::POST, &nothing, &[], "").await.status, 404);
    let one = judge.get(&world, &format!("{GROUP}/versions/2")).await.unwrap();
    assert_eq!((&one["before"], &one["after"]), (&json!(BODY), &json!(OTHER)));
    let audit = judge.get(&world, "/api/v1/audit?target=rule_group/g").await.unwrap();
    assert_eq!(audit.as_array().map(Vec::len), Some(4));
    assert_eq!(audit[0]["action"], "rule_group.restore");
}

#[tokio::test]
async fn groups_are_listed_in_pages() {
    let world = World::new().await;
    let judge = world.judge_with(world.config()).await;
    for name in ["a", "b&c", "d"] {
        let path = format!("/api/v1/rule-groups/{name}").replace('&', "%26");
        assert_eq!(ask(&world, &judge, Method::PUT, &path, &[], BODY).await.status, 200);
    }
    let first = world.http.get(format!("{}/api/v1/rule-groups?limit=2", judge.url));
    let first = first.send().await.unwrap();
    let link = first.headers()["link"].to_str().unwrap().to_owned();
    assert_eq!(link, "</api/v1/rule-groups?after=b%26c&limit=2>; rel=\"next\"");
    let next = judge.get(&world, "/api/v1/rule-groups?after=b%26c&limit=2").await.unwrap();
    assert_eq!((next.as_array().map(Vec::len), &next[0]["name"]), (Some(1), &json!("d")));
}

#[tokio::test]
async fn a_fault_is_told_with_its_place_in_the_expression() {
    let world = World::new().await;
    let judge = world.judge_with(world.config()).await;
    let body = "rules:\n- alert: A\n  expr: |\n    up\n    == sum(\n";
    let answer = ask(&world, &judge, Method::PUT, GROUP, &[], body).await;
    assert_eq!((answer.status, &answer.body["errorType"]), (400, &json!("bad_data")));
    let fault = &answer.body["faults"][0];
    assert_eq!((&fault["line"], &fault["rule"]), (&json!(4), &json!("rule 1 (alert \"A\")")));
    assert_eq!(fault["expr"]["line"], 3, "{fault}");
}

#[tokio::test]
async fn only_this_machine_and_tokens_may_change_rules() {
    let world = World::new().await;
    let tokens = world.folder.path().join("tokens");
    std::fs::write(&tokens, "ann 0123456789abcdef\n").unwrap();
    let judge = world.judge_with(Config { token_file: tokens, ..world.config() }).await;
    let put = async |headers: &[(&str, &str)]| {
        ask(&world, &judge, Method::PUT, GROUP, headers, BODY).await
    };
    for foreign in [
        ("x-forwarded-for", "192.0.2.7"),
        ("origin", "http://evil.example"),
        ("sec-fetch-site", "cross-site"),
        ("host", "evil.example"),
        ("authorization", "Bearer wrong-wrong-wrong"),
    ] {
        let answer = put(&[foreign]).await;
        assert_eq!(answer.status, 403, "{foreign:?} {}", answer.body);
    }
    assert_eq!(judge.get(&world, "/api/v1/rule-groups").await, Some(json!([])));
    let token = ("authorization", "Bearer 0123456789abcdef");
    assert_eq!(put(&[token, ("x-forwarded-for", "192.0.2.7")]).await.status, 200);
    let versions = judge.get(&world, &format!("{GROUP}/versions")).await.unwrap();
    assert_eq!(versions[0]["actor"], "ann");
    world.clock.advance(Duration::from_secs(1));
}
