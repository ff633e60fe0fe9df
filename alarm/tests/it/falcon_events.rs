//! Events of Open-Falcon's judges come over Redis and are alerts like all others.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Redis, Webhook, eventually};

use crate::harness::{Alarm, PATIENCE, receiver, webhook};

const STEP: Duration = Duration::from_millis(200);

fn settings(redis: &Redis, webhook: &Webhook) -> String {
    let events = format!("[falcon_events]\nenabled = true\nredis_url = \"{}\"\n", redis.url());
    receiver("ops", webhook) + &events
}

fn event(host: &str, status: &str, priority: u8) -> Value {
    json!({
        "id": "s_41_9a3f", "expression": null, "status": status, "endpoint": host,
        "strategy": {
            "id": 41, "metric": "mem.memused.percent", "tags": {}, "func": "all(#3)",
            "operator": ">", "rightValue": 90, "maxStep": 3, "priority": priority,
            "note": "memory high",
        },
        "leftValue": 93.1, "currentStep": 1, "eventTime": 1_760_000_400, "pushedTags": {},
    })
}

async fn connection(redis: &Redis) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(redis.url()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

async fn push(redis: &Redis, list: &str, item: &str) {
    let mut connection = connection(redis).await;
    let () = redis::cmd("LPUSH").arg(list).arg(item).query_async(&mut connection).await.unwrap();
}

async fn items(redis: &Redis, list: &str) -> Vec<String> {
    let mut connection = connection(redis).await;
    redis::cmd("LRANGE").arg(list).arg(0).arg(-1).query_async(&mut connection).await.unwrap()
}

/// Waits, while time goes on, until the webhook was told that this host has a problem.
async fn until_told(alarm: &Alarm, webhook: &Webhook, host: &str) {
    eventually("it is told", PATIENCE, async || {
        alarm.advance(STEP);
        let bodies = webhook.bodies();
        let mut alerts = bodies.iter().flat_map(|body| body["alerts"].as_array().unwrap());
        alerts.any(|alert| alert["labels"]["endpoint"] == host).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_problem_is_told_and_its_end_too_and_nothing_stays_in_redis() {
    let Some(redis) = Redis::start().await else { return };
    let (webhook, _context) = webhook().await;
    let alarm = Alarm::start(&settings(&redis, &webhook)).await;
    push(&redis, "event:p2", &event("db-07", "PROBLEM", 2).to_string()).await;
    let until = async |what: &str, status: &str, number: usize| {
        eventually(what, PATIENCE, async || {
            alarm.advance(STEP);
            let bodies = webhook.bodies();
            (bodies.len() >= number && bodies[number - 1]["status"] == status).then_some(bodies)
        })
        .await
    };
    let bodies = until("it is told", "firing", 1).await;
    let labels = &bodies[0]["alerts"][0]["labels"];
    assert_eq!((&labels["endpoint"], &labels["severity"]), (&json!("db-07"), &json!("P2")));
    assert_eq!(labels["metric"], "mem.memused.percent");
    push(&redis, "event:p2", &event("db-07", "OK", 2).to_string()).await;
    until("its end is told", "resolved", 2).await;
    eventually("nothing is left", PATIENCE, async || {
        let left = [items(&redis, "event:p2").await, items(&redis, "event:p2:saker").await];
        left.iter().all(Vec::is_empty).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_is_counted_and_put_aside_and_the_rest_goes_on() {
    let Some(redis) = Redis::start().await else { return };
    let (webhook, _context) = webhook().await;
    push(&redis, "event:p0", "{broken").await;
    push(&redis, "event:p0", &event("db-07", "PROBLEM", 0).to_string()).await;
    push(&redis, "event:p6", &event("", "PROBLEM", 6).to_string()).await;
    let alarm = Alarm::start(&settings(&redis, &webhook)).await;
    until_told(&alarm, &webhook, "db-07").await;
    eventually("both are aside", PATIENCE, async || {
        alarm.advance(STEP);
        let metrics = alarm.get("/metrics").await;
        metrics.contains("alarm_falcon_events_total{result=\"bad\"} 2").then_some(())
    })
    .await;
    assert_eq!(items(&redis, "event:p0:bad").await, ["{broken"]);
    assert_eq!(items(&redis, "event:p6:bad").await.len(), 1);
    assert!(
        alarm.get("/metrics").await.contains("alarm_falcon_events_total{result=\"accepted\"} 1")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_took_and_did_not_finish_is_taken_up_again() {
    let Some(mut redis) = Redis::start().await else { return };
    let (webhook, _context) = webhook().await;
    // As one leaves it who is killed between Redis and the store.
    push(&redis, "event:p3:saker", &event("db-08", "PROBLEM", 3).to_string()).await;
    let alarm = Alarm::start(&settings(&redis, &webhook)).await;
    until_told(&alarm, &webhook, "db-08").await;
    redis.kill();
    alarm.advance(STEP);
    redis.start_again().await;
    push(&redis, "event:p3", &event("db-09", "PROBLEM", 3).to_string()).await;
    until_told(&alarm, &webhook, "db-09").await;
    eventually("nothing is left", PATIENCE, async || {
        items(&redis, "event:p3:saker").await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_there_is_no_room_for_is_put_aside_and_told_when_it_is_pushed_back() {
    let Some(redis) = Redis::start().await else { return };
    let (webhook, _context) = webhook().await;
    for host in ["db-01", "db-02", "db-03"] {
        push(&redis, "event:p1", &event(host, "PROBLEM", 1).to_string()).await;
    }
    let full = format!("alerts_max = 2\n{}", settings(&redis, &webhook));
    let alarm = Alarm::start(&full).await;
    eventually("one is aside", PATIENCE, async || {
        alarm.advance(STEP);
        let metrics = alarm.get("/metrics").await;
        metrics.contains("alarm_falcon_events_total{result=\"refused\"} 1").then_some(())
    })
    .await;
    let aside = items(&redis, "event:p1:refused").await;
    assert!(aside.len() == 1 && aside[0].contains("db-03"), "{aside:?}");
    assert!(items(&redis, "event:p1:saker").await.is_empty());
    let accepted = "alarm_falcon_events_total{result=\"accepted\"} 2";
    assert!(alarm.get("/metrics").await.contains(accepted));
    let alarm = alarm.restart(&settings(&redis, &webhook), Duration::from_secs(1)).await;
    push(&redis, "event:p1", &aside[0]).await;
    until_told(&alarm, &webhook, "db-03").await;
}
