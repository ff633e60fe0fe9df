//! kill -9 of alarm while it takes events from the lists of Open-Falcon's judges, with its queues in Redis and its store
//! in a file: everything is told, and nothing stays in Redis.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use daemon::{Clock, Context};
use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};
use testkit::{Redis, eventually};

use crate::alarm_process::{Alarm, Platforms};

const SOON: Duration = Duration::from_secs(300);
const KILLS: usize = 5;
const EVENTS_BEFORE_A_KILL: usize = 4_000;
const HOSTS: usize = 200;
/// Apart from each other, so that a kill falls into another part of the way each time.
const KILLED_AFTER: [u64; KILLS] = [60, 900, 250, 500, 1_400];

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_taken_while_it_is_killed_are_told_and_leave_redis() {
    let Some(redis) = Redis::start().await else { return };
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let context = Context::new("e2e", Clock::System).unwrap();
    let platforms = Platforms::start(&context, Duration::ZERO).await;
    let folder = tempfile::tempdir().unwrap();
    let routes = folder.path().join("alertmanager.yml");
    fs::write(&routes, grouped_by_host(&platforms)).unwrap();
    let settings = format!(
        "alertmanager_config = {routes:?}\n\
         [alarm.falcon_events]\nenabled = true\nredis_url = {:?}\n",
        redis.url()
    );
    let state = format!("[state]\nredis_url = {:?}\n", redis.url());
    let mut alarm = Alarm::start(folder.path(), "info", &settings, &state).await;
    for (kill, after) in KILLED_AFTER.into_iter().enumerate() {
        let first = kill * EVENTS_BEFORE_A_KILL;
        push(&mut connection, first..first + EVENTS_BEFORE_A_KILL).await;
        tokio::time::sleep(Duration::from_millis(after)).await;
        alarm.kill_and_start().await;
    }
    let events = KILLS * EVENTS_BEFORE_A_KILL;
    let told = eventually("everything is told", SOON, async || {
        Some(told(&platforms)).filter(|told| told.len() >= events)
    })
    .await;
    assert_eq!(told.len(), events);
    let twice = told.values().filter(|times| **times > 1).count();
    println!("{KILLS} kills: {twice} of {events} alerts were told more than once");
    eventually("nothing is left in Redis", SOON, async || {
        let mut left: u64 =
            ask(&mut connection, "HLEN", "saker:{queue/alarm.hook}:bodies".to_owned()).await;
        for priority in 0..7 {
            for kind in ["", ":saker", ":bad", ":refused"] {
                left += ask(&mut connection, "LLEN", format!("event:p{priority}{kind}")).await;
            }
        }
        (left == 0).then_some(())
    })
    .await;
}

fn grouped_by_host(platforms: &Platforms) -> String {
    format!(
        "route: {{receiver: hook, group_by: [endpoint], group_wait: 0s, group_interval: 1s}}\n\
         receivers: [{{name: hook, webhook_configs: [{{url: '{}/hook'}}]}}]\n",
        platforms.url()
    )
}

/// Each event of another metric or host, on all lists.
async fn push(connection: &mut MultiplexedConnection, numbers: std::ops::Range<usize>) {
    for priority in 0..7 {
        let mut push = redis::cmd("LPUSH");
        push.arg(format!("event:p{priority}"));
        for n in numbers.clone().filter(|n| n % 7 == priority) {
            let event = json!({
                "endpoint": format!("host-{}", n % HOSTS), "status": "PROBLEM",
                "strategy": {
                    "id": n, "metric": format!("metric-{}", n / HOSTS), "func": "all(#3)",
                    "operator": ">", "rightValue": 90, "priority": priority,
                },
                "leftValue": 93.1, "currentStep": 1, "eventTime": 1_760_000_400,
            });
            push.arg(event.to_string());
        }
        let () = push.query_async(connection).await.unwrap();
    }
}

async fn ask(connection: &mut MultiplexedConnection, command: &str, key: String) -> u64 {
    redis::cmd(command).arg(key).query_async(connection).await.unwrap()
}

/// How often each alert was told, by its labels.
fn told(platforms: &Platforms) -> HashMap<(String, String), usize> {
    let mut told = HashMap::new();
    for message in platforms.taken() {
        for alert in message.body["alerts"].as_array().into_iter().flatten() {
            let label = |name: &str| match &alert["labels"][name] {
                Value::String(text) => text.to_owned(),
                _ => panic!("{alert}"),
            };
            *told.entry((label("endpoint"), label("metric"))).or_default() += 1;
        }
    }
    told
}
