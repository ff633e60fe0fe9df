//! The list of the hosts, and what it is asked for.

use std::time::Duration;

use hbs::Config;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;

use crate::hbs::{Hbs, NOW, SOON};

async fn names(hbs: &Hbs, query: &str) -> Vec<String> {
    let page = hbs.json(&format!("/api/v1/hosts?{query}")).await;
    let hosts = page["hosts"].as_array().unwrap();
    hosts.iter().map(|host| host["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn hosts_are_found_by_name_version_group_label_and_what_they_could_not_apply() {
    let hbs = Hbs::start(Config::default()).await;
    hbs.put("/api/v1/groups/corp.web", &json!({ "host_patterns": ["web-*"] })).await;
    hbs.hear(&json!({ "host": "web-01", "agent_version": "7.1", "desired_faults": ["no room"] }))
        .await;
    hbs.hear(&json!({ "host": "web-02", "agent_version": "7.0", "labels": { "idc": "bj" } })).await;
    hbs.hear(&json!({ "host": "db-01", "agent_version": "7.0" })).await;
    for (query, expected) in [
        ("name=web-*", vec!["web-01", "web-02"]),
        ("version=7.0", vec!["db-01", "web-02"]),
        ("group=corp.web", vec!["web-01", "web-02"]),
        ("label=idc%3Dbj", vec!["web-02"]),
        ("faulty=true", vec!["web-01"]),
        ("silent=true", vec![]),
        ("group=corp.web&version=7.0", vec!["web-02"]),
        ("limit=1&after=db-01", vec!["web-01"]),
    ] {
        assert_eq!(names(&hbs, query).await, expected, "{query}");
    }
    for query in ["label=idc", "colour=red"] {
        let answer = hbs.request(Method::GET, &format!("/api/v1/hosts?{query}")).send().await;
        assert_eq!(answer.unwrap().status(), 400, "{query}");
    }
}

#[tokio::test]
async fn a_host_that_is_silent_is_kept_and_marked_and_forgotten_in_the_end() {
    let config = Config { purge_after: Duration::from_secs(7200), ..Config::default() };
    let hbs = Hbs::start(config).await;
    hbs.beat("web-01").await;
    eventually("the host is stored", SOON, async || {
        (hbs.metric("hbs_hosts_stored_total").await == "1").then_some(())
    })
    .await;
    hbs.context.clock.advance(Duration::from_secs(200));
    assert_eq!(hbs.json("/api/v1/hosts/web-01").await["silent"], true);
    assert_eq!(names(&hbs, "silent=true").await, ["web-01"]);
    eventually("the host is forgotten", SOON, async || {
        hbs.context.clock.advance(Duration::from_secs(20));
        tokio::task::yield_now().await;
        (hbs.metric("hbs_hosts_purged_total").await == "1").then_some(())
    })
    .await;
    assert_eq!(hbs.json("/api/v1/hosts").await["total"], 0);
    assert_eq!(hbs.json("/api/v1/audit").await["entries"][0]["actor"], "hbs");
}

#[tokio::test]
async fn a_place_in_the_tree_without_a_group_of_its_own_has_hosts_and_windows() {
    let hbs = Hbs::start(Config::default()).await;
    hbs.put("/api/v1/groups/corp.pay.web", &json!({ "host_patterns": ["web-*"] })).await;
    hbs.beat("web-01").await;
    let window = json!({ "group": "corp.pay", "for": "2h", "reason": "new switches" });
    let (status, text) = hbs.change(Method::POST, "/api/v1/maintenance", &window).await;
    assert_eq!(status, 201, "{text}");
    assert_eq!(names(&hbs, "maintenance=true").await, ["web-01"]);
    testkit::eventually("the host is in the list", crate::hbs::SOON, async || {
        let list = hbs.json("/api/v1/groups/corp.pay/hosts").await;
        (list["hosts"][0]["host"] == "web-01").then_some(())
    })
    .await;
    let of_none = json!({ "group": "corp.p", "for": "2h" });
    assert_eq!(hbs.change(Method::POST, "/api/v1/maintenance", &of_none).await.0, 404);
}

#[tokio::test]
async fn a_maintenance_window_is_seen_at_its_hosts_until_it_is_ended() {
    let hbs = Hbs::start(Config::default()).await;
    hbs.put("/api/v1/groups/corp.web", &json!({ "host_patterns": ["web-*"] })).await;
    hbs.put("/api/v1/groups/corp", &json!({})).await;
    hbs.beat("web-01").await;
    hbs.beat("db-01").await;
    let window = json!({ "group": "corp", "for": "2h", "reason": "new switches", "who": "ann" });
    let (status, text) = hbs.change(Method::POST, "/api/v1/maintenance", &window).await;
    assert_eq!(status, 201, "{text}");
    let added: Value = serde_json::from_str(&text).unwrap();
    let id = added["id"].as_str().unwrap();
    assert_eq!((&added["created_by"], &added["reason"]), (&json!("ann"), &json!("new switches")));
    assert_eq!(names(&hbs, "maintenance=true").await, ["web-01"]);
    assert_eq!(hbs.json("/api/v1/hosts/web-01").await["maintenance"], id);
    let listed = hbs.json("/api/v1/maintenance?active=true&host=web-01").await;
    assert_eq!(listed["maintenance"][0]["id"], id);
    let of_other = hbs.json("/api/v1/maintenance?host=db-01").await;
    assert_eq!(of_other["maintenance"], json!([]));

    hbs.context.clock.advance(Duration::from_secs(60));
    assert_eq!(hbs.delete(&format!("/api/v1/maintenance/{id}")).await, 204);
    assert_eq!(hbs.delete(&format!("/api/v1/maintenance/{id}")).await, 404);
    assert_eq!(names(&hbs, "maintenance=true").await, [""; 0]);
    assert_eq!(hbs.json("/api/v1/maintenance").await["maintenance"], json!([]));
    let all = hbs.json(&format!("/api/v1/maintenance?since={}", NOW.seconds())).await;
    assert_eq!(all["maintenance"][0]["id"], id, "what is over is kept");
    let of_none = json!({ "group": "none", "for": "2h" });
    assert_eq!(hbs.change(Method::POST, "/api/v1/maintenance", &of_none).await.0, 404);
}
