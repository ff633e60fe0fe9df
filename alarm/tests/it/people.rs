//! Users, teams, who is on call, and whom a receiver tells.

use std::time::Duration;

use db::messages::Stage;
use serde_json::{Value, json};
use testkit::{Webhook, eventually};

use crate::harness::{Alarm, PATIENCE};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// Two people who take turns of a week; the test begins in ann's first.
const TEAM: &str = r#"
users = [
    { name = "ann", addresses = { telegram = "101", phone = "+8613800001111" }, language = "zh-CN" },
    { name = "bob", addresses = { telegram = "102" } },
]
[[teams]]
name = "dba"
members = ["ann", "bob"]
rotation = { every = "week", at = "09:00", starts = "2025-10-06", time_zone = "Asia/Shanghai", people = ["ann", "bob"] }
"#;

/// A receiver with one bot of Telegram.
fn telling(webhook: &Webhook, recipients: &str, more: &str) -> String {
    format!(
        "{TEAM}[mutes]\ntoken = \"api-token\"\ncallbacks = [{{ kind = \"telegram\", secret_token = \"tg\" }}]\n\
         [[receivers]]\nname = \"ops\"\nrecipients = [{recipients}]\n{more}\
         [[receivers.bots]]\nname = \"main\"\nkind = \"telegram\"\ntoken = \"tg\"\nchat = \"-100\"\n\
         api = \"{}\"\n",
        webhook.url()
    )
}

async fn start(recipients: &str, more: &str) -> (Alarm, Webhook, daemon::Context) {
    let (webhook, context) = crate::harness::webhook().await;
    webhook.answer_body(json!({ "ok": true, "result": { "message_id": 1 } }));
    (Alarm::start(&telling(&webhook, recipients, more)).await, webhook, context)
}

async fn sent(alarm: &Alarm, webhook: &Webhook, count: usize) -> Vec<Value> {
    eventually(&format!("{count} are sent"), PATIENCE, async || {
        alarm.advance(SECOND);
        Some(webhook.bodies()).filter(|bodies| bodies.len() >= count)
    })
    .await
}

fn chats(bodies: &[Value]) -> Vec<&str> {
    let mut chats: Vec<&str> =
        bodies.iter().map(|body| body["chat_id"].as_str().unwrap()).collect();
    chats.sort_unstable();
    chats
}

async fn ask(alarm: &Alarm, method: &str, path: &str, body: Value) -> (u16, Value) {
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let request = alarm.context.http.request(method, alarm.url(path));
    let request = if body.is_null() { request } else { request.body(body.to_string()) };
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_on_call_is_told_in_their_language_and_hears_of_the_end_after_the_hand_over() {
    let (alarm, webhook, _context) = start("\"oncall:dba\"", "").await;
    alarm.fire("DiskFull", "critical").await;
    let bodies = sent(&alarm, &webhook, 1).await;
    assert_eq!(chats(&bodies), ["101"]);
    let text = bodies[0]["text"].as_str().unwrap();
    assert!(text.contains("开始时间") && text.contains("ann"), "{text}");
    // A week later bob is on call. The end is ann's, who heard of the beginning; what is new is bob's.
    let duty = alarm.get_json("/api/v1/oncall?at=2025-10-13T01:00:00Z").await;
    assert_eq!((&duty[0]["user"], &duty[0]["next"]), (&json!("bob"), &json!("ann")));
    // Its lease runs out first: a repeat after the hand-over would be bob's, and rightly so.
    alarm.advance(2 * HOUR);
    alarm.until_case("it went silent", "DiskFull", |case| case["status"] == "stale").await;
    alarm.advance(4 * DAY);
    let at = alarm.get_json("/api/v1/oncall?team=dba").await;
    assert_eq!(at[0]["user"], "bob", "{at}");
    alarm.resolve("DiskFull", "critical").await;
    let bodies = sent(&alarm, &webhook, 2).await;
    assert_eq!(chats(&bodies), ["101", "101"]);
    assert!(bodies[1]["text"].as_str().unwrap().contains("已恢复"));
    alarm.fire("LoadHigh", "critical").await;
    let bodies = sent(&alarm, &webhook, 3).await;
    assert_eq!(chats(&bodies), ["101", "101", "102"]);
    assert!(bodies[2]["text"].as_str().unwrap().contains("Since"), "the receiver's language");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_a_team_are_told_but_for_whoever_muted_it() {
    let (alarm, webhook, _context) = start("\"team:dba\"", "").await;
    let wish = json!({ "user": "ann", "metric": "DiskFull", "seconds": 7200 });
    let request = alarm.context.http.post(alarm.url("/api/v1/mutes")).bearer_auth("api-token");
    assert_eq!(request.body(wish.to_string()).send().await.unwrap().status(), 200);
    alarm.fire("DiskFull", "critical").await;
    assert_eq!(chats(&sent(&alarm, &webhook, 1).await), ["102"]);
    let muted = alarm.db().messages().in_stage(Stage::Muted, 10).await.unwrap();
    assert_eq!((muted.len(), muted[0].recipient.as_str()), (1, "ann"));
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_chat_who_is_on_call_is_called_by_name_unless_muted() {
    let (alarm, webhook, _context) = start("\"team:dba\"", "mention = true\n").await;
    alarm.fire("DiskFull", "critical").await;
    let bodies = sent(&alarm, &webhook, 1).await;
    assert_eq!(chats(&bodies), ["-100"]);
    let text = bodies[0]["text"].as_str().unwrap();
    assert!(text.contains("tg://user?id=101") && text.contains("tg://user?id=102"), "{text}");
    // ann presses a mute in the chat: only she is not called any more.
    let buttons = &bodies[0]["reply_markup"]["inline_keyboard"][0];
    let press = json!({
        "callback_query": { "id": "q1", "from": { "id": 101 }, "data": buttons[0]["callback_data"] },
    });
    let hook = alarm.context.http.post(alarm.url("/hooks/telegram"));
    let hook = hook.header("X-Telegram-Bot-Api-Secret-Token", "tg").body(press.to_string());
    let answer: Value = hook.send().await.unwrap().json().await.unwrap();
    assert!(answer["text"].as_str().unwrap().contains("Muted by ann via telegram"), "{answer}");
    alarm.resolve("DiskFull", "critical").await;
    sent(&alarm, &webhook, 2).await;
    alarm.advance(Duration::from_secs(60));
    let again = json!([{
        "labels": { "alertname": "DiskFull", "severity": "critical", "endpoint": "web-03" },
        "startsAt": alarm.moment(0), "endsAt": alarm.moment(36_000),
    }]);
    assert_eq!(alarm.post(again.to_string()).await.0, 200);
    let bodies = sent(&alarm, &webhook, 3).await;
    let text = bodies[2]["text"].as_str().unwrap();
    assert!(!text.contains("id=101") && text.contains("id=102"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_without_an_address_finally_fails_for_everybody_to_see() {
    let (alarm, webhook, _context) = start("\"user:cyd\"", "").await;
    alarm.fire("DiskFull", "critical").await;
    let failed = eventually("it has finally failed", PATIENCE, async || {
        alarm.advance(SECOND);
        let failed = alarm.db().messages().in_stage(Stage::Failed, 10).await.unwrap();
        Some(failed).filter(|failed| failed.len() == 1)
    })
    .await;
    assert_eq!((failed[0].recipient.as_str(), failed[0].code.as_str()), ("cyd", "no_address"));
    assert!(webhook.bodies().is_empty());
    let metrics = alarm.get("/metrics").await;
    assert!(metrics.contains("alarm_amiss_recipients_total 1"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_teams_are_made_changed_and_removed_by_api_and_survive_a_restart() {
    let alarm = Alarm::start(TEAM).await;
    let cyd = json!({ "addresses": { "mail": "cyd@example.com" }, "time_zone": "Europe/Berlin" });
    let (status, made) = ask(&alarm, "PUT", "/api/v1/users/cyd", cyd.clone()).await;
    assert_eq!((status, made), (200, json!({ "name": "cyd", "version": 1 })));
    assert_eq!(ask(&alarm, "PUT", "/api/v1/users/cyd?version=0", cyd.clone()).await.0, 409);
    assert_eq!(ask(&alarm, "PUT", "/api/v1/users/cyd?version=1", cyd.clone()).await.0, 200);
    assert_eq!(ask(&alarm, "PUT", "/api/v1/users/ann", cyd.clone()).await.0, 409, "settings");
    let fax = json!({ "addresses": { "fax": "1" } });
    let (status, fault) = ask(&alarm, "PUT", "/api/v1/users/dan", fax).await;
    assert!(status == 400 && fault["error"].as_str().unwrap().contains("addresses.fax"), "{fault}");
    let night = json!({
        "members": ["cyd"],
        "rotation": { "every": "day", "at": "20:00", "starts": "2025-10-01", "people": ["cyd"] },
    });
    assert_eq!(ask(&alarm, "PUT", "/api/v1/teams/night", night).await.0, 200);
    let alarm = alarm.restart(TEAM, SECOND).await;
    let teams = alarm.get_json("/api/v1/teams").await;
    assert_eq!(
        (&teams[0]["source"], &teams[1]["onCall"]["user"]),
        (&json!("settings"), &json!("cyd"))
    );
    let users = alarm.get_json("/api/v1/users").await;
    assert_eq!(users[2]["addresses"]["mail"], "cyd@example.com");
    assert_eq!((&users[2]["version"], &users[2]["changedBy"]), (&json!(2), &json!("local")));
    assert_eq!(ask(&alarm, "DELETE", "/api/v1/teams/night", Value::Null).await.0, 200);
    assert_eq!(ask(&alarm, "DELETE", "/api/v1/teams/night", Value::Null).await.0, 404);
    assert_eq!(ask(&alarm, "GET", "/api/v1/oncall?team=night", Value::Null).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stand_in_is_on_call_for_a_span_and_told() {
    let (alarm, webhook, _context) = start("\"oncall:dba\"", "").await;
    let span = json!({ "user": "bob", "from": alarm.moment(0), "until": alarm.moment(7200) });
    let (status, made) = ask(&alarm, "POST", "/api/v1/teams/dba/stand-ins", span.clone()).await;
    assert_eq!(status, 200, "{made}");
    let unknown = json!({ "user": "eve", "from": alarm.moment(0), "until": alarm.moment(60) });
    assert_eq!(ask(&alarm, "POST", "/api/v1/teams/dba/stand-ins", unknown).await.0, 404);
    alarm.fire("DiskFull", "critical").await;
    assert_eq!(chats(&sent(&alarm, &webhook, 1).await), ["102"]);
    let duty = alarm.get_json("/api/v1/oncall").await;
    assert_eq!((&duty[0]["user"], &duty[0]["isStandIn"]), (&json!("bob"), &json!(true)));
    let path = format!("/api/v1/teams/dba/stand-ins/{}", made["id"].as_str().unwrap());
    assert_eq!(ask(&alarm, "DELETE", &path, Value::Null).await.0, 200);
    assert_eq!(alarm.get_json("/api/v1/oncall").await[0]["user"], "ann");
    assert_eq!(ask(&alarm, "POST", "/api/v1/teams/dba/stand-ins", span).await.0, 200);
    alarm.advance(DAY);
    assert_eq!(alarm.get_json("/api/v1/oncall").await[0]["user"], "ann", "the span is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_from_elsewhere_need_a_token_and_addresses_are_hidden_without_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    std::fs::write(&file, "ops 0123456789abcdef\n").unwrap();
    let alarm = Alarm::start(&format!("token_file = {file:?}\n{TEAM}")).await;
    let proxied = |method: reqwest::Method, path: &str| {
        let request = alarm.context.http.request(method, alarm.url(path));
        request.header("X-Forwarded-For", "192.0.2.1")
    };
    let users: Value =
        proxied(reqwest::Method::GET, "/api/v1/users").send().await.unwrap().json().await.unwrap();
    assert_eq!(users[0]["addresses"]["phone"], "•••111");
    let page = proxied(reqwest::Method::GET, "/people/users/ann").send().await.unwrap();
    let page = page.text().await.unwrap();
    assert!(page.contains("•••111") && !page.contains("+8613800001111"), "{page}");
    let put = || proxied(reqwest::Method::PUT, "/api/v1/users/cyd").body("{}");
    assert_eq!(put().send().await.unwrap().status(), 403);
    let wrong = put().bearer_auth("0123456789abcdeX").send().await.unwrap();
    assert_eq!(wrong.status(), 403);
    let right = put().bearer_auth("0123456789abcdef").send().await.unwrap();
    assert_eq!(right.status(), 200);
    let form = || {
        let request = proxied(reqwest::Method::POST, "/people/users/+new");
        request.header("Content-Type", "application/x-www-form-urlencoded")
    };
    let refused = form().body("name=dan&version=0&action=save").send().await.unwrap();
    assert_eq!(refused.status(), 403);
    assert!(refused.text().await.unwrap().contains("value=\"dan\""), "what was typed is kept");
    let token = "name=dan&version=0&action=save&token=0123456789abcdef";
    assert_eq!(form().body(token).send().await.unwrap().status(), 303);
    let evil = alarm.context.http.post(alarm.url("/people/users/+new"));
    let evil = evil.header("Origin", "http://evil.example").body("name=eve&version=0");
    let evil = evil.header("Content-Type", "application/x-www-form-urlencoded");
    assert_eq!(evil.send().await.unwrap().status(), 403);
    let names = alarm.get_json("/api/v1/users").await;
    let names: Vec<_> = names.as_array().unwrap().iter().map(|user| &user["name"]).collect();
    assert_eq!(names, ["ann", "bob", "cyd", "dan"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_show_and_change_people_without_a_script() {
    let alarm = Alarm::start(TEAM).await;
    let post = async |path: &str, body: &str| alarm.submit(path, "", body).await;
    let (status, html) =
        post("/people/users/+new", "name=cyd&version=0&action=save&address_mail=cyd%40x").await;
    assert!(status == 200 && html.contains("Saved.") && html.contains("cyd@x"), "{html}");
    let (status, html) = post("/people/users/cyd", "version=7&action=save").await;
    assert!(status == 409 && html.contains("changed meanwhile"), "{html}");
    let team = "name=night&version=0&action=save&members=cyd%0D%0Abob&every=day&at=20%3A00\
                &starts=2025-10-01&time_zone=Europe%2FBerlin&people=";
    let (status, html) = post("/people/teams/+new", team).await;
    assert!(status == 200 && html.contains("class=\"now\""), "{html}");
    let faulty = team.replace("20%3A00", "noon").replace("night", "day");
    let (status, html) = post("/people/teams/+new", &faulty).await;
    assert!(status == 400 && html.contains("rotation.at") && html.contains("cyd"), "{html}");
    let stand_in = "action=stand-in&user=ann&from=2025-10-10T10%3A00&until=2025-10-10T12%3A00";
    let (status, html) = post("/people/teams/dba", stand_in).await;
    assert!(status == 200 && html.contains("2025-10-10 10:00:00 +08:00"), "{html}");
    let past = stand_in.replace("2025-10-10", "2025-10-08");
    let (status, html) = post("/people/teams/dba", &past).await;
    assert!(status == 400 && html.contains("it is over already"), "{html}");
    let html = alarm.get("/people").await;
    for text in ["dba", "night", "ann", "weekly at 09:00 Asia/Shanghai", "from the settings"] {
        assert!(html.contains(text), "{text} is missing in {html}");
    }
    let html = alarm.get("/people?lang=zh&q=night").await;
    assert!(html.contains("值班") && !html.contains("/people/users/ann\">ann</a></th>"), "{html}");
    let (status, _) = post("/people/teams/night", "version=1&action=remove").await;
    assert_eq!(status, 200);
    assert!(!alarm.get("/people").await.contains("night"));
}
