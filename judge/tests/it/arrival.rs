//! Evaluation when data arrives, between the slots.

use std::time::Duration;

use judge::Config;
use model::{Labels, Matcher, Selection, Timestamp};
use testkit::eventually;
use tokio::time::timeout;

use crate::alarm::Heard;
use crate::world::{INTERVAL, Judge, PATIENCE, START, World};

/// Two rules that share a question: one that shares nothing is left to its slot when the machine is slow.
const DOWN: &str = "  - {alert: Down, expr: up == 0}\n  - {alert: Never, expr: up == 7}\n";
const UP_1: [(&str, &str); 2] = [("__name__", "up"), ("endpoint", "web-1")];
const UP_2: [(&str, &str); 2] = [("__name__", "up"), ("endpoint", "web-2")];

/// A judge that has evaluated its group once, while both hosts were up.
async fn world_with(rules: &str) -> (World, Judge) {
    let world = World::new().await;
    let judge = world.judge_with(Config { on_arrival: true, ..world.config_with(rules) }).await;
    world.push(&UP_1, 1.0).await;
    world.push(&UP_2, 1.0).await;
    world.step(&judge, INTERVAL).await;
    (world, judge)
}

/// Moves the clock by less than is left until the next slot, and pushes.
async fn soon(world: &World, series: &[(&str, &str)], value: f64) {
    world.clock.advance(Duration::from_millis(1500));
    world.push(series, value).await;
}

async fn last_slot(world: &World, judge: &Judge) -> Timestamp {
    let group = judge.group(world, "g").await.expect("the group is shown");
    let at = group["lastEvaluation"].as_str().and_then(Timestamp::parse_rfc3339);
    at.expect("it was evaluated")
}

/// How many evaluations on arrival there were.
async fn looks(world: &World, judge: &Judge) -> Option<u64> {
    let page = testkit::get_text(&world.http, &format!("{}/metrics", judge.url)).await?;
    let line = page.lines().find(|line| line.starts_with("judge_arrival_evaluations_total "))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// As [`soon`], and waits until the rules have looked: a hold counts from look to look.
async fn seen(world: &World, judge: &Judge, series: &[(&str, &str)], value: f64) {
    let before = looks(world, judge).await;
    soon(world, series, value).await;
    let more = async || (looks(world, judge).await > before).then_some(());
    eventually_a_look(world, "the rules look", more).await;
}

/// As [`eventually`]. The rules may have looked at the very moment before the sample came, and look again a
/// second later only: the clock goes on by that now and then, and less than a slot in all.
async fn eventually_a_look<T>(
    world: &World,
    what: &str,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> T {
    for _ in 0..5 {
        if let Ok(answer) = timeout(PATIENCE / 5, eventually(what, PATIENCE, &mut ask)).await {
            return answer;
        }
        world.clock.advance(Duration::from_millis(1100));
    }
    eventually(what, PATIENCE, ask).await
}

/// Waits until the alarm has got such an alert because of a look.
async fn hears(world: &World, what: &str, is_it: impl Fn(&Heard) -> bool) -> Heard {
    eventually_a_look(world, what, async || world.heard().into_iter().find(|heard| is_it(heard)))
        .await
}

#[tokio::test]
async fn an_alert_fires_and_ends_when_its_samples_arrive() {
    let (world, judge) = world_with(DOWN).await;
    let slot = last_slot(&world, &judge).await;
    soon(&world, &UP_1, 0.0).await;
    let fired = hears(&world, "the alert fires", |_| true).await;
    assert_eq!(fired.label("endpoint"), Some("web-1"));
    soon(&world, &UP_1, 1.0).await;
    hears(&world, "the alert ends", Heard::is_end).await;
    assert_eq!(last_slot(&world, &judge).await, slot, "no slot has come");
}

#[tokio::test]
async fn what_one_host_sends_leaves_the_alerts_of_the_others_alone() {
    let (world, _judge) = world_with(DOWN).await;
    soon(&world, &UP_1, 0.0).await;
    hears(&world, "the first one fires", |heard| heard.label("endpoint") == Some("web-1")).await;
    soon(&world, &UP_2, 0.0).await;
    hears(&world, "the second one fires", |heard| heard.label("endpoint") == Some("web-2")).await;
    soon(&world, &UP_2, 1.0).await;
    let ended = hears(&world, "the second one ends", Heard::is_end).await;
    assert_eq!(ended.label("endpoint"), Some("web-2"));
    let ends = world.heard().into_iter().filter(Heard::is_end).count();
    assert_eq!(ends, 1, "the first one fires on");
}

#[tokio::test]
async fn a_rule_over_all_hosts_is_evaluated_as_a_whole() {
    let rules = "  - {alert: Half, expr: avg(up) <= 0.5}\n  - {alert: All, expr: avg(up) <= 0}\n";
    let (world, _judge) = world_with(rules).await;
    soon(&world, &UP_1, 0.0).await;
    let fired = hears(&world, "the alert fires", |_| true).await;
    assert_eq!(fired.alert.labels, Labels::from_pairs([("alertname", "Half")]));
}

#[tokio::test]
async fn a_hold_ends_at_the_first_sample_after_it() {
    let held = DOWN.replace("up == 0", "up == 0, for: 4s");
    let (world, judge) = world_with(&held).await;
    for _ in 0..2 {
        seen(&world, &judge, &UP_1, 0.0).await;
    }
    assert_eq!(world.heard(), []);
    for _ in 0..3 {
        seen(&world, &judge, &UP_1, 0.0).await;
    }
    let fired = hears(&world, "the alert fires", |_| true).await;
    let since = fired.alert.starts_at.since(START);
    assert!(since > INTERVAL && since < INTERVAL * 2, "{since:?}");
}

#[tokio::test]
async fn a_group_that_does_not_want_it_waits_for_its_slot() {
    let world = World::new().await;
    let file = world.folder.path().join("two.yml");
    let group = |name: &str, on_arrival: bool| {
        format!(
            "- name: {name}\n  interval: 15s\n  on_arrival: {on_arrival}\n  rules:\n  - {{alert: {name}, expr: up == 0}}\n"
        )
    };
    let text = format!("groups:\n{}{}", group("g", false), group("eager", true));
    std::fs::write(&file, text).unwrap();
    let judge = world.judge_with(Config { rule_files: vec![file], ..world.config() }).await;
    world.push(&UP_1, 1.0).await;
    world.step(&judge, INTERVAL).await;
    let both = async || {
        let last = judge.group(&world, "eager").await?["lastEvaluation"].take();
        last.as_str().and_then(Timestamp::parse_rfc3339).filter(|at| *at > START)
    };
    eventually("the other group is evaluated, too", PATIENCE, both).await;
    soon(&world, &UP_1, 0.0).await;
    hears(&world, "the eager one fires", |heard| heard.label("alertname") == Some("eager")).await;
    assert!(!world.heard().iter().any(|heard| heard.label("alertname") == Some("g")));
    world.step(&judge, INTERVAL).await;
    world.hears("the other one fires", |heard| heard.label("alertname") == Some("g")).await;
}

#[tokio::test]
async fn recorded_series_and_those_of_alerts_are_written_at_the_slots_only() {
    let rules = format!("  - {{record: 'up:sum', expr: sum(up)}}\n{DOWN}");
    let (world, judge) = world_with(&rules).await;
    soon(&world, &UP_1, 0.0).await;
    hears(&world, "the alert fires", |_| true).await;
    world.step(&judge, INTERVAL).await;
    let slot = last_slot(&world, &judge).await;
    let times = async |name: &str| {
        let matchers = vec![Matcher::equal("__name__", name)];
        let selection = Selection { matchers, start: START, end: world.clock.now() };
        let found = world.storage.reader().select(&selection).await.expect("the store answers");
        found.iter().flat_map(|s| &s.samples).map(|s| s.timestamp).collect::<Vec<_>>()
    };
    assert_eq!(times("up:sum").await, [slot.minus(INTERVAL), slot]);
    assert_eq!(times("ALERTS").await, [slot]);
}

#[tokio::test]
async fn a_judge_that_was_overtaken_tells_nothing_of_what_arrives() {
    let (world, judge) = world_with(DOWN).await;
    let group = format!("{};g", world.folder.path().join("rules.yml").display());
    let path = world.folder.path().join("saker.db");
    let db = db::Db::open(&path).await.expect("the database can be shared");
    let state = state::State::embedded(db);
    state.save_document("rule_group", &group, b"{}", 1 << 60).await.expect("the number is higher");
    soon(&world, &UP_1, 0.0).await;
    eventually_a_look(&world, "the judge notices", async || {
        let group = judge.group(&world, "g").await?;
        (group["rules"][0]["health"] == "unknown").then_some(())
    })
    .await;
    assert_eq!(world.heard(), []);
}

#[tokio::test]
async fn a_slot_that_waits_for_room_is_not_overtaken_by_what_arrives_after_it() {
    let world = World::new().await;
    // The first group keeps the only place until its query is given up.
    let part = |nth| {
        format!("sum(max_over_time(quantile_over_time(0.{nth}, vector(time())[1h:1s])[4d:1s]))")
    };
    let slow = (10..40).map(part).collect::<Vec<_>>().join(" + ");
    let config = world.config_with(DOWN);
    let text = std::fs::read_to_string(&config.rule_files[0]).unwrap();
    let slow =
        format!("\n- name: a\n  interval: 15s\n  rules: [{{alert: Slow, expr: '{slow} > 0'}}]\n");
    std::fs::write(&config.rule_files[0], text + &slow).unwrap();
    let query_timeout = Duration::from_secs(3);
    let settle_time = Duration::ZERO;
    let config =
        Config { on_arrival: true, concurrent_groups_max: 1, query_timeout, settle_time, ..config };
    let judge = world.judge_with(config).await;
    world.push(&UP_1, 1.0).await;
    world.push(&UP_2, 1.0).await;
    world.step(&judge, INTERVAL).await;
    // The next slot begins, and its second group waits for the first one.
    let slot = last_slot(&world, &judge).await.plus(INTERVAL);
    world.clock.advance(slot.since(world.clock.now()));
    world.clock.advance(Duration::from_millis(500));
    world.push(&UP_1, 0.0).await;
    let is_down = |heard: &Heard| heard.label("alertname") == Some("Down");
    let fired = hears(&world, "it fires", is_down).await;
    eventually("the slot is over", PATIENCE, async || {
        (last_slot(&world, &judge).await >= slot).then_some(())
    })
    .await;
    world.step(&judge, INTERVAL).await;
    assert!(!world.heard_of_an_end(), "{:?}", world.heard());
    let of_rule = world.heard().into_iter().filter(is_down);
    let starts: Vec<Timestamp> = of_rule.map(|heard| heard.alert.starts_at).collect();
    assert!(starts.iter().all(|start| *start == fired.alert.starts_at), "{starts:?}");
}
