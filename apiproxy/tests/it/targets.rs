//! What hbs know, asked through apiproxy: targets and groups.

use serde_json::{Value, json};
use testkit::eventually;

use crate::world::{Hbs, SOON, World, context};

fn hosts(targets: &Value) -> Vec<String> {
    let list = targets["data"]["activeTargets"].as_array().expect("a list").iter();
    list.map(|one| format!("{} {}", one["labels"]["endpoint"].as_str().unwrap(), one["health"]))
        .collect()
}

#[tokio::test]
async fn hosts_of_all_data_centres_are_targets_that_are_up_or_down() {
    let context = context();
    let (bj, sh) = (Hbs::start(&context).await, Hbs::start(&context).await);
    bj.beat("old").await;
    let world = World::start(context, &[("bj", &[], &[&bj]), ("sh", &[], &[&sh])]).await;
    world.context.clock.advance(std::time::Duration::from_secs(300));
    sh.beat("new").await;
    let targets = world.json("/api/v1/targets").await;
    assert_eq!(hosts(&targets), [r#"new "up""#, r#"old "down""#], "{targets}");
    let first = &targets["data"]["activeTargets"][0];
    let seen = world.context.clock.now().rfc3339();
    assert_eq!((&first["lastScrape"], &first["scrapePool"]), (&json!(seen), &json!("saker-agent")));
    assert_eq!((&first["scrapeInterval"], &first["lastError"]), (&json!("30s"), &json!("")));
    assert_eq!((&targets["data"]["droppedTargets"], targets.get("warnings")), (&json!([]), None));
    assert!(hosts(&world.json("/api/v1/targets?state=dropped").await).is_empty());
    assert!(hosts(&world.json("/api/v1/targets?scrapePool=node").await).is_empty());

    sh.stop().await;
    let answer = world.request(reqwest::Method::GET, "/api/v1/targets").send().await.unwrap();
    assert_eq!(answer.headers()["x-saker-partial"], "sh");
    let targets: Value = answer.json().await.unwrap();
    assert_eq!(hosts(&targets), [r#"old "down""#]);
    assert!(targets["warnings"][0].as_str().unwrap().contains("data centre sh"), "{targets}");
    let denied = world.json("/api/v1/targets?partial=deny").await;
    assert_eq!(denied["status"], "error", "{denied}");
}

#[tokio::test]
async fn a_group_has_the_hosts_of_all_data_centres_by_name_and_by_number() {
    let context = context();
    let (bj, sh) = (Hbs::start(&context).await, Hbs::start(&context).await);
    bj.put_group("pay", &["db-02", "db-01"]).await;
    sh.put_group("pay.web", &["web-01"]).await;
    sh.put_group("pay", &["db-02", "db-03"]).await;
    let world = World::start(context, &[("bj", &[], &[&bj]), ("sh", &[], &[&sh])]).await;
    let path = "/api/v1/hostgroupsimple/";
    let group = |name: &str| {
        let request = world.request(reqwest::Method::GET, &format!("{path}{name}"));
        async move {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        }
    };
    let all = r#"{"hosts":["db-01","db-02","db-03","web-01"]}"#;
    assert_eq!(group("pay").await, (200, all.to_owned()));
    // The number of a name is the same in every data centre and after every start.
    let number = model::Labels::from_pairs([("endpoint", "pay.web")]).hash() >> 12;
    assert_eq!(group(&number.to_string()).await, (200, r#"{"hosts":["web-01"]}"#.to_owned()));
    assert_eq!(
        group("nobody").await,
        (404, r#"{"error":"no data centre has a group \"nobody\""}"#.to_owned())
    );
    assert_eq!(group("12345").await.0, 404);

    bj.stop().await;
    eventually("the other is asked alone", SOON, async || {
        let request = world.request(reqwest::Method::GET, &format!("{path}pay"));
        let answer = request.send().await.unwrap();
        let missing = answer.headers().get("x-saker-partial")?.to_str().unwrap().to_owned();
        (missing == "bj" && answer.text().await.unwrap().contains("db-03")).then_some(())
    })
    .await;
}
