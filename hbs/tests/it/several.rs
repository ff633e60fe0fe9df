//! Several hbs on one database and one shared state, and what happens when these are away.

use std::collections::BTreeSet;
use std::time::Duration;

use db::{Db, DbConfig};
use hbs::{Config, Deps};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;

use crate::hbs::{Hbs, SOON, embedded, on_servers, servers};

const POLL: Duration = Duration::from_secs(5);

fn config(instance: &str) -> Config {
    Config { instance: instance.to_owned(), ..Config::default() }
}

async fn label_of(hbs: &Hbs, host: &str) -> Value {
    hbs.json(&format!("/api/v1/hosts/{host}/desired")).await["desired"]["labels"]["team"].clone()
}

/// Lets time pass at an hbs until it sees the label.
async fn sees(hbs: &Hbs, label: &str) {
    eventually("the change is seen", SOON, async || {
        hbs.context.clock.advance(POLL);
        (label_of(hbs, "web-01").await == label).then_some(())
    })
    .await;
}

fn group(team: &str) -> Value {
    json!({ "host_patterns": ["web-*"], "labels": { "team": team } })
}

async fn a_change_through_one_is_seen_by_all_and_a_new_leader_follows_the_old(deps: Deps) {
    let one = Hbs::start_on(config("one"), deps.clone()).await;
    let other = Hbs::start_on(config("other"), deps).await;
    assert_eq!(
        (one.metric("hbs_leader").await, other.metric("hbs_leader").await),
        ("1".into(), "0".into())
    );
    one.put("/api/v1/groups/web", &group("a")).await;
    sees(&other, "a").await;
    other.put("/api/v1/groups/web", &group("b")).await;
    assert_eq!(label_of(&other, "web-01").await, "b", "who changes it sees it at once");
    sees(&one, "b").await;
    sees(&other, "b").await;

    one.context.stop().await;
    other.put("/api/v1/groups/web", &group("c")).await;
    eventually("the other one leads", SOON, async || {
        other.context.clock.advance(POLL);
        (other.metric("hbs_leader").await == "1").then_some(())
    })
    .await;
    assert_eq!(label_of(&other, "web-01").await, "c");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_seen_by_all_embedded() {
    let folder = tempfile::tempdir().unwrap();
    let deps = embedded(folder.path()).await;
    a_change_through_one_is_seen_by_all_and_a_new_leader_follows_the_old(deps).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_seen_by_all_on_redis_and_mariadb() {
    let Some((mariadb, redis)) = servers().await else { return };
    let deps = on_servers(&mariadb.create_database("hbs"), &redis).await;
    a_change_through_one_is_seen_by_all_and_a_new_leader_follows_the_old(deps).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_of_one_are_known_to_the_other_and_forgotten_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let deps = embedded(folder.path()).await;
    let one = Hbs::start_on(config("one"), deps.clone()).await;
    let other = Hbs::start_on(config("other"), deps).await;
    other.beat("web-01").await;
    let total = async |hbs: &Hbs, wanted: u64| {
        eventually("the hosts are those wanted", SOON, async || {
            hbs.context.clock.advance(Duration::from_secs(10));
            (hbs.json("/api/v1/hosts").await["total"] == wanted).then_some(())
        })
        .await;
    };
    total(&one, 1).await;
    assert_eq!(one.delete("/api/v1/hosts/web-01").await, 204);
    total(&other, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_hear_is_told_to_the_leader_before_it_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let deps = embedded(folder.path()).await;
    let leader = Hbs::start_on(config("leader"), deps.clone()).await;
    let other = Hbs::start_on(config("other"), deps).await;
    leader.beat("web-01").await;
    other.beat("web-01").await;
    // Heard from now on by the other one alone.
    other.context.clock.advance(Duration::from_secs(25));
    leader.context.clock.advance(Duration::from_secs(25));
    eventually("the leader knows of it", SOON, async || {
        // Again and again: what was heard is told for three rounds, and this clock may be ahead of the rounds.
        other.beat("web-01").await;
        other.context.clock.advance(Duration::from_secs(10));
        leader.context.clock.advance(Duration::from_secs(10));
        // Not an answer as long as the first heartbeat waits for its batch.
        let host: Value = serde_json::from_str(&leader.get("/api/v1/hosts/web-01").await).ok()?;
        let age = host["heartbeat_age_seconds"].as_f64()?;
        let since_start = leader.context.clock.now().since(crate::hbs::NOW).as_secs_f64();
        (age <= since_start - 25.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_and_sql_the_last_good_snapshot_is_served_and_no_host_is_lost() {
    let Some((mut mariadb, mut redis)) = servers().await else { return };
    let url = mariadb.create_database("hbs");
    let one = Hbs::start_on(config("one"), on_servers(&url, &redis).await).await;
    let other = Hbs::start_on(config("other"), on_servers(&url, &redis).await).await;
    one.put("/api/v1/groups/web", &group("a")).await;
    sees(&other, "a").await;

    redis.kill();
    one.context.clock.advance(POLL);
    eventually("the lack is told", SOON, async || {
        other.context.clock.advance(POLL);
        other.get("/-/ready").await.contains("shared state").then_some(())
    })
    .await;
    mariadb.kill();
    let (status, text) = one.change(Method::PUT, "/api/v1/groups/web", &group("lost")).await;
    assert_eq!(status, 503, "{text}");
    for n in 0..20 {
        for (hbs, name) in [(&one, "one"), (&other, "other")] {
            let host = format!("web-{name}-{n:02}");
            let told = hbs.hear(&json!({ "host": host, "agent_version": "7.0" })).await;
            assert_eq!(told["desired"]["labels"]["team"], "a", "the last good snapshot");
        }
    }
    eventually("the database is missed", SOON, async || {
        one.get("/-/ready").await.contains("database").then_some(())
    })
    .await;

    mariadb.start_again().await;
    redis.start_again().await;
    let db = Db::connect(&DbConfig::new(url)).await.unwrap();
    let stored = eventually("all hosts are stored", SOON, async || {
        let names: BTreeSet<String> = db.hosts().names().await.ok()?.into_iter().collect();
        (names.len() == 40).then_some(names)
    });
    assert!(stored.await.contains("web-other-19"));
    eventually("changes work again", SOON, async || {
        let answer = one.change(Method::PUT, "/api/v1/groups/web", &group("b")).await;
        (answer.0 == 200).then_some(())
    })
    .await;
    sees(&other, "b").await;
    let ready = eventually("nothing of it is missed", SOON, async || {
        other.context.clock.advance(POLL);
        let text = other.get("/-/ready").await;
        (!text.contains("shared state") && !text.contains("groups")).then_some(())
    });
    ready.await;
}
