//! The central services on a real MariaDB and a real Redis, which die as the services do.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use daemon::Clock;
use model::Sample;
use tempfile::TempDir;
use testkit::{MariaDb, Redis, eventually, get_json};

use crate::stack::Stack;

const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn on_mariadb_and_redis_an_alert_survives_the_end_of_any_of_them() {
    let Some(mut mariadb) = MariaDb::start().await else { return };
    let Some(mut redis) = Redis::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let sections = format!(
        "[db]\nurl = {:?}\n[state]\nredis_url = {:?}\n",
        mariadb.create_database("saker"),
        redis.url()
    );
    let mut stack = Stack::with(&rules(&folder), &sections).await;
    stack.start_saker().await;
    fire(&stack, "one").await;
    let first = firing_since(&stack, "one").await;

    stack.saker().kill();
    stack.start_saker().await;
    fire(&stack, "one").await;
    assert_eq!(
        firing_since(&stack, "one").await,
        first,
        "the alert is the same as before the kill"
    );
    assert!(!stack.file("data").join("saker.db").exists(), "nothing is kept in SQLite");

    mariadb.kill();
    redis.kill();
    assert!(write(&stack, "two").await, "samples are taken while both are away");
    redis.start_again().await;
    mariadb.start_again().await;
    fire(&stack, "two").await;
    firing_since(&stack, "two").await;
    eventually("both were told", SOON, async || (told(&stack, "firing") >= 2).then_some(())).await;
    fire(&stack, "one").await;
    assert_eq!(firing_since(&stack, "one").await, first);
    assert_eq!(told(&stack, "resolved"), 0, "nobody was told that it is over");
}

/// How many alerts the webhook was told of with this status.
fn told(stack: &Stack, status: &str) -> usize {
    let mut names: Vec<String> = stack
        .webhook
        .bodies()
        .iter()
        .filter_map(|body| body["alerts"].as_array().cloned())
        .flatten()
        .filter(|alert| alert["status"] == status)
        .map(|alert| alert["labels"]["name"].to_string())
        .collect();
    names.sort_unstable();
    names.dedup();
    names.len()
}

async fn write(stack: &Stack, name: &str) -> bool {
    let sample = Sample { timestamp: Clock::System.now(), value: 1.0 };
    stack.write("server_trigger", &[("endpoint", "e"), ("name", name)], vec![sample]).await
}

async fn fire(stack: &Stack, name: &str) {
    eventually("the sample is taken", SOON, async || write(stack, name).await.then_some(())).await;
}

/// When the alert began, as alarm tells it.
async fn firing_since(stack: &Stack, name: &str) -> String {
    let url = format!("{}/api/v2/alerts?active=true", stack.alarm());
    let answer = eventually("the alert is firing", SOON, async || {
        let alerts = get_json(&stack.context.http, &url).await?;
        let alert =
            alerts.as_array()?.iter().find(|alert| alert["labels"]["name"] == name)?.clone();
        (alert["status"]["state"] == "active").then_some(alert)
    });
    answer.await["startsAt"].as_str().unwrap().to_owned()
}

fn rules(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("rules.yml");
    let rules = "groups:\n  - name: servers\n    interval: 1s\n    rules:\n      - alert: ServerTest\n        expr: server_trigger > 0\n";
    fs::write(&path, rules).unwrap();
    path
}
