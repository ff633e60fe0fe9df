//! Who is told, when, and what is seen of it.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::eventually;

use crate::harness::{Alarm, PATIENCE, START, receiver, result, told, webhook};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn an_alert_leaves_for_the_webhook_while_the_clock_stands_still() {
    let (webhook, _context) = webhook().await;
    let alarm = Alarm::telling(&webhook).await;
    alarm.fire("Warm-up", "info").await;
    told(&webhook, 1).await;
    alarm.fire("DiskFull", "critical").await;
    // Nobody moves the clock, so nothing polls and nothing waits on the way.
    let bodies = told(&webhook, 2).await;
    let body = &bodies[1];
    assert_eq!(
        (&body["version"], &body["status"], &body["receiver"]),
        (&json!("4"), &json!("firing"), &json!("ops"))
    );
    assert_eq!(body["alerts"][0]["labels"]["alertname"], "DiskFull");
    assert_eq!(body["alerts"][0]["endsAt"], "0001-01-01T00:00:00Z");
    assert_eq!(body["externalURL"], "http://127.0.0.1:9912");
    let case =
        alarm.until_case("it is noted as sent", "DiskFull", |case| result(case) == "sent").await;
    assert_eq!(case["deliveries"][0]["code"], 200);
    let metrics = alarm.get("/metrics").await;
    assert!(
        metrics.contains("alarm_notifications_total{receiver=\"ops\",result=\"sent\"} 2"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_refresh_is_not_told_again_and_the_end_is_told_once() {
    let (webhook, _context) = webhook().await;
    let alarm = Alarm::telling(&webhook).await;
    for _ in 0..3 {
        alarm.fire("DiskFull", "critical").await;
    }
    alarm.until_case("the beginning is told", "DiskFull", |case| result(case) == "sent").await;
    alarm.advance(60 * SECOND);
    for _ in 0..2 {
        alarm.resolve("DiskFull", "critical").await;
    }
    let bodies = told(&webhook, 2).await;
    assert_eq!(bodies[1]["status"], "resolved");
    assert_eq!(bodies[1]["alerts"][0]["endsAt"], alarm.moment(0));
    let case = alarm.case("DiskFull").await;
    let kinds: Vec<_> =
        case["events"].as_array().unwrap().iter().map(|event| &event["kind"]).collect();
    assert_eq!(kinds, ["resolved", "firing"]);
}

#[tokio::test]
async fn a_firing_alert_is_repeated_after_the_interval_and_not_before() {
    let (webhook, _context) = webhook().await;
    let alarm =
        Alarm::start(&("repeat_interval = \"90m\"\n".to_owned() + &receiver("ops", &webhook)))
            .await;
    alarm.fire("DiskFull", "critical").await;
    alarm.until_case("it is told", "DiskFull", |case| result(case) == "sent").await;
    alarm.advance(59 * MINUTE);
    // News, so that the lease does not run out.
    alarm.fire("DiskFull", "critical").await;
    alarm.advance(30 * MINUTE);
    alarm.fire("Marker", "info").await;
    told(&webhook, 2).await;
    assert_eq!(webhook.bodies()[1]["alerts"][0]["labels"]["alertname"], "Marker");
    alarm.advance(MINUTE);
    alarm
        .until_later("it is repeated", "DiskFull", SECOND, |case| case["deliveries"][1].is_object())
        .await;
    assert_eq!(webhook.bodies()[2]["alerts"][0]["labels"]["alertname"], "DiskFull");
}

#[tokio::test]
async fn an_alert_is_repeated_as_often_as_its_rule_allows_and_its_end_is_told() {
    let (webhook, _context) = webhook().await;
    let settings = "repeat_interval = \"10m\"\n".to_owned() + &receiver("ops", &webhook);
    let mut alarm = Alarm::start(&settings).await;
    let fire = async |alarm: &Alarm| {
        let limited = json!([{
            "labels": { "alertname": "DiskFull", "severity": "critical" },
            "annotations": { "max_notifications": "2" },
            "startsAt": START.minus(MINUTE).rfc3339(), "endsAt": alarm.moment(3600),
        }]);
        assert_eq!(alarm.post(limited.to_string()).await.0, 200);
        alarm.fire("Other", "critical").await;
    };
    let of = |name: &str| {
        let bodies = webhook.bodies();
        let alerts = bodies.iter().flat_map(|body| body["alerts"].as_array().unwrap());
        alerts.filter(|alert| alert["labels"]["alertname"] == name).count()
    };
    let repeats = async |alarm: &Alarm, others: usize| {
        alarm.advance(10 * MINUTE + SECOND);
        testkit::eventually("the other one is repeated", PATIENCE, async || {
            alarm.advance(SECOND);
            (of("Other") == others).then_some(())
        })
        .await;
    };
    fire(&alarm).await;
    testkit::eventually("both are told", PATIENCE, async || {
        (of("Other") == 1 && of("DiskFull") == 1).then_some(())
    })
    .await;
    repeats(&alarm, 2).await;
    alarm
        .until_case("it is repeated once", "DiskFull", |case| case["deliveries"][1].is_object())
        .await;
    fire(&alarm).await;
    alarm = alarm.restart(&settings, SECOND).await;
    for others in 3..5 {
        repeats(&alarm, others).await;
        fire(&alarm).await;
    }
    let refused = "alarm_suppressed_notifications_total{receiver=\"ops\",reason=\"told_often\"}";
    testkit::eventually("its further repeats are held back", PATIENCE, async || {
        let metrics = alarm.get("/metrics").await;
        let line = metrics.lines().find(|line| line.starts_with(refused)).expect(&metrics);
        (!line.ends_with(" 0")).then_some(())
    })
    .await;
    assert_eq!(of("DiskFull"), 2);
    let ended = json!([{
        "labels": { "alertname": "DiskFull", "severity": "critical" },
        "startsAt": START.minus(MINUTE).rfc3339(), "endsAt": alarm.moment(0),
    }]);
    assert_eq!(alarm.post(ended.to_string()).await.0, 200);
    testkit::eventually("its end is told", PATIENCE, async || {
        alarm.advance(SECOND);
        (of("DiskFull") == 3).then_some(())
    })
    .await;
    let bodies = webhook.bodies();
    let mut alerts = bodies.iter().flat_map(|body| body["alerts"].as_array().unwrap());
    assert!(alerts.any(|a| a["labels"]["alertname"] == "DiskFull" && a["status"] == "resolved"));
}

#[tokio::test]
async fn a_busy_webhook_is_asked_again_until_it_answers() {
    let (webhook, _context) = webhook().await;
    let alarm = Alarm::telling(&webhook).await;
    webhook.answer_with(503);
    alarm.fire("DiskFull", "critical").await;
    let case =
        alarm.until_case("it is retried", "DiskFull", |case| result(case) == "retrying").await;
    assert_eq!(
        (&case["told"][0]["code"], &case["told"][0]["detail"]),
        (&json!(503), &json!("HTTP 503"))
    );
    assert!(alarm.get("/alerts").await.contains("mark retrying"));
    webhook.answer_with(200);
    let case =
        alarm.until_later("it arrives", "DiskFull", SECOND, |case| result(case) == "sent").await;
    assert_eq!(case["told"][0]["attempts"], 2);
    assert_eq!(webhook.bodies().len(), 2);
}

#[tokio::test]
async fn a_webhook_that_never_answers_is_given_its_time_and_no_more() {
    let (good, _context) = webhook().await;
    // It takes connections, and that is all it does.
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = format!(
        "[[receivers]]\nname = \"deaf\"\nwebhook_url = \"http://{}/\"\ntimeout = \"1s\"\n",
        deaf.local_addr().unwrap()
    );
    let alarm = Alarm::start(&(settings + &receiver("good", &good))).await;
    alarm.fire("DiskFull", "critical").await;
    told(&good, 1).await;
    let of = |case: &Value, name: &str| {
        let all = case["told"].as_array().unwrap();
        all.iter().find(|one| one["receiver"] == name).cloned().unwrap_or_default()
    };
    let is_retried = |case: &Value| of(case, "deaf")["result"] == "retrying";
    let case = alarm.until_case("it is asked again later", "DiskFull", is_retried).await;
    assert_eq!(of(&case, "deaf")["code"], 0, "{case}");
    assert_eq!(of(&case, "good")["result"], "sent");
}

#[tokio::test]
async fn a_notification_that_is_given_up_stays_visible_and_is_counted() {
    let (webhook, _context) = webhook().await;
    let alarm = Alarm::telling(&webhook).await;
    webhook.answer_with(404);
    alarm.fire("DiskFull", "critical").await;
    alarm.until_case("it is given up", "DiskFull", |case| result(case) == "failed").await;
    assert_eq!(webhook.bodies().len(), 1, "what is refused is not asked again");
    assert!(alarm.get("/alerts").await.contains("mark failed"));
    testkit::eventually("the gauge shows it", PATIENCE, async || {
        alarm.advance(5 * SECOND);
        let metrics = alarm.get("/metrics").await;
        (metrics.contains("alarm_notifications_total{receiver=\"ops\",result=\"failed\"} 1")
            && metrics.contains("alarm_undelivered_notifications 1"))
        .then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_receiver_that_is_away_does_not_hold_up_another() {
    let (good, _context) = webhook().await;
    let away = "[[receivers]]\nname = \"away\"\nwebhook_url = \"http://127.0.0.1:9/\"\n";
    let alarm = Alarm::start(&(away.to_owned() + &receiver("ops", &good))).await;
    for n in 0..20 {
        alarm.fire(&format!("Alert{n}"), "warning").await;
    }
    told(&good, 20).await;
    let case = alarm
        .until_case("both are noted", "Alert7", |case| {
            case["told"].as_array().is_some_and(|told| told.len() == 2)
        })
        .await;
    assert_eq!(
        (&case["told"][0]["receiver"], &case["told"][0]["result"]),
        (&json!("away"), &json!("retrying"))
    );
    assert!(case["told"][0]["detail"].as_str().unwrap().starts_with("cannot connect"), "{case}");
}

#[tokio::test]
async fn an_urgent_alert_overtakes_a_storm() {
    let (webhook, _context) = webhook().await;
    let alarm = Alarm::telling(&webhook).await;
    let storm =
        (0..300).map(|n| json!({ "labels": { "alertname": format!("A{n}"), "severity": "info" } }));
    assert_eq!(alarm.post(json!(storm.collect::<Vec<_>>()).to_string()).await.0, 200);
    alarm.fire("Urgent", "critical").await;
    let position = testkit::eventually("the urgent one is told", PATIENCE, async || {
        let bodies = webhook.bodies();
        bodies.iter().position(|body| body["alerts"][0]["labels"]["alertname"] == "Urgent")
    })
    .await;
    assert!(position < 200, "{position} others went first");
}

#[tokio::test]
async fn who_is_not_told_has_a_reason() {
    let (webhook, _context) = webhook().await;
    let settings =
        receiver("ops", &webhook) + "matchers = ['severity=\"critical\"']\nsend_resolved = false\n";
    let alarm = Alarm::start(&settings).await;
    alarm.fire("LoadHigh", "warning").await;
    let case =
        alarm.until_case("it is held back", "LoadHigh", |case| result(case) == "skipped").await;
    assert_eq!(case["told"][0]["detail"], "not_routed");
    alarm.fire("DiskFull", "critical").await;
    told(&webhook, 1).await;
    alarm.until_case("it is noted", "DiskFull", |case| result(case) == "sent").await;
    alarm.resolve("DiskFull", "critical").await;
    let is_settled = |case: &serde_json::Value| case["told"][0]["detail"] == "resolved_not_wanted";
    alarm.until_case("the end is held back", "DiskFull", is_settled).await;
    assert_eq!(webhook.bodies().len(), 1);
}

#[tokio::test]
async fn an_alert_without_news_is_stale_and_never_told_as_resolved() {
    let (webhook, _context) = webhook().await;
    let alarm = Alarm::telling(&webhook).await;
    alarm.fire("DiskFull", "critical").await;
    alarm.until_case("it is told", "DiskFull", |case| result(case) == "sent").await;
    alarm.advance(HOUR + SECOND);
    let case = alarm
        .until_later("it is stale", "DiskFull", 5 * SECOND, |case| case["status"] == "stale")
        .await;
    assert_eq!(case["events"][0]["kind"], "stale");
    assert!(alarm.get("/alerts").await.contains("no news"));
    let suppressed =
        "alarm_suppressed_notifications_total{receiver=\"ops\",reason=\"lease_expired\"} 1";
    testkit::eventually("it is held back", PATIENCE, async || {
        alarm.get("/metrics").await.contains(suppressed).then_some(())
    })
    .await;
    assert_eq!(webhook.bodies().len(), 1);

    alarm.resolve("DiskFull", "critical").await;
    let bodies = told(&webhook, 2).await;
    assert_eq!(bodies[1]["status"], "resolved", "an end that a sender told is told on");
}

/// A webhook that takes one message a connection and hangs up without a word; what it answered 200 to.
fn rude_webhook() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&heard);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
            let body = loop {
                match stream.read(&mut piece) {
                    Ok(0) | Err(_) => break None,
                    Ok(length) => bytes.extend_from_slice(&piece[..length]),
                }
                let text = String::from_utf8_lossy(&bytes);
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = head.split("content-length: ").nth(1).unwrap();
                let length: usize = length.lines().next().unwrap().parse().unwrap();
                if body.len() >= length {
                    break Some(body.to_owned());
                }
            };
            let Some(body) = body else { continue };
            told.lock().unwrap().push(body);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        }
    });
    (url, heard)
}

#[tokio::test]
async fn a_webhook_that_hangs_up_without_a_word_hears_of_everything_once() {
    let (url, heard) = rude_webhook();
    let settings = format!("[[receivers]]\nname = \"ops\"\nwebhook_url = \"{url}\"\n");
    let alarm = Alarm::start(&settings).await;
    let names: Vec<String> = (0..20).map(|number| format!("Disk{number:02}")).collect();
    for name in &names {
        alarm.fire(name, "critical").await;
        eventually("it is noted as sent", PATIENCE, async || {
            let case = alarm.case(name).await;
            if result(&case) == "retrying" {
                // It left while the connection ended.
                alarm.advance(2 * SECOND);
            }
            Some(()).filter(|()| result(&case) == "sent")
        })
        .await;
    }
    let heard = heard.lock().unwrap();
    for name in &names {
        assert_eq!(heard.iter().filter(|body| body.contains(name.as_str())).count(), 1, "{name}");
    }
}
