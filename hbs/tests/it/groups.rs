//! Groups, and what hosts are told by them.

use hbs::Config;
use reqwest::Method;
use serde_json::{Value, json};

use crate::hbs::{Hbs, NOW};

fn ssh() -> Value {
    json!({ "check": "port_listen", "port": 22 })
}

#[tokio::test]
async fn a_host_is_sent_its_state_until_it_reports_its_hash() {
    let hbs = Hbs::start(Config::default()).await;
    hbs.put("/api/v1/groups/corp", &json!({ "host_patterns": ["web-*"], "checks": [ssh()] })).await;
    let first = hbs.hear(&json!({ "host": "web-01" })).await;
    assert_eq!(first["desired"]["checks"], json!([ssh()]));
    let hash = first["desired"]["hash"].as_str().unwrap().to_owned();
    let applied = json!({ "host": "web-01", "desired_hash": hash });
    assert_eq!(hbs.hear(&applied).await["desired"], Value::Null);
    hbs.put("/api/v1/groups/corp.pay", &json!({ "labels": { "team": "pay" } })).await;
    assert_eq!(hbs.hear(&applied).await["desired"], Value::Null, "not one of its groups");
    let members = json!({ "add": ["web-01"] });
    let (status, _) = hbs.change(Method::POST, "/api/v1/groups/corp.pay/members", &members).await;
    assert_eq!(status, 200);
    let second = hbs.hear(&applied).await;
    assert_eq!(second["desired"]["labels"], json!({ "team": "pay" }));
    assert_eq!(second["desired"]["checks"], json!([ssh()]), "those of the group above stay");
}

#[tokio::test]
async fn a_label_of_the_agent_brings_it_into_a_group_and_its_loss_out_of_it() {
    let hbs = Hbs::start(Config::default()).await;
    hbs.put("/api/v1/groups/db", &json!({ "host_labels": [{ "role": "db" }], "checks": [ssh()] }))
        .await;
    let with = hbs.hear(&json!({ "host": "a", "labels": { "role": "db" } })).await;
    assert_eq!(with["desired"]["checks"], json!([ssh()]));
    let hash = &with["desired"]["hash"];
    let without = hbs.hear(&json!({ "host": "a", "desired_hash": hash })).await;
    assert_eq!(without["desired"]["checks"], Value::Null);
    assert_ne!(&without["desired"]["hash"], hash);
}

#[tokio::test]
async fn the_explanation_says_which_group_gave_what_and_why_the_host_is_in_it() {
    let hbs = Hbs::start(Config::default()).await;
    hbs.put("/api/v1/groups/corp", &json!({ "labels": { "team": "ops" } })).await;
    let pay = json!({ "host_patterns": ["pay-*"], "labels": { "team": "pay" } });
    hbs.put("/api/v1/groups/corp.pay", &pay).await;
    let told = hbs.json("/api/v1/hosts/pay-01/desired").await;
    assert_eq!(
        told["groups"],
        json!([
            { "group": "corp", "version": 1, "because": { "by": "group", "group": "corp.pay" } },
            { "group": "corp.pay", "version": 1, "because": { "by": "pattern", "pattern": "pay-*" } },
        ])
    );
    let origin = json!([{ "part": "labels team", "group": "corp.pay", "instead_of": ["corp"] }]);
    assert_eq!(told["origins"], origin);
    assert_eq!(
        (&told["known"], &told["desired"]["labels"]["team"]),
        (&json!(false), &json!("pay"))
    );
}

#[tokio::test]
async fn the_hosts_of_a_group_are_those_of_the_groups_below_it_too() {
    let hbs = Hbs::start(Config::default()).await;
    hbs.beat("web-01").await;
    for (group, spec) in [
        ("corp", json!({})),
        ("corp.web", json!({ "host_patterns": ["web-*"] })),
        ("corporate", json!({ "host_patterns": ["web-*"] })),
    ] {
        hbs.put(&format!("/api/v1/groups/{group}"), &spec).await;
    }
    let members = json!({ "add": ["by-hand"] });
    hbs.change(Method::POST, "/api/v1/groups/corp/members", &members).await;
    let list = hbs.json("/api/v1/groups/corp/hosts").await;
    assert_eq!(
        list["hosts"],
        json!([
            { "host": "by-hand", "group": "corp", "by": "hand" },
            { "host": "web-01", "group": "corp.web", "by": "rule" },
        ])
    );
    let first = hbs.json("/api/v1/groups/corp/hosts?limit=1").await;
    let after = first["next_after"].as_str().unwrap();
    let second = hbs.json(&format!("/api/v1/groups/corp/hosts?limit=1&after={after}")).await;
    assert_eq!(
        (&second["hosts"][0]["host"], &second["next_after"]),
        (&json!("web-01"), &Value::Null)
    );
    let groups = hbs.json("/api/v1/groups?below=corp").await;
    let names: Vec<&str> =
        groups["groups"].as_array().unwrap().iter().map(|g| g["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["corp", "corp.web"]);
    assert_eq!(groups["groups"][1]["hosts"], 1);
}

#[tokio::test]
async fn a_host_heard_after_its_group_was_made_is_in_the_stored_list_soon() {
    let hbs = Hbs::start(Config::default()).await;
    hbs.put("/api/v1/groups/web", &json!({ "host_patterns": ["web-*"] })).await;
    hbs.beat("web-01").await;
    testkit::eventually("the host is in the list", crate::hbs::SOON, async || {
        let list = hbs.json("/api/v1/groups/web/hosts").await;
        (list["hosts"][0]["host"] == "web-01").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_faulty_group_is_refused_with_all_its_faults() {
    let hbs = Hbs::start(Config::default()).await;
    let faulty = json!({ "labels": { "endpoint": "x" }, "tiers": { "cpu": 100_000 } });
    let (status, text) = hbs.change(Method::PUT, "/api/v1/groups/corp", &faulty).await;
    assert_eq!((status, text.lines().count()), (400, 2), "{text}");
    for name in ["a..b", "a%20b"] {
        let path = format!("/api/v1/groups/{name}");
        assert_eq!(hbs.change(Method::PUT, &path, &json!({})).await.0, 400, "{name}");
    }
    let members = json!({ "add": ["a"] });
    assert_eq!(hbs.change(Method::POST, "/api/v1/groups/none/members", &members).await.0, 404);
}

#[tokio::test]
async fn groups_survive_a_restart_and_a_removed_one_is_gone() {
    let hbs = Hbs::start(Config::default()).await;
    hbs.put("/api/v1/groups/web", &json!({ "checks": [ssh()] })).await;
    hbs.put("/api/v1/groups/web", &json!({ "checks": [] })).await;
    let hbs = hbs.restart(Config::default(), NOW).await;
    assert_eq!(hbs.json("/api/v1/groups/web").await["version"], 2);
    assert_eq!(hbs.delete("/api/v1/groups/web").await, 204);
    assert_eq!(hbs.delete("/api/v1/groups/web").await, 404);
    assert_eq!(hbs.json("/api/v1/groups").await["total"], 0);
}

#[tokio::test]
async fn a_change_through_a_proxy_needs_a_token_and_the_audit_names_who_made_it() {
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("tokens");
    std::fs::write(&token_file, "ann 0123456789abcdef\n").unwrap();
    let hbs = Hbs::start(Config { token_file, ..Config::default() }).await;
    let through_proxy = |method: Method, path: &str| {
        hbs.request(method, path).header("x-forwarded-for", "127.0.0.1").body("{}")
    };
    for (method, path) in [
        (Method::PUT, "/api/v1/groups/web"),
        (Method::DELETE, "/api/v1/groups/web"),
        (Method::POST, "/api/v1/groups/web/members"),
        (Method::DELETE, "/api/v1/hosts/a"),
        (Method::POST, "/api/v1/maintenance"),
        (Method::DELETE, "/api/v1/maintenance/x"),
        (Method::PUT, "/api/v1/bundles/sys"),
        (Method::DELETE, "/api/v1/bundles/sys"),
    ] {
        let answer = through_proxy(method, path).send().await.unwrap();
        assert_eq!(answer.status(), 403, "{path}");
    }
    assert_eq!(hbs.metric("hbs_changes_refused_total").await, "8");
    let with_token =
        through_proxy(Method::PUT, "/api/v1/groups/web").bearer_auth("0123456789abcdef");
    assert_eq!(with_token.send().await.unwrap().status(), 200);
    hbs.put("/api/v1/groups/web", &json!({ "labels": { "a": "b" } })).await;

    let audit = hbs.json("/api/v1/audit?target=web").await;
    let entries = audit["entries"].as_array().unwrap();
    let actors: Vec<&str> = entries.iter().map(|entry| entry["actor"].as_str().unwrap()).collect();
    assert_eq!(actors, ["local", "ann"], "the latest first");
    assert_eq!(entries[0]["detail"], json!({ "labels": { "a": "b" } }));
    assert_eq!(
        (&entries[0]["peer"], &entries[0]["action"]),
        (&json!("127.0.0.1"), &json!("group.put"))
    );
    let first = hbs.json("/api/v1/audit?limit=1").await;
    let next = first["next_before"].as_str().unwrap();
    let second = hbs.json(&format!("/api/v1/audit?limit=1&before={next}")).await;
    assert_eq!(
        (&second["entries"][0]["actor"], &second["next_before"]),
        (&json!("ann"), &Value::Null)
    );
}
