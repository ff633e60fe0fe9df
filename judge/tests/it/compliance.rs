//! What the compliance suite of Prometheus' alert generators looks at, with a judge in accelerated time: the
//! timing of states, resends, the order inside a group, templates, and the JSON of rules and alerts.

use std::time::Duration;

use model::Timestamp;
use serde_json::Value;

use crate::alarm::Heard;
use crate::world::{INTERVAL, START, World};

const UP: [(&str, &str); 2] = [("__name__", "up"), ("endpoint", "web-1")];
const MINUTE: Duration = Duration::from_secs(60);

/// The state of the first rule, as `/api/v1/rules` shows it.
async fn state(world: &World, judge: &crate::world::Judge) -> String {
    let group = judge.group(world, "g").await.expect("the group is shown");
    group["rules"][0]["state"].as_str().expect("a state").to_owned()
}

/// Steps until the state changes, with the sample stored all the time; answers for how long it was as before.
async fn lasts(world: &World, judge: &crate::world::Judge, before: &str, value: f64) -> Duration {
    let begun = world.clock.now();
    while state(world, judge).await == before {
        world.steps(judge, 1, &UP, value).await;
        assert!(world.clock.now().since(begun) < MINUTE * 20, "{before} for ever");
    }
    world.clock.now().since(begun)
}

#[tokio::test]
async fn pending_firing_and_resolved_come_when_they_should() {
    let world = World::new().await;
    let judge = world.judge("  - {alert: Down, expr: up == 0, for: 1m}\n").await;
    assert_eq!(state(&world, &judge).await, "unknown");
    world.push(&UP, 1.0).await;
    world.steps(&judge, 2, &UP, 1.0).await;
    assert_eq!(state(&world, &judge).await, "inactive");
    world.steps(&judge, 1, &UP, 0.0).await;
    assert_eq!(lasts(&world, &judge, "inactive", 0.0).await, INTERVAL);
    assert_eq!(lasts(&world, &judge, "pending", 0.0).await, MINUTE, "the hold");
    let fired = world.hears("the alert fires", |_| true).await;
    let now = world.clock.now();
    assert!(now.since(fired.alert.starts_at) < INTERVAL, "it starts when it fires");
    world.steps(&judge, 1, &UP, 1.0).await;
    assert!(lasts(&world, &judge, "firing", 1.0).await <= INTERVAL);
    let ended = world.hears("the alert ends", Heard::is_end).await;
    assert!(
        ended.alert.ends_at > fired.alert.starts_at && ended.alert.ends_at <= world.clock.now()
    );
}

#[tokio::test]
async fn without_a_hold_it_fires_at_once_and_with_a_small_one_at_the_second_look() {
    let world = World::new().await;
    let rules = "  - {alert: Zero, expr: up == 0}\n  - {alert: Small, expr: up == 0, for: 5s}\n";
    let judge = world.judge(rules).await;
    world.push(&UP, 0.0).await;
    world.steps(&judge, 1, &UP, 0.0).await;
    world.hears("one fires", |heard| heard.label("alertname") == Some("Zero")).await;
    assert!(world.heard().iter().all(|heard| heard.label("alertname") == Some("Zero")));
    world.steps(&judge, 1, &UP, 0.0).await;
    world.hears("the other fires", |heard| heard.label("alertname") == Some("Small")).await;
}

#[tokio::test]
async fn an_end_is_sent_again_for_fifteen_minutes_and_then_no_more() {
    let world = World::new().await;
    let judge = world.judge("  - {alert: Down, expr: up == 0}\n").await;
    world.push(&UP, 0.0).await;
    world.steps(&judge, 1, &UP, 0.0).await;
    world.hears("it fires", |_| true).await;
    world.clock.advance(Duration::from_secs(1));
    world.push(&UP, 1.0).await;
    for _ in 0..72 {
        world.steps(&judge, 1, &UP, 1.0).await;
    }
    let ends: Vec<Timestamp> =
        world.heard().iter().filter(|heard| heard.is_end()).map(|heard| heard.at).collect();
    let (first, last) = (ends[0], ends[ends.len() - 1]);
    assert!(
        (14..=16).contains(&(last.since(first).as_secs() / 60)),
        "{}",
        last.since(first).as_secs()
    );
    assert!((14..=17).contains(&ends.len()), "about once a minute: {}", ends.len());
    assert!(world.clock.now().since(last) > MINUTE, "it is told no more");
}

#[tokio::test]
async fn a_rule_sees_what_the_rules_before_it_wrote_in_the_same_look() {
    let world = World::new().await;
    let rules = "  - {record: 'low:sum', expr: sum(up == bool 0)}\n  \
                 - {alert: Many, expr: 'low:sum > 0'}\n  \
                 - {record: 'many:alerts', expr: 'count(ALERTS{alertname=\"Many\",alertstate=\"firing\"})'}\n  \
                 - {alert: Counted, expr: 'many:alerts == 1'}\n";
    let judge = world.judge(rules).await;
    world.push(&UP, 0.0).await;
    world.step(&judge, INTERVAL).await;
    world
        .hears("the last of the chain fires", |heard| heard.label("alertname") == Some("Counted"))
        .await;
    let first = world.heard();
    assert!(
        first.iter().all(|heard| heard.alert.starts_at == first[0].alert.starts_at),
        "{first:?}"
    );
}

#[tokio::test]
async fn templates_do_what_they_do_in_prometheus() {
    let world = World::new().await;
    let texts = [
        (
            "args",
            r#"{{ define "x" }}{{ .arg0 }}/{{ .arg1 }}{{ end }}{{ template "x" (args 1 "b") }}"#,
            "1/b",
        ),
        (
            "query",
            r#"{{ with query "load" | sortByLabel "endpoint" }}{{ . | first | label "endpoint" }}={{ . | first | value }}{{ end }}"#,
            "web-1=2.5",
        ),
        (
            "nested",
            r#"{{ range query (printf "load{endpoint=%q}" $labels.endpoint) }}{{ .Value }} of {{ .Labels.endpoint }}{{ end }}"#,
            "2.5 of web-1",
        ),
        (
            "number",
            "{{ humanize 1234567.0 }} {{ humanize1024 1048576.0 }} {{ humanizeDuration 3661.0 }} {{ humanizePercentage 0.123 }}",
            "1.235M 1Mi 1h 1m 1s 12.3%",
        ),
        ("moment", "{{ humanizeTimestamp 1435065584.128 }}", "2015-06-23 13:19:44.128 +0000 UTC"),
        (
            "address",
            r#"{{ stripPort "[2001:db8::1]:9100" }} {{ stripPort "web:80" }}"#,
            "2001:db8::1 web",
        ),
        (
            "pattern",
            r#"{{ match "w.b" "web" }} {{ reReplaceAll "(.*)-(.*)" "$2.$1" "web-1" }}"#,
            "true 1.web",
        ),
        ("case", r#"{{ title "aa bb" }} {{ toUpper "x" }}{{ toLower "Y" }}"#, "Aa Bb Xy"),
        ("span", r#"{{ parseDuration "1h2m10ms" }}"#, "3720.01"),
        (
            "links",
            r#"{{ tableLink "up" }} {{ graphLink "up" }}"#,
            "/graph?g0.expr=up&g0.tab=1 /graph?g0.expr=up&g0.tab=0",
        ),
    ];
    let annotations: String = texts
        .iter()
        .map(|(name, text, _)| format!("      {name}: {}\n", serde_json::to_string(text).unwrap()))
        .collect();
    let rule = format!(
        "  - alert: Down\n    expr: up == 0\n    annotations:\n{annotations}      \
                        bad: '{{{{ query \"load\" | first | value | toUpper }}}}'\n"
    );
    let judge = world.judge(&rule).await;
    world.push(&UP, 0.0).await;
    world.push(&[("__name__", "load"), ("endpoint", "web-1")], 2.5).await;
    world.push(&[("__name__", "load"), ("endpoint", "web-2")], 1.5).await;
    world.step(&judge, INTERVAL).await;
    let heard = world.hears("it fires", |_| true).await;
    for (name, text, expected) in texts {
        assert_eq!(heard.alert.annotations[name], expected, "{text}");
    }
    assert!(heard.alert.annotations["bad"].starts_with("<error expanding template"), "{heard:?}");
    let metrics =
        testkit::get_text(&world.http, &format!("{}/metrics", judge.url)).await.expect("metrics");
    assert!(metrics.contains("judge_template_text_expansion_failures_total 1\n"), "{metrics}");
}

#[tokio::test]
async fn rules_and_alerts_are_shown_in_the_shape_of_prometheus() {
    let world = World::new().await;
    let rules = "  - {alert: Down, expr: up == 0, for: 30s, labels: {severity: page}, \
                 annotations: {summary: '{{ $value }}'}}\n  - {record: 'up:sum', expr: sum(up)}\n";
    let judge = world.judge(rules).await;
    world.push(&UP, 0.0).await;
    world.steps(&judge, 1, &UP, 0.0).await;
    let group = judge.group(&world, "g").await.expect("the group");
    assert_eq!(
        (&group["interval"], group["file"].as_str().map(|file| file.ends_with("rules.yml"))),
        (&Value::from(15.0), Some(true))
    );
    let moment = |value: &Value| {
        Timestamp::parse_rfc3339(value.as_str().expect("a moment")).expect("RFC 3339")
    };
    assert!(moment(&group["lastEvaluation"]) > START && group["evaluationTime"].is_number());
    let (alerting, recording) = (&group["rules"][0], &group["rules"][1]);
    for (rule, field, expected) in [
        (alerting, "type", Value::from("alerting")),
        (alerting, "name", Value::from("Down")),
        (alerting, "query", Value::from("up == 0")),
        (alerting, "duration", Value::from(30.0)),
        (alerting, "state", Value::from("pending")),
        (alerting, "health", Value::from("ok")),
        (alerting, "labels", serde_json::json!({"severity": "page"})),
        (recording, "type", Value::from("recording")),
        (recording, "health", Value::from("ok")),
    ] {
        assert_eq!(rule[field], expected, "{field} of {rule}");
    }
    let alerts = judge.get(&world, "/api/v1/alerts").await.expect("the alerts");
    let alert = &alerts["alerts"][0];
    assert_eq!(
        alert["labels"],
        serde_json::json!({"alertname": "Down", "endpoint": "web-1", "severity": "page"})
    );
    assert_eq!(
        (&alert["state"], &alert["annotations"]["summary"]),
        (&Value::from("pending"), &Value::from("0"))
    );
    assert_eq!(alert["value"].as_str().and_then(|value| value.parse::<f64>().ok()), Some(0.0));
    assert_eq!(moment(&alert["activeAt"]), moment(&group["lastEvaluation"]));
    assert_eq!(&alerting["alerts"][0], alert, "the same in both");
}
