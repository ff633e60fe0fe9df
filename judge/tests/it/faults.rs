//! Faults of rules, of neighbours, and of the clock: each is told, and none is a false end or a lost transition.

use std::time::Duration;

use daemon::Clock;
use serde_json::json;
use testkit::eventually;

use crate::alarm::Heard;
use crate::world::{INTERVAL, Judge, World};

const DOWN: &str = "  - {alert: Down, expr: up == 0}\n";
const UP: [(&str, &str); 2] = [("__name__", "up"), ("endpoint", "web-1")];
const OTHER: [(&str, &str); 2] = [("__name__", "up"), ("endpoint", "web-2")];
const MINUTE: Duration = Duration::from_secs(60);

/// The alerts of the rule, without those of judge about itself.
fn of_rule(world: &World) -> Vec<Heard> {
    let mut heard = world.heard();
    heard.retain(|heard| heard.label("alertname") == Some("Down"));
    heard
}

/// Sets the clock back and waits until the group is evaluated by the new time. Whoever sleeps on the tests' clock
/// sleeps until it has caught up, where on the system's clock it is for a span; another rule wakes the judge.
async fn set_back(world: &World, judge: &Judge, span: Duration) {
    let Clock::Manual(at) = &world.clock else { panic!("the tests move the clock") };
    at.send_modify(|now| *now = now.minus(span));
    world.push(&UP, 0.0).await;
    world.config_with(&format!("{DOWN}  - {{record: other, expr: up}}\n"));
    judge.context.request_reload();
    let now = world.clock.now();
    eventually("the new time is noticed", MINUTE, async || {
        let group = judge.group(world, "g").await?;
        let last = model::Timestamp::parse_rfc3339(group["lastEvaluation"].as_str()?)?;
        (last <= now).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_rule_that_does_not_parse_leaves_the_last_good_ones_running() {
    let world = World::new().await;
    let judge = world.judge(DOWN).await;
    world.push(&UP, 0.0).await;
    world.steps(&judge, 1, &UP, 0.0).await;
    world.hears("it fires", |_| true).await;
    world.config_with("  - {alert: Down, expr: 'up =='}\n");
    judge.context.request_reload();
    let ready = format!("{}/-/ready", judge.url);
    eventually("the operator is told", MINUTE, async || {
        let answer = world.http.get(&ready).send().await.ok()?.text().await.ok()?;
        answer.contains("rules.yml").then_some(())
    })
    .await;
    world.steps(&judge, 6, &UP, 0.0).await;
    assert!(!world.heard_of_an_end());
    let group = judge.group(&world, "g").await.expect("it runs on");
    assert_eq!(
        (&group["rules"][0]["query"], &group["rules"][0]["state"]),
        (&json!("up == 0"), &json!("firing"))
    );
}

#[tokio::test]
async fn an_alarm_that_was_away_for_an_hour_hears_how_things_stand() {
    let world = World::new().await;
    let judge = world.judge(DOWN).await;
    world.push(&UP, 0.0).await;
    world.steps(&judge, 1, &UP, 0.0).await;
    let first = world.hears("it fires", |_| true).await;
    world.alarm.answer_with(503);
    // One ends in this hour, another begins.
    world.clock.advance(Duration::from_secs(1));
    world.push(&UP, 1.0).await;
    for _ in 0..120 {
        world.step(&judge, INTERVAL * 2).await;
        world.push(&UP, 1.0).await;
        world.push(&OTHER, 0.0).await;
    }
    let before = of_rule(&world).len();
    world.alarm.answer_with(200);
    let told = world
        .in_time("both are told", async || {
            let told = of_rule(&world).split_off(before);
            let ended = told.iter().find(|heard| heard.is_end()).cloned()?;
            let begun = told.iter().find(|heard| !heard.is_end()).cloned()?;
            Some((ended, begun))
        })
        .await;
    assert_eq!(told.0.identity(), first.identity(), "the end, once, with the old start");
    assert_eq!(told.1.label("endpoint"), Some("web-2"));
    let late = world.hears("judge says that it was late", |heard| {
        heard.label("alertname") == Some("JudgeNotificationsLate")
    });
    assert_eq!(late.await.label("severity"), Some("critical"));
}

#[tokio::test]
async fn a_clock_set_back_ends_nothing_and_stops_nothing() {
    let world = World::new().await;
    let judge = world.judge(DOWN).await;
    world.push(&UP, 0.0).await;
    world.steps(&judge, 2, &UP, 0.0).await;
    let fired = world.hears("it fires", |_| true).await;
    set_back(&world, &judge, MINUTE * 10).await;
    world.steps(&judge, 8, &UP, 0.0).await;
    world.hears("it is told by the new clock", |heard| heard.at < fired.at).await;
    assert!(!world.heard_of_an_end(), "{:?}", world.heard());
    assert!(
        of_rule(&world).iter().all(|heard| heard.alert.starts_at <= heard.at),
        "no start lies ahead"
    );
}

#[tokio::test]
async fn a_clock_set_forward_ends_nothing_and_lets_nothing_fire_early() {
    let world = World::new().await;
    let judge = world.judge("  - {alert: Down, expr: up == 0, for: 10m}\n").await;
    world.push(&UP, 0.0).await;
    world.steps(&judge, 2, &UP, 0.0).await;
    world.step(&judge, MINUTE * 60).await;
    world.push(&UP, 0.0).await;
    world.steps(&judge, 20, &UP, 0.0).await;
    assert_eq!(of_rule(&world), [], "an hour that nobody saw does not count");
    world.steps(&judge, 24, &UP, 0.0).await;
    world
        .hears("the rest of the hold is seen", |heard| heard.label("alertname") == Some("Down"))
        .await;
}

#[tokio::test]
async fn a_store_that_gives_no_answer_in_time_ends_nothing() {
    let world = World::new().await;
    // The second rule sorts an hour of values for every second of four days: few samples, and minutes of work.
    let slow = "sum(max_over_time(quantile_over_time(0.5, vector(time())[1h:1s])[4d:1s]))";
    let rules = format!(
        "  - alert: Down\n    expr: (up == 0) and on () vector(1)\n  - alert: Slow\n    expr: '{slow} > 0'\n"
    );
    let config =
        judge::Config { query_timeout: Duration::from_secs(1), ..world.config_with(&rules) };
    let judge = world.judge_with(config).await;
    world.push(&UP, 0.0).await;
    world.step(&judge, INTERVAL).await;
    world.hears("the other rule is not held up", |_| true).await;
    let group = judge.group(&world, "g").await.expect("the group is shown");
    let slow = &group["rules"][1];
    assert_eq!(slow["health"], "err", "{slow}");
    assert!(slow["lastError"].as_str().expect("a reason").contains("timed out"), "{slow}");
    assert!(!world.heard_of_an_end());
}

#[tokio::test]
async fn a_rule_with_every_field_of_ours_goes_the_whole_way() {
    let world = World::new().await;
    let rules = "  - alert: Down\n    expr: load > 7\n    recover_expr: load < 3\n    no_data: alert after 15s\n    \
                 priority: P1\n    max_notifications: 3\n    runbook: 'http://wiki/{{ $labels.endpoint }}'\n    \
                 active_times: [{from: '00:00', to: '24:00'}]\n";
    let load = [("__name__", "load"), ("endpoint", "web-1")];
    let judge = world.judge(rules).await;
    world.push(&load, 9.0).await;
    world.steps(&judge, 2, &load, 5.0).await;
    let fired = world.hears("it fires", |_| true).await;
    assert_eq!(fired.label("severity"), Some("P1"));
    assert_eq!(fired.alert.annotations["runbook_url"], "http://wiki/web-1");
    assert_eq!(fired.alert.annotations["max_notifications"], "3");
    world.steps(&judge, 2, &load, 5.0).await;
    assert!(!world.heard_of_an_end(), "between the thresholds it fires on");
    for _ in 0..24 {
        world.step(&judge, INTERVAL).await;
    }
    let missing =
        world.hears("the data is missed", |heard| heard.label("no_data") == Some("true")).await;
    assert!(missing.alert.annotations["summary"].contains("web-1"), "{missing:?}");
    assert!(!world.heard_of_an_end(), "missing data is no recovery");
    world.push(&load, 1.0).await;
    world.steps(&judge, 14, &load, 1.0).await;
    for name in [None, Some("true")] {
        world.hears("both end", |heard| heard.is_end() && heard.label("no_data") == name).await;
    }
}
