//! Operators' own templates: what arrives, what is shown before, and what happens when one fails.

use std::fs;

use serde_json::{Value, json};
use testkit::{Webhook, eventually};

use crate::harness::{Alarm, PATIENCE, START};

const TOKEN: &str = "[mutes]\ntoken = \"api-token\"\n";

/// A stand-in for the API of Slack.
async fn slack() -> (Webhook, daemon::Context) {
    let context = testkit::context_at(START);
    let slack = Webhook::start(&context).await;
    slack.answer_body(json!({ "ok": true, "ts": "1.2" }));
    (slack, context)
}

/// The text of the first message that arrives.
async fn arrived(slack: &Webhook) -> String {
    let first =
        eventually("the message arrives", PATIENCE, async || slack.bodies().into_iter().next());
    let body = first.await;
    body["attachments"][0]["blocks"][0]["text"]["text"].as_str().unwrap_or("").to_owned()
}

fn receiver(slack: &Webhook, texts: &str) -> String {
    format!(
        "[[receivers]]\nname = \"ops\"\n[[receivers.bots]]\nname = \"main\"\nkind = \"slack\"\nurl = {:?}\n\
         token = \"t\"\nchannel = \"#ops\"\n{texts}",
        slack.url()
    )
}

async fn preview(alarm: &Alarm, body: Value) -> (u16, Value) {
    let request = alarm.context.http.post(alarm.url("/api/v1/templates/preview"));
    let answer = request.json(&body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn a_file_of_alertmanager_is_loaded_with_its_templates_and_its_texts_arrive() {
    let (slack, _context) = slack().await;
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("templates")).unwrap();
    let definitions = "{{ define \"own.title\" }}{{ .Status | toUpper }} {{ .GroupLabels.alertname }}{{ end }}\n\
        {{ define \"own.text\" }}{{ range .Alerts.Firing }}*{{ .Labels.endpoint }}*: {{ .Annotations.summary }} since \
        {{ .StartsAt.Format \"15:04\" }}{{ end }}{{ end }}\n";
    fs::write(folder.path().join("templates/own.tmpl"), definitions).unwrap();
    let file = folder.path().join("alertmanager.yml");
    let text = format!(
        "route: {{receiver: chat, group_by: [alertname], group_wait: 0s}}\ntemplates: ['templates/*.tmpl']\n\
         receivers:\n- name: chat\n  slack_configs:\n  - app_token: t\n    app_url: {}\n    channel: '#ops'\n    \
         color: danger\n    title: '{{{{ template \"own.title\" . }}}}'\n    text: '{{{{ template \"own.text\" . }}}}'\n",
        slack.url()
    );
    fs::write(&file, text).unwrap();
    let alarm = Alarm::start(&format!("alertmanager_config = {file:?}\n")).await;
    alarm.fire("<Disk>", "critical").await;
    let text = arrived(&slack).await;
    assert_eq!(text, "*FIRING &lt;Disk&gt;*\n*web-03*: &lt;Disk&gt; hurts since 09:00");
    let (status, shown) = preview(&alarm, json!({ "receiver": "chat", "language": "en" })).await;
    assert_eq!((status, shown["previews"][0]["title"].as_str()), (200, Some("FIRING DiskFull")));

    // The same file with a fault in a template is refused with its place, and the old one goes on.
    fs::write(
        folder.path().join("templates/own.tmpl"),
        "{{ define \"own.title\" }}\n{{ nope }}{{ end }}",
    )
    .unwrap();
    let answer = alarm.context.http.post(alarm.url("/-/reload")).send().await.unwrap();
    assert_eq!(answer.status(), 500);
    let fault = answer.text().await.unwrap();
    assert!(fault.contains("own.tmpl:2:4: there is no function"), "{fault}");
}

#[tokio::test]
async fn a_template_that_fails_does_not_cost_the_message_and_is_in_the_record() {
    let (slack, _context) = slack().await;
    let texts = "[[receivers.texts]]\ntext = 'x {{ index .Alerts 9 }}'\n";
    let alarm = Alarm::start(&(receiver(&slack, texts) + TOKEN)).await;
    alarm.fire("Disk", "critical").await;
    let text = arrived(&slack).await;
    assert!(text.contains("critical Disk · web-03") && text.contains("*Value*: 97.2"), "{text}");
    let list = alarm.get_json("/alerts.json?state=all&q=Disk").await;
    let path =
        format!("/api/v1/alerts/{}/delivery", list["alerts"][0]["fingerprint"].as_str().unwrap());
    let record = alarm.get_json(&path).await;
    let attempts = record["messages"][0]["attempts"].as_array().unwrap().iter();
    let failed: Vec<&str> = attempts
        .filter(|attempt| attempt["result"] == "template_failed")
        .map(|attempt| attempt["text"].as_str().unwrap())
        .collect();
    assert_eq!(failed.len(), 1, "{record}");
    assert!(
        failed[0].starts_with("receivers.ops.texts[0].text:1:6: index out of range"),
        "{failed:?}"
    );
}

#[tokio::test]
async fn a_template_is_previewed_before_it_is_used() {
    let (slack, _context) = slack().await;
    let texts =
        "[[receivers.texts]]\nlanguage = 'zh-CN'\ntitle = '告警 {{ .CommonLabels.alertname }}'\n";
    let alarm = Alarm::start(&receiver(&slack, texts)).await;
    let alerts = json!([{ "labels": { "alertname": "A", "endpoint": "web-1" } }]);
    let (status, shown) = preview(&alarm, json!({ "receiver": "ops", "alerts": alerts })).await;
    assert_eq!(status, 200, "{shown}");
    let titles: Vec<&str> = shown["previews"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["title"].as_str().unwrap())
        .collect();
    assert_eq!(titles, ["[Saker] A · web-1", "[Saker] 告警 A"]);
    let (status, shown) =
        preview(&alarm, json!({ "text": "a {{ .Status }", "alerts": alerts })).await;
    assert_eq!(status, 400);
    assert!(shown["faults"][0].as_str().unwrap().contains(".text:1:"), "{shown}");
    let (status, _) = preview(&alarm, json!({ "nonsense": 1 })).await;
    assert_eq!(status, 400);
    assert!(slack.bodies().is_empty(), "nothing is sent");
}

#[tokio::test]
async fn a_test_reaches_a_webhook_and_says_what_it_answered() {
    let (hook, _context) = slack().await;
    let settings =
        format!("[[receivers]]\nname = \"hook\"\nwebhook_url = {:?}\n{TOKEN}", hook.url());
    let alarm = Alarm::start(&settings).await;
    let test = async |name: &str| {
        let request = alarm.context.http.post(alarm.url(&format!("/api/v1/receivers/{name}/test")));
        let answer = request.bearer_auth("api-token").send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (status, answer) = test("hook").await;
    assert_eq!((status, &answer["answer"]["sent"]), (200, &json!(true)), "{answer}");
    assert_eq!(hook.bodies()[0]["alerts"][0]["labels"]["alertname"], "SakerTest");
    hook.answer_with(403);
    let (_, answer) = test("hook").await;
    assert_eq!(
        (&answer["answer"]["sent"], &answer["answer"]["code"]),
        (&json!(false), &json!(403))
    );
    assert_eq!(test("gone").await.0, 404);
}

#[tokio::test]
async fn a_test_through_bots_shows_the_receivers_own_templates() {
    let (slack, _context) = slack().await;
    let texts = "[[receivers.texts]]\ntitle = 'T {{ .CommonLabels.alertname }}'\ntext = '_{{ .Receiver }}_'\n";
    let alarm = Alarm::start(&(receiver(&slack, texts) + TOKEN)).await;
    let request = alarm.context.http.post(alarm.url("/api/v1/receivers/ops/test"));
    let answer = request.bearer_auth("api-token").send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let text = arrived(&slack).await;
    assert!(text.starts_with("*[Saker] test ops T SakerTest*\n_ops_"), "{text}");
}
