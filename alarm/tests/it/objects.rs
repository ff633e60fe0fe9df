//! Routes, receivers and the like as objects of the database, changed by API and on the page of templates.

use std::time::Duration;

use db::{RoutingChange, Trail};
use model::Timestamp;
use serde_json::{Value, json};
use testkit::Webhook;

use crate::harness::{Alarm, receiver, told, webhook};

const API: &str = "/api/v1/routing";

async fn ask(alarm: &Alarm, method: &str, path: &str, body: &str) -> (u16, Value) {
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let request = alarm.context.http.request(method, alarm.url(&format!("{API}{path}")));
    let answer = request.body(body.to_owned()).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

async fn put(alarm: &Alarm, path: &str, body: &str) -> (u16, Value) {
    ask(alarm, "PUT", path, body).await
}

async fn must_put(alarm: &Alarm, path: &str, body: &str) -> Value {
    let (status, answer) = put(alarm, path, body).await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

async fn refused(alarm: &Alarm, path: &str, body: &str) -> (u16, String) {
    let (status, answer) = put(alarm, path, body).await;
    (status, answer["error"].as_str().unwrap_or_default().to_owned())
}

fn hook(webhook: &Webhook) -> String {
    json!({ "webhook_configs": [{ "url": webhook.url() }] }).to_string()
}

const AT_ONCE: &str =
    "{matchers: [severity=critical], receiver: hook, group_by: ['...'], group_wait: 0s}";

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_and_a_route_made_by_api_tell_at_once_and_after_a_restart() {
    let (webhook, _context) = webhook().await;
    let settings = "[mutes]\ntoken = \"api-token\"\n";
    let alarm = Alarm::start(settings).await;
    must_put(&alarm, "/receivers/hook", &hook(&webhook)).await;
    must_put(&alarm, "/routes/critical", AT_ONCE).await;
    alarm.fire("DiskFull", "critical").await;
    told(&webhook, 1).await;
    alarm.fire("Minor", "info").await;
    let test = alarm.context.http.post(alarm.url("/api/v1/receivers/hook/test"));
    let test: Value = test.bearer_auth("api-token").send().await.unwrap().json().await.unwrap();
    assert_eq!(test["answer"]["sent"], true, "{test}");
    told(&webhook, 2).await;
    let alarm = alarm.restart(settings, Duration::from_secs(1)).await;
    let (_, route) = ask(&alarm, "GET", "/routes/critical", "").await;
    assert_eq!((&route["origin"], &route["changedBy"]), (&json!("database"), &json!("local")));
    assert_eq!(route["object"]["receiver"], "hook");
    alarm.fire("LoadHigh", "critical").await;
    let bodies = told(&webhook, 3).await;
    assert_eq!(bodies[2]["alerts"][0]["labels"]["alertname"], "LoadHigh");
    assert_eq!(bodies[2]["receiver"], "hook");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_has_a_webhook_instead_of_bots_is_tested_through_it_at_once() {
    let (webhook, _context) = webhook().await;
    let alarm = Alarm::start("[mutes]\ntoken = \"api-token\"\n").await;
    let test = async || {
        let url = alarm.url("/api/v1/receivers/ops/test");
        let answer = alarm.context.http.post(url).bearer_auth("api-token").send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let bot = "{bots: [{name: m, kind: telegram, token: t, chat: '1', api: 'http://127.0.0.1:9'}]}";
    must_put(&alarm, "/receivers/ops", bot).await;
    let (status, stored) = test().await;
    assert!(status == 202 && stored["messages"].as_array().unwrap().len() == 1, "{stored}");
    must_put(&alarm, "/receivers/ops", &hook(&webhook)).await;
    let (status, sent) = test().await;
    assert!(status == 200 && sent["answer"]["sent"] == true, "{sent}");
    told(&webhook, 1).await;
    assert_eq!(ask(&alarm, "DELETE", "/receivers/ops", "").await.0, 200);
    assert_eq!(test().await.0, 404, "nor is one tested that is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mute_time_made_by_api_holds_back_at_once_and_its_removal_lets_go() {
    let (webhook, _context) = webhook().await;
    let alarm = Alarm::start("").await;
    must_put(&alarm, "/receivers/hook", &hook(&webhook)).await;
    must_put(&alarm, "/time-intervals/always", "time_intervals: [{}]").await;
    let muted = AT_ONCE.replace("group_wait", "mute_time_intervals: [always], group_wait");
    must_put(&alarm, "/routes/critical", &muted).await;
    let labels = json!({ "labels": { "alertname": "X", "severity": "critical" } }).to_string();
    let (_, preview) = ask(&alarm, "POST", "/preview", &labels).await;
    assert_eq!(preview["ways"][0]["heldBy"], "mute_time", "{preview}");
    let (status, fault) = ask(&alarm, "DELETE", "/time-intervals/always", "").await;
    assert_eq!(status, 409);
    let fault = fault["error"].as_str().unwrap();
    assert!(fault.contains("time interval \"always\" is needed by route \"critical\""), "{fault}");
    must_put(&alarm, "/routes/critical", AT_ONCE).await;
    assert_eq!(ask(&alarm, "DELETE", "/time-intervals/always", "").await.0, 200);
    alarm.fire("DiskFull", "critical").await;
    told(&webhook, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_not_work_is_refused_with_words_and_changes_nothing() {
    let (webhook, _context) = webhook().await;
    let alarm = Alarm::start(&receiver("ops", &webhook)).await;
    must_put(&alarm, "/receivers/hook", &hook(&webhook)).await;
    must_put(&alarm, "/routes/db", "{matchers: [team=db], receiver: hook}").await;
    for (path, body, status, words) in [
        ("/routes/x", "receiver: gone", 400, "receiver \"gone\" is not defined"),
        ("/routes/x", "{receiver: hook, rotues: []}", 400, "rotues"),
        ("/routes/x", "{receiver: hook, active_time_intervals: [noon]}", 400, "\"noon\" is not"),
        ("/receivers/ops", "webhook_configs: [{url: 'http://x/'}]", 409, "is in saker.toml"),
        ("/receivers/x", "webhook_configs: [{url_file: /etc/shadow}]", 400, "url_file"),
        (
            "/receivers/x",
            "bots: [{name: a, kind: exec, program: /bin/sh}]",
            400,
            "programs are for",
        ),
        (
            "/receivers/x",
            "bots: [{name: a, kind: slack, url: {file: /etc/shadow}}]",
            400,
            "files of",
        ),
        ("/receivers/x", "webhook_configs: [{url: <secret>}]", 400, "write it again"),
        ("/inhibitions/x", "target_matchers: [a=b]", 400, "source_matchers"),
        ("/templates/x", "a\n{{ define \"t\" }}{{ nope }}{{ end }}", 400, "x:2:20"),
        ("/weathers/x", "{}", 404, "there are routes"),
        ("/routes/db?version=77", "receiver: hook", 409, "version 2 holds"),
        ("/routes/db?version=0", "receiver: hook", 409, "version 2 holds"),
    ] {
        let (found, fault) = refused(&alarm, path, body).await;
        assert!(found == status && fault.contains(words), "{path} {body}: {found} {fault}");
    }
    let (status, fault) = ask(&alarm, "DELETE", "/receivers/hook", "").await;
    assert!(status == 409 && fault["error"].as_str().unwrap().contains("route \"db\""), "{fault}");
    let dry = must_put(&alarm, "/routes/dry?dry_run=true", "receiver: hook").await;
    assert_eq!((&dry["version"], &dry["changed"][0]["name"]), (&Value::Null, &json!("dry")));
    let summary = alarm.get_json(API).await;
    assert_eq!((&summary["objects"], &summary["leftOut"]), (&json!(2), &json!([])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_shown_nowhere_and_kept_when_it_is_put_back() {
    let (webhook, _context) = webhook().await;
    let alarm = Alarm::start("").await;
    let url = format!("{}?token=s3cret-of-the-hook", webhook.url());
    let body = json!({ "webhook_configs": [{ "url": url, "send_resolved": true }] }).to_string();
    must_put(&alarm, "/receivers/hook", &body).await;
    must_put(&alarm, "/routes/all", &AT_ONCE.replace("severity=critical", "alertname!=x")).await;
    let (_, shown) = ask(&alarm, "GET", "/receivers/hook", "").await;
    assert_eq!(shown["object"]["webhook_configs"][0]["url"], "<secret>");
    let mut back = shown["object"].clone();
    back["webhook_configs"][0]["send_resolved"] = json!(false);
    must_put(&alarm, "/receivers/hook", &back.to_string()).await;
    alarm.fire("DiskFull", "critical").await;
    told(&webhook, 1).await;
    let history = alarm.get_json(&format!("{API}/receivers/hook/history")).await;
    let changed = &history[0];
    assert_eq!((&changed["actor"], &changed["action"]), (&json!("local"), &json!("receiver.put")));
    assert_eq!(changed["before"]["webhook_configs"][0]["send_resolved"], true);
    assert_eq!(changed["after"]["webhook_configs"][0]["send_resolved"], false);
    for path in [
        API,
        "/api/v1/routing/receivers",
        "/api/v1/routing/config",
        "/api/v1/routing/config?origin=database",
        "/api/v1/routing/receivers/hook/history",
        "/api/v2/status",
        "/routing",
        "/templates",
    ] {
        let text = alarm.get(path).await;
        assert!(!text.contains("s3cret"), "{path}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_version_of_an_object_is_put_back() {
    let (webhook, _context) = webhook().await;
    let alarm = Alarm::start("").await;
    must_put(&alarm, "/receivers/hook", &hook(&webhook)).await;
    let first = must_put(&alarm, "/routes/db", "{matchers: [team=db], receiver: hook}").await;
    must_put(&alarm, "/routes/db", "{matchers: [team=web], receiver: hook}").await;
    let version = &first["version"];
    let history = alarm.get_json(&format!("{API}/routes/db/history")).await;
    assert_eq!(&history[1]["version"], version);
    let path = format!("/routes/db/restore?version={version}");
    let (status, dry) = ask(&alarm, "POST", &format!("{path}&dry_run=true"), "").await;
    assert_eq!((status, &dry["version"], &dry["dryRun"]), (200, &Value::Null, &json!(true)));
    let (status, done) = ask(&alarm, "POST", &path, "").await;
    assert_eq!(status, 200, "{done}");
    let (_, route) = ask(&alarm, "GET", "/routes/db", "").await;
    assert_eq!(route["object"]["matchers"], json!(["team=db"]));
    let (_, again) = ask(&alarm, "POST", &path, "").await;
    assert_eq!(again["changed"], json!([]), "it is so already");
    for (path, expected) in [
        ("/routes/db/restore?version=999", 404),
        ("/routes/gone/restore?version=1", 404),
        ("/routes/db/restore", 400),
        ("/weather/db/restore?version=1", 404),
    ] {
        assert_eq!(ask(&alarm, "POST", path, "").await.0, expected, "{path}");
    }
    // What a receiver keeps secret is in no history: where it was for another place it must be written again.
    let (_, receiver) = ask(&alarm, "GET", "/receivers/hook", "").await;
    let old = receiver["version"].as_i64().unwrap();
    let path_of_receiver = format!("/receivers/hook/restore?version={old}");
    let (status, kept) = ask(&alarm, "POST", &path_of_receiver, "").await;
    assert_eq!((status, &kept["changed"]), (200, &json!([])), "{kept}");
    assert!(kept["warnings"][0].as_str().unwrap().contains("stay as they are now"), "{kept}");
    let other = hook(&webhook).replace("\"url\"", "\"max_alerts\":5,\"url\"");
    must_put(&alarm, "/receivers/hook", &other).await;
    let (status, fault) = ask(&alarm, "POST", &path_of_receiver, "").await;
    assert_eq!(status, 400, "{fault}");
    assert!(fault["error"].as_str().unwrap().contains("write the secrets again"), "{fault}");
    let (status, _) = ask(&alarm, "DELETE", "/routes/db", "").await;
    assert_eq!(status, 200);
    assert_eq!(ask(&alarm, "POST", &path, "").await.0, 200, "also what was removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_from_elsewhere_changes_nothing_and_sees_no_receiver() {
    let (webhook, _context) = webhook().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    std::fs::write(&file, "ops 0123456789abcdef\n").unwrap();
    let alarm = Alarm::start(&format!("token_file = {file:?}\n")).await;
    must_put(&alarm, "/receivers/hook", &hook(&webhook)).await;
    let far = |method: reqwest::Method, path: &str| {
        let request = alarm.context.http.request(method, alarm.url(&format!("{API}{path}")));
        request.header("X-Forwarded-For", "192.0.2.1")
    };
    let put = || far(reqwest::Method::PUT, "/routes/x").body("receiver: hook");
    assert_eq!(put().send().await.unwrap().status(), 403);
    assert_eq!(put().bearer_auth("0123456789abcdef").send().await.unwrap().status(), 200);
    for path in ["/config", "/receivers/hook/history"] {
        assert_eq!(far(reqwest::Method::GET, path).send().await.unwrap().status(), 403, "{path}");
    }
    let list = far(reqwest::Method::GET, "/receivers").send().await.unwrap();
    let list: Value = list.json().await.unwrap();
    assert_eq!((&list[0]["name"], &list[0]["object"]), (&json!("hook"), &Value::Null));
    let (_, route) = ask(&alarm, "GET", "/routes/x", "").await;
    assert_eq!(route["changedBy"], "ops");
    let import = far(reqwest::Method::PUT, "/config").body("route: {}").send().await.unwrap();
    assert_eq!(import.status(), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_row_written_by_hand_is_left_out_counted_and_named() {
    let (webhook, _context) = webhook().await;
    let alarm = Alarm::start("").await;
    must_put(&alarm, "/receivers/hook", &hook(&webhook)).await;
    must_put(&alarm, "/routes/critical", AT_ONCE).await;
    let (revision, _) = alarm.db().routing().all().await.unwrap();
    let by_hand = |kind, name: &str, body: &str| RoutingChange {
        kind,
        name: name.to_owned(),
        body: Some(body.to_owned()),
        entry: Trail::new().entry(("hand", ""), "x", "x", Timestamp(0)),
    };
    let rows = [
        by_hand("receiver", "broken", "{"),
        by_hand("route", "to nowhere", "{receiver: broken, position: -1}"),
        by_hand("route", "by hand", "matchers: [severity=warning]\nreceiver: hook\n"),
    ];
    alarm.db().routing().change(revision, &rows).await.unwrap();
    testkit::eventually("it is seen", crate::harness::PATIENCE, async || {
        alarm.advance(Duration::from_secs(1));
        let summary = alarm.get_json(API).await;
        (summary["objects"] == 5).then_some(())
    })
    .await;
    let summary = alarm.get_json(API).await;
    let bad: Vec<_> =
        summary["leftOut"].as_array().unwrap().iter().map(|object| &object["name"]).collect();
    assert_eq!(bad, ["broken", "to nowhere"], "{summary}");
    let metrics = alarm.get("/metrics").await;
    for line in [
        "alarm_routing_objects{kind=\"route\",state=\"left_out\"} 1",
        "alarm_routing_objects{kind=\"route\",state=\"used\"} 2",
        "alarm_left_out_routing_object{kind=\"receiver\",name=\"broken\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is missing in:\n{metrics}");
    }
    let page = alarm.get("/routing").await;
    assert!(
        page.contains("to nowhere") && page.contains("receiver &#34;broken&#34; is not"),
        "{page}"
    );
    assert!(page.contains("cannot be used: 2 of the database"), "{page}");
    alarm.fire("DiskFull", "critical").await;
    told(&webhook, 1).await;
    // What is bad hinders no change, and is mended by one.
    must_put(&alarm, "/receivers/broken", &hook(&webhook)).await;
    assert_eq!(alarm.get_json(API).await["leftOut"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_alertmanager_is_imported_and_exported() {
    let (webhook, _context) = webhook().await;
    let alarm = Alarm::start("").await;
    let file = format!(
        "global: {{resolve_timeout: 1m}}\nroute:\n  receiver: hook\n  group_by: ['...']\n  group_wait: 0s\n  routes:\n  \
         - {{matchers: [team=db], receiver: none}}\nreceivers:\n- name: hook\n  webhook_configs: [{{url: '{}'}}]\n\
         - name: none\ninhibit_rules: [{{source_matchers: [a=b], target_matchers: [c=d]}}]\n",
        webhook.url()
    );
    let dry = must_put(&alarm, "/config?dry_run=true", &file).await;
    assert_eq!(dry["changed"].as_array().unwrap().len(), 5, "{dry}");
    assert!(dry["warnings"][0].as_str().unwrap().contains("resolve_timeout"));
    assert_eq!(alarm.get_json(API).await["objects"], 0);
    must_put(&alarm, "/config", &file).await;
    alarm.fire("DiskFull", "critical").await;
    told(&webhook, 1).await;
    let exported = alarm.get("/api/v1/routing/config?origin=database").await;
    assert!(exported.contains("imported-1") && exported.contains("<secret>"), "{exported}");
    let again = must_put(&alarm, "/config?replace=true", &exported).await;
    assert_eq!(again["changed"], json!([]), "{exported}");
    let effective = alarm.get("/api/v1/routing/config").await;
    assert!(effective.contains("team=\"db\"") || effective.contains("team=\\\"db"), "{effective}");
    let fewer =
        "route: {receiver: hook}\nreceivers: [{name: hook, webhook_configs: [{url: <secret>}]}]";
    let fewer = must_put(&alarm, "/config?replace=true", fewer).await;
    assert_eq!(fewer["changed"].as_array().unwrap().len(), 4, "{fewer}");
    let broken = "route: {receiver: hook}\nreceivers: [{name: hook}]\ntemplates: ['/etc/passwd']";
    assert!(refused(&alarm, "/config", broken).await.1.contains("template_texts"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_takes_a_name_leaves_the_object_of_the_database_out_and_alarm_runs() {
    let (webhook, _context) = webhook().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("alertmanager.yml");
    let text = |more: &str| {
        let url = webhook.url();
        format!(
            "route: {{receiver: all}}\nreceivers: [{{name: all, webhook_configs: [{{url: '{url}'}}]}}{more}]\n"
        )
    };
    std::fs::write(&file, text("")).unwrap();
    let alarm = Alarm::start(&format!("alertmanager_config = {file:?}\n")).await;
    must_put(&alarm, "/receivers/hook", &hook(&webhook)).await;
    must_put(&alarm, "/routes/r", AT_ONCE).await;
    let (_, fault) = put(&alarm, "/routes/root", "receiver: hook").await;
    assert!(fault["error"].as_str().unwrap().contains("alertmanager.yml"), "{fault}");
    std::fs::write(&file, text(", {name: hook}")).unwrap();
    let reload = alarm.context.http.post(alarm.url("/-/reload")).send().await.unwrap();
    assert_eq!(reload.status(), 200);
    let summary = alarm.get_json(API).await;
    let bad = &summary["leftOut"][0];
    assert!(bad["name"] == "hook" && bad["leftOut"].as_str().unwrap().contains("taken"), "{bad}");
    assert_eq!(summary["leftOut"].as_array().unwrap().len(), 1, "the route goes to the file's");
}

const TITLE: &str =
    "{{ define \"ops.title\" }}{{ .CommonLabels.alertname }} {{ .Language }}{{ end }}";

fn form(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// The mark of the text that was looked at.
fn seen(page: &str) -> &str {
    let after = page.split("name=\"seen\" value=\"").nth(1).unwrap();
    &after[..after.find('"').unwrap()]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_is_looked_at_before_it_is_stored_by_the_form() {
    let alarm = Alarm::start("").await;
    let page = alarm.get("/templates/+new").await;
    assert!(page.contains("name=\"text\""), "{page}");
    let fields = |text: &'static str, seen: &str, version: &str, action: &'static str| {
        form(&[
            ("name", "ops.tmpl"),
            ("text", text),
            ("version", version),
            ("kind", "telegram"),
            ("labels", "alertname=Own,team=db"),
            ("seen", seen),
            ("action", action),
        ])
    };
    let (status, page) = alarm.submit("/templates/+new", "", &fields(TITLE, "", "0", "save")).await;
    assert!(status == 200 && page.contains("Look at the preview"), "{page}");
    assert!(page.contains("Own en") && page.contains("Own zh-CN"), "{page}");
    assert_eq!(alarm.get_json(API).await["objects"], 0);
    let (status, page) =
        alarm.submit("/templates/+new", "", &fields(TITLE, seen(&page), "0", "save")).await;
    assert!(status == 200 && page.contains("Saved."), "{page}");
    let (status, page) =
        alarm.submit("/templates/ops.tmpl", "", &fields("{{ nope }}", "", "1", "preview")).await;
    assert!(status == 400 && page.contains("ops.tmpl:1:4: there is no function"), "{page}");
    let (status, page) =
        alarm.submit("/templates/ops.tmpl", "", &fields(TITLE, "", "7", "remove")).await;
    assert!(status == 409 && page.contains("version 1 holds"), "{page}");
    let bot = "{bots: [{name: m, kind: telegram, token: t, chat: '1'}], \
               texts: [{language: zh-CN, title: '{{ template \"ops.title\" . }}'}]}";
    must_put(&alarm, "/receivers/bot", bot).await;
    let (status, page) =
        alarm.submit("/templates/ops.tmpl", "", &fields(TITLE, "", "1", "remove")).await;
    assert!(status == 409 && page.contains("receiver &#34;bot&#34;"), "{page}");
    let page = alarm.get("/templates?receiver=bot&labels=alertname%3DOwn").await;
    assert!(page.contains("Own zh-CN") && page.contains("ops.title"), "{page}");
    let chinese = alarm.get("/templates?receiver=bot&lang=zh-CN").await;
    assert!(chinese.contains("模板"), "{chinese}");
    let of_file = alarm.get("/templates/defaults.tmpl?kind=slack").await;
    assert!(of_file.contains("disabled") && of_file.contains("__subject"), "{of_file}");
}
