//! The pages.

use std::time::Duration;

use reqwest::header::{ACCEPT_LANGUAGE, COOKIE};
use serde_json::json;

use crate::harness::{Alarm, result, webhook};

const HOSTILE: &str = "\"><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7*7 }}";

#[tokio::test]
async fn the_list_is_sorted_by_severity_and_counts_what_it_shows() {
    let alarm = Alarm::start("").await;
    for (name, severity) in
        [("Quiet", "info"), ("Loud", "critical"), ("Level", "P1"), ("Over", "warning")]
    {
        alarm.fire(name, severity).await;
    }
    alarm.resolve("Over", "warning").await;
    let html = alarm.get("/alerts").await;
    let place =
        |text: &str| html.find(text).unwrap_or_else(|| panic!("{text} is missing in {html}"));
    assert!(place(">Loud</a>") < place(">Level</a>") && place(">Level</a>") < place(">Quiet</a>"));
    assert!(!html.contains(">Over</a>"));
    assert!(html.contains("<title>(3) Alerts · Saker</title>"));
    assert!(html.contains("1–3 of 3"));
    assert!(html.contains("</svg>P1</span>"), "a level keeps its name");
    assert!(html.contains("http-equiv=\"refresh\""));
    let json = alarm.get_json("/alerts.json?state=all&sev=warning,critical").await;
    assert_eq!(json["total"], 2);
    assert_eq!(json["counts"]["resolved"]["warning"], 1);
}

#[tokio::test]
async fn filters_narrow_the_list_and_say_when_nothing_is_left() {
    let alarm = Alarm::start("").await;
    alarm.fire("DiskFull", "critical").await;
    alarm.fire("LoadHigh", "warning").await;
    let html = alarm.get("/alerts?q=disk").await;
    assert!(html.contains(">DiskFull</a>") && !html.contains(">LoadHigh</a>"));
    assert!(html.contains("value=\"disk\""));
    assert!(!alarm.get("/alerts?sev=warning").await.contains(">DiskFull</a>"));
    let html = alarm.get("/alerts?q=nothing+like+it").await;
    assert!(html.contains("Nothing matches") && html.contains("there are 2 alerts"));
    assert!(alarm.get("/alerts?state=resolved&q=disk").await.contains("Nothing matches"));
}

#[tokio::test]
async fn a_quiet_system_says_that_all_is_clear_and_that_nobody_would_be_told() {
    let alarm = Alarm::start("").await;
    let html = alarm.get("/alerts").await;
    assert!(
        html.contains("All clear") && html.contains("Last check 2025-10-09 17:01:00 +08:00"),
        "{html}"
    );
    assert!(html.contains("No receiver is configured"));
}

#[tokio::test]
async fn long_lists_are_paged() {
    let alarm = Alarm::start("").await;
    let alerts: Vec<_> =
        (0..120).map(|n| json!({ "labels": { "alertname": format!("Alert{n:03}") } })).collect();
    assert_eq!(alarm.post(json!(alerts).to_string()).await.0, 200);
    let html = alarm.get("/alerts?page=2").await;
    assert!(html.contains("51–100 of 120"));
    assert!(html.contains("href=\"/alerts\"") && html.contains("href=\"/alerts?page=3\""));
    assert!(html.matches("<tr class=").count() == 50 && html.len() < 150_000, "{}", html.len());
    assert!(!alarm.get("/alerts?page=3").await.contains("rel=\"next\""));
}

#[tokio::test]
async fn hostile_text_stays_text() {
    let (webhook, _context) = webhook().await;
    let alarm = Alarm::telling(&webhook).await;
    let alert = json!([{
        "labels": { "alertname": HOSTILE, "endpoint": HOSTILE, "severity": HOSTILE, HOSTILE: HOSTILE },
        "annotations": {
            "summary": HOSTILE, "value": HOSTILE, "note": "data:text/html,x",
            "runbook_url": "javascript:alert(1)",
            "link": "https://runbooks.example/\"><script>",
        },
        "generatorURL": "javascript:alert(2)",
    }]);
    assert_eq!(alarm.post(alert.to_string()).await.0, 200);
    let case = alarm.until_case("it is told", "onerror", |case| result(case) == "sent").await;
    let fingerprint = case["fingerprint"].as_str().unwrap();
    for path in [
        "/alerts".to_owned(),
        format!("/alerts/{fingerprint}"),
        "/alerts?q=%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E&state=%3Cscript%3E&lang=%3Cscript%3E"
            .to_owned(),
    ] {
        let html = alarm.get(&path).await;
        for trap in ["<script", "<img src=x", "href=\"javascript:", "href=\"data:"] {
            assert!(!html.contains(trap), "{trap} in {path}: {html}");
        }
    }
    let answer = alarm.context.http.get(alarm.url("/alerts/%3Cscript%3E")).send().await.unwrap();
    assert_eq!(answer.status(), 404);
    assert!(!answer.text().await.unwrap().contains("<script"));
}

#[tokio::test]
async fn every_answer_carries_the_protecting_headers() {
    let alarm = Alarm::start("").await;
    for path in
        ["/alerts", "/alerts.json", "/assets/saker.css", "/nowhere", "/alerts/0000000000000000"]
    {
        let answer = alarm.context.http.get(alarm.url(path)).send().await.unwrap();
        let header = |name| answer.headers().get(name).map_or("", |value| value.to_str().unwrap());
        let policy = header("content-security-policy");
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{path}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header("referrer-policy"), "same-origin", "{path}");
    }
    let style = alarm.context.http.get(alarm.url("/assets/saker.css")).send().await.unwrap();
    assert_eq!(style.headers()["content-type"], "text/css; charset=utf-8");
    assert_eq!(
        alarm.context.http.get(alarm.url("/")).send().await.unwrap().headers()["location"],
        "/alerts"
    );
}

#[tokio::test]
async fn the_language_is_that_of_the_link_then_of_the_cookie_then_of_the_browser() {
    let alarm = Alarm::start("").await;
    let title = async |query: &str, cookie: &str, accept: &str| {
        let request = alarm.context.http.get(alarm.url(&format!("/alerts{query}")));
        let answer =
            request.header(COOKIE, cookie).header(ACCEPT_LANGUAGE, accept).send().await.unwrap();
        let html = answer.text().await.unwrap();
        if html.contains("<html lang=\"zh-CN\"") && html.contains("一切正常") {
            "zh"
        } else {
            "en"
        }
    };
    assert_eq!(title("", "", "").await, "en");
    assert_eq!(title("", "", "zh-CN,en;q=0.5").await, "zh");
    assert_eq!(title("", "a=b; saker_lang=en", "zh-CN").await, "en");
    assert_eq!(title("?lang=zh", "saker_lang=en", "en").await, "zh");
}

#[tokio::test]
async fn a_choice_is_kept_in_a_cookie_and_the_first_paint_has_its_colours() {
    let alarm = Alarm::start("").await;
    let answer =
        alarm.context.http.get(alarm.url("/alerts?theme=dark&lang=zh")).send().await.unwrap();
    let cookies: Vec<_> =
        answer.headers().get_all("set-cookie").iter().map(|c| c.to_str().unwrap()).collect();
    assert_eq!(cookies.len(), 2);
    assert!(
        cookies.iter().all(|cookie| cookie.contains("SameSite=Lax") && cookie.contains("HttpOnly"))
    );
    let request = alarm.context.http.get(alarm.url("/alerts")).header(COOKIE, "saker_theme=dark");
    assert!(request.send().await.unwrap().text().await.unwrap().contains("data-theme=\"dark\""));
    let request =
        alarm.context.http.get(alarm.url("/alerts")).header(COOKIE, "saker_theme=\"><script>");
    assert!(request.send().await.unwrap().text().await.unwrap().contains("data-theme=\"auto\""));
}

#[tokio::test]
async fn the_page_of_an_alert_tells_its_story() {
    let (webhook, _context) = webhook().await;
    let alarm = Alarm::telling(&webhook).await;
    alarm.fire("DiskFull", "critical").await;
    alarm.until_case("it is told", "DiskFull", |case| result(case) == "sent").await;
    alarm.advance(Duration::from_secs(120));
    alarm.resolve("DiskFull", "critical").await;
    let is_told =
        |case: &serde_json::Value| case["deliveries"].as_array().is_some_and(|all| all.len() == 2);
    let case = alarm.until_case("its end is told", "DiskFull", is_told).await;
    let html = alarm.get(&format!("/alerts/{}", case["fingerprint"].as_str().unwrap())).await;
    for text in [
        "DiskFull hurt",
        "ops was told at 2025-10-09 17:03:00 +08:00",
        "ops told: firing",
        "ops told: resolved",
        "value 97.2",
        "attempt 1",
        "class=\"pill resolved\"",
    ] {
        assert!(html.contains(text), "{text} is missing in {html}");
    }
    let chinese =
        alarm.get(&format!("/alerts/{}?lang=zh", case["fingerprint"].as_str().unwrap())).await;
    assert!(chinese.contains("已通知 ops：已恢复"), "{chinese}");
}
