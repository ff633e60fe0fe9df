//! The HTTP API.

use serde_json::{Value, json};
use testkit::eventually;

use crate::alarm::Heard;
use crate::world::{INTERVAL, Judge, PATIENCE, World};

const UP: [(&str, &str); 2] = [("__name__", "up"), ("endpoint", "web-1")];

async fn send(world: &World, method: &str, judge: &Judge, path: &str, body: &str) -> (u16, Value) {
    let method = reqwest::Method::from_bytes(method.as_bytes()).expect("judge answers with JSON");
    let request = world.http.request(method, format!("{}{path}", judge.url)).body(body.to_owned());
    let answer = request.send().await.expect("judge answers with JSON");
    (answer.status().as_u16(), answer.json().await.expect("judge answers with JSON"))
}

#[tokio::test]
async fn rules_and_alerts_have_the_shapes_of_prometheus() {
    let world = World::new().await;
    let rules = "  - {record: 'up:sum', expr: sum(up), labels: {a: b}}\n  \
                 - {alert: Down, expr: up == 0, for: 1m, annotations: {s: 'x {{ $value }}'}}\n";
    let judge = world.judge(rules).await;
    world.push(&UP, 0.0).await;
    world.step(&judge, INTERVAL).await;
    let group = judge.group(&world, "g").await.expect("the group is shown");
    assert_eq!((&group["interval"], &group["limit"]), (&json!(15.0), &json!(0)));
    assert!(group["file"].as_str().expect("a file").ends_with("rules.yml"));
    let recording = &group["rules"][0];
    for (key, value) in [
        ("type", json!("recording")),
        ("name", json!("up:sum")),
        ("query", json!("sum(up)")),
        ("labels", json!({ "a": "b" })),
        ("health", json!("ok")),
    ] {
        assert_eq!(recording[key], value, "{key}");
    }
    let alerting = &group["rules"][1];
    for (key, value) in [
        ("type", json!("alerting")),
        ("state", json!("pending")),
        ("duration", json!(60.0)),
        ("keepFiringFor", json!(0.0)),
        ("annotations", json!({ "s": "x {{ $value }}" })),
    ] {
        assert_eq!(alerting[key], value, "{key}");
    }
    let alert = &alerting["alerts"][0];
    assert_eq!((&alert["value"], &alert["annotations"]), (&json!("0e+00"), &json!({ "s": "x 0" })));
    let alerts = judge.get(&world, "/api/v1/alerts").await.expect("the alerts");
    assert_eq!(&alerts["alerts"][0], alert);
    let filtered =
        judge.get(&world, "/api/v1/rules?type=record&rule_group[]=g").await.expect("the rules");
    assert_eq!(filtered["groups"][0]["rules"].as_array().map(Vec::len), Some(1));
    assert_eq!(send(&world, "GET", &judge, "/api/v1/rules?type=x", "").await.0, 400);
}

#[tokio::test]
async fn fields_that_prometheus_does_not_have_are_shown_beside_its_own() {
    let world = World::new().await;
    let judge = world.judge_with(world.config()).await;
    let body = "interval: 15s\nquery_offset: 5s\non_arrival: false\nrules:\n- alert: A\n  expr: up == 0\n  \
                recover_expr: up > 0\n  no_data: alert after 10m\n  priority: p1\n  max_notifications: 3\n  \
                runbook: 'http://wiki/{{ $labels.endpoint }}'\n  active_times: [{from: '09:00', zone: '+08:00'}]\n\
                - {alert: B, expr: up == 0}\n- {record: c, expr: up}\n";
    let path = "/api/v1/rule-groups/g?owner=ann";
    assert_eq!(send(&world, "PUT", &judge, path, body).await.0, 200);
    let group = eventually("the group is known", PATIENCE, async || judge.group(&world, "g").await);
    let group = group.await;
    assert_eq!(
        (&group["owner"], &group["queryOffset"], &group["onArrival"]),
        (&json!("ann"), &json!(5.0), &json!(false))
    );
    let ours = [
        ("recoverExpr", json!("up > 0")),
        ("noData", json!("alert after 10m")),
        ("priority", json!("P1")),
        ("maxNotifications", json!(3)),
        ("runbook", json!("http://wiki/{{ $labels.endpoint }}")),
        ("activeTimes", json!([{ "from": "09:00", "zone": "+08:00" }])),
    ];
    for (key, value) in ours {
        assert_eq!(group["rules"][0][key], value, "{key}");
        for other in [1, 2] {
            assert!(group["rules"][other].get(key).is_none(), "{key}: {group}");
        }
    }
    assert_eq!(group["rules"][0]["labels"]["severity"], "P1", "and as what they become");
    assert_eq!(send(&world, "PUT", &judge, "/api/v1/rule-groups/g?owner=bob", body).await.0, 200);
    eventually("the new owner is shown", PATIENCE, async || {
        let group = judge.group(&world, "g").await?;
        (group["owner"] == "bob").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_group_put_by_api_is_checked_kept_and_evaluated() {
    let world = World::new().await;
    let judge = world.judge_with(world.config()).await;
    let path = "/api/v1/rule-groups/g";
    let (status, answer) =
        send(&world, "PUT", &judge, path, "rules: [{alert: A, expr: 'up =='}]").await;
    let message = answer["error"].as_str().expect("a message");
    assert_eq!((status, &answer["errorType"]), (400, &json!("bad_data")));
    assert!(message.contains("db:1: group \"g\", rule 1 (alert \"A\"): expr 1:"), "{message}");

    for empty in ["", "interval: 15s"] {
        let (status, answer) = send(&world, "PUT", &judge, path, empty).await;
        assert_eq!(status, 400, "{answer}");
        assert!(
            answer["error"].as_str().is_some_and(|text| text.contains("there are no rules")),
            "{answer}"
        );
    }

    let body = r#"{"interval": "15s", "rules": [{"alert": "A", "expr": "up == 0"}]}"#;
    let (status, answer) = send(&world, "PUT", &judge, path, body).await;
    assert_eq!((status, &answer["data"]["version"]), (200, &json!(1)), "{answer}");
    eventually("the group is known", PATIENCE, async || judge.group(&world, "g").await).await;
    world.push(&UP, 0.0).await;
    world.step(&judge, INTERVAL).await;
    world.hears("its alert fires", |heard| heard.label("alertname") == Some("A")).await;

    let stored = judge.get(&world, path).await.expect("the group is stored");
    assert_eq!((&stored["body"], &stored["version"]), (&json!(body), &json!(1)));
    assert_eq!(judge.get(&world, "/api/v1/rule-groups").await, Some(json!([stored])));

    assert_eq!(send(&world, "DELETE", &judge, path, "").await.0, 200);
    assert_eq!(send(&world, "DELETE", &judge, path, "").await.0, 404);
    world.clock.advance(INTERVAL);
    world.hears("its alert ends", Heard::is_end).await;
}

#[tokio::test]
async fn groups_of_the_api_survive_a_restart() {
    let world = World::new().await;
    let judge = world.judge_with(world.config()).await;
    let body = "interval: 15s\nrules:\n- alert: A\n  expr: up == 0\n";
    assert_eq!(send(&world, "PUT", &judge, "/api/v1/rule-groups/mine", body).await.0, 200);
    judge.kill();
    let judge = world.judge_with(world.config()).await;
    eventually("the group is known", PATIENCE, async || judge.group(&world, "mine").await).await;
}

#[tokio::test]
async fn rules_can_be_checked_without_being_taken() {
    let world = World::new().await;
    let judge = world.judge_with(world.config()).await;
    let check = "/api/v1/rules/check";
    let good = "groups: [{name: a, rules: [{alert: A, expr: up}, {record: b, expr: up}]}]";
    assert_eq!(
        send(&world, "POST", &judge, check, good).await,
        (200, json!({"status": "success", "data": {"groups": 1, "rules": 2}}))
    );
    let bad = "groups: [{name: a, rules: [{alert: A, expr: '('}, {record: b}]}]";
    let (status, answer) = send(&world, "POST", &judge, check, bad).await;
    assert_eq!(
        (status, answer["error"].as_str().map(|text| text.lines().count())),
        (400, Some(2)),
        "{answer}"
    );
}

#[tokio::test]
async fn a_reload_with_a_fault_keeps_the_rules_that_were_good() {
    let world = World::new().await;
    let judge = world.judge("  - {alert: A, expr: up}\n").await;
    world.config_with("  - {alert: B, expr: '('}\n");
    let (status, answer) = send(&world, "POST", &judge, "/-/reload", "").await;
    assert_eq!(status, 400, "{answer}");
    let ready = world.http.get(format!("{}/-/ready", judge.url)).send().await.unwrap();
    assert_eq!(ready.status(), 503);
    assert!(ready.text().await.unwrap().contains("rules.yml:5"));
    let group = judge.group(&world, "g").await.expect("the group is still there");
    assert_eq!(group["rules"][0]["name"], "A");
    world.config_with("  - {alert: B, expr: up}\n");
    assert_eq!(send(&world, "POST", &judge, "/-/reload", "").await.0, 200);
    eventually("the new rule is there", PATIENCE, async || {
        let group = judge.group(&world, "g").await?;
        (group["rules"][0]["name"] == "B").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_rule_file_with_a_fault_stops_the_start_with_every_fault() {
    let world = World::new().await;
    let config = world.config_with("  - {alert: A, expr: '('}\n  - {alert: B}\n");
    let error = world.try_judge(config).await.err().expect("the rules have faults");
    let text = error.to_string();
    assert!(
        text.contains("rules.yml:5: group \"g\", rule 1") && text.contains("rule 2 (alert \"B\")"),
        "{text}"
    );
    assert_eq!(daemon::StartError::reason_of(&error), daemon::ExitReason::Usage);
}
