//! The main job: this host's metrics answer PromQL, a rule fires, somebody is told, and the page shows it.

use std::time::Duration;

use daemon::Clock;
use model::Timestamp;
use serde_json::Value;
use testkit::{eventually, get_json, get_text};

use crate::browser::Browser;
use crate::picture;
use crate::stack::{HOST, Stack, host_rules, repository};

const HALF_A_MINUTE: Duration = Duration::from_secs(30);
const NOTICE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn this_hosts_metrics_answer_and_the_demonstration_alarm_reaches_webhook_and_page() {
    let mut stack = Stack::new(&host_rules()).await;
    stack.start_saker().await;
    stack.start_agent();

    let idle = format!("cpu_idle{{endpoint={HOST:?}}}");
    let answer = eventually("cpu_idle answers", HALF_A_MINUTE, async || {
        stack.query(&idle).await.filter(|result| !result.is_empty())
    });
    let value: f64 = answer.await[0]["value"][1].as_str().unwrap().parse().unwrap();
    assert!((0.0..=100.0).contains(&value), "{value}");

    let versions = format!("{}/agentversions", stack.hbs());
    let known = get_json(&stack.context.http, &versions).await.unwrap();
    assert_eq!(known["data"][HOST], env!("CARGO_PKG_VERSION"));

    push_demonstration(&stack).await;
    let message = eventually("the webhook is told", NOTICE, async || {
        stack.webhook.bodies().into_iter().find(|body| alert_name(body) == "Demonstration")
    });
    assert_eq!(message.await["status"], "firing");

    let alerts = format!("{}/alerts", stack.alarm());
    let page = get_text(&stack.context.http, &alerts).await.unwrap();
    assert!(page.contains("Demonstration"), "{page}");

    if let Some(browser) = Browser::find() {
        stack.post_alerts(&picture::alerts(Clock::System.now())).await;
        let picture = stack.file("alerts.png");
        browser.screenshot(&alerts, (1280, 860), &picture).await;
        let bytes = std::fs::read(&picture).unwrap();
        assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 20_000, "{} bytes", bytes.len());
        let dom = browser.dom(&alerts).await;
        assert!(dom.contains("Demonstration") && dom.contains("firing"), "{dom}");
        if std::env::var_os("SAKER_UPDATE_IMAGES").is_some() {
            std::fs::copy(&picture, repository().join("docs/img/alerts.png")).unwrap();
        }
    }

    assert!(stack.agent().terminate(HALF_A_MINUTE).await.success(), "{}", stack.agent().output());
    assert!(stack.saker().terminate(HALF_A_MINUTE).await.success(), "{}", stack.saker().output());
}

#[tokio::test]
async fn a_silent_host_becomes_an_age_that_grows() {
    let mut stack = Stack::new(&host_rules()).await;
    stack.start_saker().await;
    stack.start_agent();
    let age = format!("agent_heartbeat_age_seconds{{endpoint={HOST:?}}}");
    let heard = eventually("the age of the host is a series", HALF_A_MINUTE, async || {
        stack.query(&age).await.filter(|result| !result.is_empty())
    });
    heard.await;
    stack.agent().kill();
    eventually("the age grows", Duration::from_secs(60), async || {
        let result = stack.query(&format!("{age} > 25")).await?;
        (!result.is_empty()).then_some(())
    })
    .await;
}

async fn push_demonstration(stack: &Stack) {
    let now = Clock::System.now().slot(Duration::from_secs(1));
    let sample = serde_json::json!([{
        "endpoint": "demo", "metric": "saker.demo", "timestamp": Timestamp::seconds(now), "step": 10, "value": 1,
        "counterType": "GAUGE", "tags": ""
    }]);
    let url = format!("{}/v1/push", stack.agent_url());
    let answer = stack.context.http.post(url).body(sample.to_string()).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "success");
}

fn alert_name(body: &Value) -> &str {
    body["alerts"][0]["labels"]["alertname"].as_str().unwrap_or("")
}
