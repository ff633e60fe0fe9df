//! The pages of the rules.

use judge::Config;
use reqwest::Method;

use crate::world::{INTERVAL, Judge, World};

const BODY: &str =
    "interval: 15s\nrules:\n- {alert: Down, expr: up == 0, annotations: {s: '<b>'}}\n";

async fn page(world: &World, judge: &Judge, path: &str, language: &str) -> (u16, String) {
    let request = world.http.get(format!("{}{path}", judge.url));
    let answer = request.header("accept-language", language).send().await.unwrap();
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    let policy = answer.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn send(
    world: &World,
    judge: &Judge,
    fields: &[(&str, &str)],
    headers: &[(&str, &str)],
) -> (u16, String) {
    let url = format!("{}/rule-groups/save", judge.url);
    let mut request = world.http.request(Method::POST, url).form(fields);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

fn form<'a>(body: &'a str, version: &'a str, action: &'a str) -> Vec<(&'a str, &'a str)> {
    [
        ("name", "g"),
        ("owner", "ann"),
        ("enabled", "on"),
        ("body", body),
        ("version", version),
        ("action", action),
    ]
    .into()
}

#[tokio::test]
async fn a_group_is_made_tested_changed_and_removed_by_form() {
    let world = World::new().await;
    let judge = world.judge_with(world.config()).await;
    assert!(page(&world, &judge, "/rule-groups/new", "en").await.1.contains("New rule group"));
    world.push(&[("__name__", "up"), ("endpoint", "<i>web</i>")], 0.0).await;
    let (status, tested) = send(&world, &judge, &form(BODY, "0", "test"), &[]).await;
    assert!(status == 200 && tested.contains("1 elements"), "{tested}");
    assert!(tested.contains("&#60;i&#62;web") && !tested.contains("<i>web"), "{tested}");
    assert_eq!(send(&world, &judge, &form(BODY, "0", "save"), &[]).await.0, 303);
    let made = page(&world, &judge, "/rule-groups/g", "en").await.1;
    assert!(made.contains("Version 1") && made.contains("rule_group.put by local"), "{made}");
    let faulty = BODY.replace("up == 0", "'up =='");
    let (status, text) = send(&world, &judge, &form(&faulty, "1", "save"), &[]).await;
    assert!(status == 422 && text.contains("expr 1:"), "{status} {text}");
    let other = BODY.replace("Down", "Gone");
    assert_eq!(send(&world, &judge, &form(&other, "1", "save"), &[]).await.0, 303);
    let (status, lost) = send(&world, &judge, &form(BODY, "1", "save"), &[]).await;
    assert!(status == 422 && lost.contains("at version 2 now"), "{status} {lost}");
    assert!(lost.contains("name=\"version\" value=\"2\""), "saving again goes over it");
    assert_eq!(send(&world, &judge, &form("", "2", "restore-1"), &[]).await.0, 303);
    let stored = judge.get(&world, "/api/v1/rule-groups/g").await.unwrap();
    assert_eq!((stored["body"].as_str(), stored["owner"].as_str()), (Some(BODY), Some("ann")));
    assert_eq!(send(&world, &judge, &form(BODY, "3", "remove"), &[]).await.0, 303);
    assert_eq!(page(&world, &judge, "/rule-groups/g", "en").await.0, 404);
}

#[tokio::test]
async fn rules_are_shown_in_both_languages_with_their_reasons() {
    let world = World::new().await;
    let judge =
        world.judge("  - {alert: Down, expr: up == 0}\n  - {record: b, expr: sum(up)}\n").await;
    world.push(&[("__name__", "up"), ("endpoint", "web-1")], 0.0).await;
    world.step(&judge, INTERVAL).await;
    let (status, english) = page(&world, &judge, "/rules", "en").await;
    assert!(
        status == 200 && english.contains("firing") && english.contains("rules.yml"),
        "{english}"
    );
    let chinese = page(&world, &judge, "/rules", "zh-CN,zh;q=0.9").await.1;
    assert!(chinese.contains("<html lang=\"zh-CN\"") && chinese.contains("告警中"), "{chinese}");
    let group = judge.group(&world, "g").await.unwrap();
    let id = group["rules"][0]["id"].as_str().unwrap();
    let (status, rule) = page(&world, &judge, &format!("/rules/{id}"), "en").await;
    assert!(status == 200 && rule.contains("The condition holds for 1 elements."), "{rule}");
    assert!(rule.contains("inactive → firing") && rule.contains("web-1"), "{rule}");
    let dark = page(&world, &judge, "/rules?theme=dark&q=Down", "en").await.1;
    assert!(dark.contains("data-theme=\"dark\"") && !dark.contains("sum(up)"), "{dark}");
    assert_eq!(page(&world, &judge, "/rules/0000", "en").await.0, 404);
}

#[tokio::test]
async fn the_page_of_a_rule_shows_its_fields_and_whom_to_ask() {
    let world = World::new().await;
    let judge = world.judge_with(world.config()).await;
    let body = "interval: 15s\nrules:\n- alert: Down\n  expr: up == 0\n  for: 1m\n  recover_expr: up > 0\n  \
                no_data: alert after 10m\n  priority: P1\n  max_notifications: 3\n  runbook: http://wiki/<x>\n  \
                active_times: [{from: '09:00', to: '18:00', weekdays: ['mon:fri']}]\n- {record: r, expr: up}\n";
    assert_eq!(send(&world, &judge, &form(body, "0", "save"), &[]).await.0, 303);
    world.push(&[("__name__", "up"), ("endpoint", "web-1")], 1.0).await;
    world.step(&judge, INTERVAL).await;
    let group = judge.group(&world, "g").await.unwrap();
    let id = |at: usize| group["rules"][at]["id"].as_str().unwrap();
    let rule = page(&world, &judge, &format!("/rules/{}", id(0)), "en").await.1;
    for (name, text) in [
        ("Owner", "ann"),
        ("Holds for", "1m"),
        ("Ends by", "up &#62; 0"),
        ("Missing data", "alert after 10m"),
        ("Priority", "P1"),
        ("Told at most", "3"),
        ("Awake", "09:00–18:00 mon:fri UTC"),
        ("Runbook", "http://wiki/&#60;x&#62;"),
    ] {
        let fact = format!("<dt>{name}</dt><dd>{text}</dd>");
        assert!(rule.contains(&fact), "{fact}: {rule}");
    }
    let recording = page(&world, &judge, &format!("/rules/{}", id(1)), "en").await.1;
    assert!(!recording.contains("Holds for") && !recording.contains("Priority"), "{recording}");
}

#[tokio::test]
async fn another_site_cannot_change_rules_and_a_token_can_from_anywhere() {
    let world = World::new().await;
    let tokens = world.folder.path().join("tokens");
    std::fs::write(&tokens, "ann 0123456789abcdef\n").unwrap();
    let judge = world.judge_with(Config { token_file: tokens, ..world.config() }).await;
    let own = ("origin", judge.url.clone());
    for foreign in [
        ("origin", "http://evil.example"),
        ("sec-fetch-site", "cross-site"),
        ("x-forwarded-for", "192.0.2.1"),
    ] {
        let (status, text) = send(&world, &judge, &form(BODY, "0", "save"), &[foreign]).await;
        assert!(status == 403 && text.contains("Not changed"), "{foreign:?}: {status} {text}");
    }
    let mut wrong = form(BODY, "0", "save");
    wrong.push(("token", "wrong-wrong-wrong"));
    let (status, text) = send(&world, &judge, &wrong, &[]).await;
    assert!(status == 403 && !text.contains("wrong-wrong"), "{text}");
    let mut right = form(BODY, "0", "save");
    right.push(("token", "0123456789abcdef"));
    assert_eq!(send(&world, &judge, &right, &[("x-forwarded-for", "192.0.2.1")]).await.0, 303);
    let same = [("origin", own.1.as_str()), ("sec-fetch-site", "same-origin")];
    assert_eq!(send(&world, &judge, &form(BODY, "1", "remove"), &same).await.0, 303);
}
