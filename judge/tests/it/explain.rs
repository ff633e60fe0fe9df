//! Why a rule fires, what it would have done, and how its evaluations went.

use std::time::Duration;

use model::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{INTERVAL, Judge, START, World};

const RULES: &str = "  - {alert: Down, expr: up == 0, for: 1m, annotations: {s: '{{ $labels.endpoint }}'}}\n  \
                     - {record: 'up:sum', expr: sum(up)}\n  - {alert: Lost, expr: nothing > 5}\n";

fn up(host: &'static str) -> [(&'static str, &'static str); 2] {
    [("__name__", "up"), ("endpoint", host)]
}

async fn id_of(world: &World, judge: &Judge, name: &str) -> String {
    let group = judge.group(world, "g").await.expect("the group is shown");
    let rules = group["rules"].as_array().unwrap().iter();
    let rule = rules.into_iter().find(|rule| rule["name"] == name).expect("the rule is shown");
    rule["id"].as_str().unwrap().to_owned()
}

async fn post(world: &World, judge: &Judge, path: &str, body: &str) -> (u16, Value) {
    let request = world.http.request(Method::POST, format!("{}{path}", judge.url));
    let answer = request.body(body.to_owned()).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn reasons(explanation: &Value) -> String {
    let reasons = explanation["reasons"].as_array().unwrap().iter();
    reasons.map(|reason| reason.as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn a_rule_explains_itself_now_and_for_the_past() {
    let world = World::new().await;
    let judge = world.judge(RULES).await;
    let id = id_of(&world, &judge, "Down").await;
    let path = format!("/api/v1/rules/{id}/explain");
    for host in ["a", "b"] {
        world.push(&up(host), 1.0).await;
    }
    world.step(&judge, INTERVAL).await;
    let calm = judge.get(&world, &path).await.unwrap();
    assert_eq!((&calm["state"], &calm["name"]), (&json!("inactive"), &json!("Down")));
    let why = reasons(&calm);
    assert!(why.contains("up has 2 elements, and none of them passes"), "{why}");
    assert_eq!(
        (&calm["inputs"][0]["series"], &calm["inputs"][0]["selector"]),
        (&json!(2), &json!("up"))
    );
    assert_eq!(
        calm["parts"][1],
        json!({ "expr": "up", "elements": 2, "result": [
        { "metric": { "__name__": "up", "endpoint": "a" }, "value": "1" },
        { "metric": { "__name__": "up", "endpoint": "b" }, "value": "1" },
    ] })
    );
    world.push(&up("a"), 0.0).await;
    world.steps(&judge, 2, &up("a"), 0.0).await;
    let pending = judge.get(&world, &path).await.unwrap();
    assert_eq!(pending["state"], "pending");
    assert!(reasons(&pending).contains("must hold for 1m"), "{}", reasons(&pending));
    let only_b = judge.get(&world, &format!("{path}?match[]={{endpoint=\"b\"}}")).await.unwrap();
    assert_eq!((&only_b["inputs"][0]["series"], &only_b["alerts"]), (&json!(1), &json!([])));
    world.steps(&judge, 4, &up("a"), 0.0).await;
    let firing = judge.get(&world, &path).await.unwrap();
    assert_eq!(
        (&firing["state"], &firing["alerts"][0]["state"]),
        (&json!("firing"), &json!("firing"))
    );
    assert!(reasons(&firing).contains("fires since"), "{}", reasons(&firing));
    let then = START.plus(INTERVAL * 2).rfc3339();
    let past = judge.get(&world, &format!("{path}?at={then}")).await.unwrap();
    assert_eq!((&past["state"], &past["at"]), (&json!("pending"), &json!(then)));
    let lost = id_of(&world, &judge, "Lost").await;
    let lost = judge.get(&world, &format!("/api/v1/rules/{lost}/explain")).await.unwrap();
    assert!(reasons(&lost).contains("nothing finds no series between"), "{}", reasons(&lost));
    let wrong = world.http.get(format!("{}{path}?at=soon", judge.url)).send().await.unwrap();
    assert_eq!(wrong.status(), 400);
    let none = world.http.get(format!("{}/api/v1/rules/0/explain", judge.url)).send().await;
    assert_eq!(none.unwrap().status(), 404);
}

#[tokio::test]
async fn the_past_of_a_rule_with_a_recover_expr_is_what_it_was() {
    let world = World::new().await;
    let rules =
        "  - {alert: High, expr: load > 7, recover_expr: load < 3, no_data: alert after 15s}\n";
    let judge = world.judge(rules).await;
    let load = async |value| {
        world.push(&[("__name__", "load"), ("endpoint", "a")], value).await;
    };
    load(9.0).await;
    world.step(&judge, INTERVAL).await;
    load(5.0).await;
    // Longer ago than the times of the rule reach back.
    for _ in 0..20 {
        world.step(&judge, INTERVAL).await;
        load(5.0).await;
    }
    let between = world.clock.now();
    let id = id_of(&world, &judge, "High").await;
    let now = judge.get(&world, &format!("/api/v1/rules/{id}/explain")).await.unwrap();
    assert_eq!(now["state"], "firing");
    assert!(reasons(&now).contains("the expression had it last at"), "{}", reasons(&now));
    world.step(&judge, INTERVAL).await;
    load(1.0).await;
    world.step(&judge, INTERVAL).await;
    for (at, state) in [(between, "firing"), (world.clock.now(), "inactive")] {
        let path = format!("/api/v1/rules/{id}/explain?at={}", at.rfc3339());
        let past = judge.get(&world, &path).await.unwrap();
        assert_eq!(past["state"], state, "{past}");
        assert!(reasons(&past).contains("a judge that began at"), "{past}");
    }
    let body = json!({
        "rule": { "alert": "High", "expr": "load > 7", "recover_expr": "load < 3" },
        "from": START.rfc3339(), "interval": "15s",
    });
    let (_, answer) = post(&world, &judge, "/api/v1/rules/backtest", &body.to_string()).await;
    let alert = &answer["data"]["alerts"][0];
    let fired = (&answer["data"]["fired"], &alert["times"][0]["activeAt"]);
    assert_eq!(fired, (&json!(1), &json!(START.rfc3339())), "{answer}");
    assert!(alert["firingSeconds"].as_f64().unwrap() >= 300.0, "{answer}");
}

#[tokio::test]
async fn the_last_evaluations_of_a_rule_are_told() {
    let world = World::new().await;
    let judge = world.judge(RULES).await;
    world.push(&up("a"), 0.0).await;
    world.steps(&judge, 6, &up("a"), 0.0).await;
    let id = id_of(&world, &judge, "Down").await;
    let history = judge.get(&world, &format!("/api/v1/rules/{id}/history")).await.unwrap();
    let evaluations = history["evaluations"].as_array().unwrap();
    assert!(evaluations.len() >= 5, "{history}");
    let all: Vec<&Value> =
        evaluations.iter().flat_map(|e| e["transitions"].as_array().unwrap()).collect();
    let moves: Vec<_> = all.iter().rev().map(|t| (&t["from"], &t["to"])).collect();
    let expected = [(&json!("inactive"), &json!("pending")), (&json!("pending"), &json!("firing"))];
    assert_eq!(moves, expected);
    assert_eq!((&evaluations[0]["samples"], &evaluations[0]["error"]), (&json!(1), &json!(null)));
}

#[tokio::test]
async fn rules_are_tried_without_being_kept() {
    let world = World::new().await;
    let judge = world.judge_with(world.config()).await;
    world.push(&up("a"), 0.0).await;
    let body = "alert: Down\nexpr: up == 0\nlabels: {team: x}\nannotations: {s: '{{ $labels.endpoint }}'}\n";
    let (status, answer) = post(&world, &judge, "/api/v1/rules/test", body).await;
    let rule = &answer["data"]["rules"][0];
    assert_eq!((status, &rule["elements"]), (200, &json!(1)), "{answer}");
    let element = &rule["result"][0];
    assert_eq!(element["labels"], json!({ "alertname": "Down", "endpoint": "a", "team": "x" }));
    assert_eq!(element["annotations"], json!({ "s": "a" }));
    let group = "rules: [{record: 'up:sum', expr: sum(up)}, {alert: B, expr: up + on () up}]";
    let (_, answer) = post(&world, &judge, "/api/v1/rules/test", group).await;
    assert_eq!(answer["data"]["rules"][0]["result"][0]["labels"], json!({ "__name__": "up:sum" }));
    let (status, answer) =
        post(&world, &judge, "/api/v1/rules/test", "alert: A\nexpr: up ==\n").await;
    assert_eq!((status, &answer["faults"][0]["expr"]["line"]), (400, &json!(1)));
    assert_eq!(judge.get(&world, "/api/v1/rule-groups").await, Some(json!([])));
}

#[tokio::test]
async fn a_rule_is_run_over_the_past() {
    let world = World::new().await;
    let judge = world.judge_with(world.config()).await;
    for minute in 0..30_i64 {
        world.push(&up("a"), if (10..20).contains(&minute) { 0.0 } else { 1.0 }).await;
        world.clock.advance(Duration::from_secs(60));
    }
    let at = |minute: i64| Timestamp::from_seconds(START.seconds() + minute * 60).rfc3339();
    let body = json!({
        "rule": { "alert": "Down", "expr": "up == 0", "for": "2m" },
        "from": at(0), "to": at(29), "interval": "1m",
    });
    let (status, answer) = post(&world, &judge, "/api/v1/rules/backtest", &body.to_string()).await;
    assert_eq!((status, &answer["data"]["fired"]), (200, &json!(1)), "{answer}");
    let alert = &answer["data"]["alerts"][0];
    assert_eq!(alert["labels"], json!({ "alertname": "Down", "endpoint": "a" }));
    let times = json!([{ "activeAt": at(10), "firedAt": at(12), "endedAt": at(20) }]);
    assert_eq!((&alert["times"], &alert["firingSeconds"]), (&times, &json!(480.0)));
    for (body, part) in [
        ("rule: {record: r, expr: up}\nfrom: 1\nto: 2\n", "of an alerting rule"),
        ("rule: {alert: A, expr: up}\nfrom: 9\nto: 2\n", "before from"),
        ("rule: {alert: A, expr: up}\nfrom: 0\nto: 99999999\ninterval: 1s\n", "more than 200000"),
        ("rule: {alert: A, expr: 'up =='}\nfrom: 1\nto: 2\n", "parse error"),
        ("rule: {alert: A, expr: up}\nsince: 1\n", "since"),
    ] {
        let (status, answer) = post(&world, &judge, "/api/v1/rules/backtest", body).await;
        assert_eq!(status, 400, "{answer}");
        assert!(answer["error"].as_str().unwrap().contains(part), "{body}: {answer}");
    }
}
