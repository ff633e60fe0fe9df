//! What must not get out of alarm: secrets into logs, pages and answers, at the most talkative level and with every
//! kind of receiver failing; and what must not get in: programs and addresses that an alert names.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use daemon::{Clock, Context};
use serde_json::json;
use testkit::{Redis, eventually};

use crate::alarm_process::{Alarm, Platforms, post};

const SOON: Duration = Duration::from_secs(120);
/// Part of every secret in these settings.
const SECRET: &str = "hunter2";
/// The same as logins and signatures carry it: Base64 of it at each of the three places it may stand.
const WRAPPED: [&str; 3] = ["aHVudGVy", "bnRlcjI", "dW50ZXIy"];

/// Every kind of bot; `{at}` is where its platform is.
const KINDS: [&str; 16] = [
    "kind = \"dingtalk_robot\"\nurl = \"{at}/robot/x?access_token=hunter2-a\"\nsecret = \"hunter2-b\"",
    "kind = \"dingtalk_app\"\napp_key = \"k\"\napp_secret = \"hunter2-c\"\ntemplate_id = \"t\"\nrobot_code = \"r\"\n\
     conversation = \"c\"\napi = \"{at}\"",
    "kind = \"feishu_bot\"\nurl = \"{at}/hook/hunter2-d\"\nsecret = \"hunter2-e\"",
    "kind = \"feishu_app\"\napp_id = \"a\"\napp_secret = \"hunter2-f\"\nchat = \"oc_1\"\napi = \"{at}\"",
    "kind = \"wecom_webhook\"\nurl = \"{at}/send?key=hunter2-g\"",
    "kind = \"wecom_app\"\ncorp_id = \"ww1\"\ncorp_secret = \"hunter2-h\"\nagent_id = 7\nto_user = \"ann\"\napi = \"{at}\"",
    "kind = \"slack\"\nurl = \"{at}/services/hunter2-i\"\ntoken = \"hunter2-j\"\nchannel = \"#ops\"",
    "kind = \"telegram\"\ntoken = \"hunter2-k\"\nchat = \"1\"\napi = \"{at}\"",
    "kind = \"mail\"\nhost = \"127.0.0.1\"\nport = {relay}\ntls = \"none\"\nuser = \"u\"\npassword = \"hunter2-l\"\n\
     from = \"saker@example.com\"\nto = [\"ops@example.com\"]",
    "kind = \"twilio\"\nway = \"call\"\naccount = \"AC1\"\nauth_token = \"hunter2-m\"\nfrom = \"+1\"\nto = \"+2\"\napi = \"{at}\"",
    "kind = \"alibaba\"\nway = \"sms\"\naccess_key_id = \"ak\"\naccess_key_secret = \"hunter2-n\"\ntemplate = \"SMS_1\"\n\
     sign_name = \"S\"\nto = \"138\"\napi = \"{at}\"",
    "kind = \"tencent\"\nway = \"call\"\nsecret_id = \"id\"\nsecret_key = \"hunter2-o\"\napp_id = \"14\"\ntemplate = \"1\"\n\
     to = \"+86\"\napi = \"{at}\"",
    "kind = \"signed_http\"\nurl = \"{at}/hunter2-p\"\nkey = \"hunter2-q\"\nto = \"ops\"",
    "kind = \"legacy_form\"\nurl = \"{at}/hunter2-r\"\nto = \"ann\"\nfields = { sign = \"hunter2-s\" }",
    "kind = \"webhook\"\nurl = \"{at}/hunter2-t\"\nheaders = { Authorization = \"Bearer hunter2-u\" }",
    "kind = \"pagerduty\"\nurl = \"{at}/enqueue\"\nrouting_key = \"hunter2-v\"",
];

const MUTES: &str = "[alarm.mutes]\ntoken = \"hunter2-token\"\n\
    link_keys = [{ id = 1, key = \"hunter2-a key of at least thirty-two bytes\" }]\n\
    callbacks = [{ kind = \"feishu\", encrypt_key = \"hunter2-1\", verification_token = \"hunter2-2\" },\n\
    { kind = \"wecom\", token = \"hunter2-3\", encoding_aes_key = \"hunter2stuvwxyz0123456789ABCDEFGabcdefghijk\", corp_id = \"w\" },\n\
    { kind = \"slack\", signing_secret = \"hunter2-4\" }, { kind = \"telegram\", secret_token = \"hunter2-5\" },\n\
    { kind = \"dingtalk\", app_secret = \"hunter2-6\" }, { kind = \"twilio\", auth_token = \"hunter2-7\" },\n\
    { kind = \"signed\", key = \"hunter2-8\" }]\n";

/// A relay that asks for a login and takes whatever comes; its port.
fn relay() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || converse(stream));
        }
    });
    port
}

fn converse(mut stream: TcpStream) -> Option<()> {
    stream.write_all(b"220 relay\r\n").ok()?;
    let mut is_text = false;
    for line in BufReader::new(stream.try_clone().ok()?).lines() {
        let line = line.ok()?;
        let answer = match line.split(' ').next()? {
            "." => "250 taken",
            _ if is_text => continue,
            "EHLO" => "250-relay\r\n250 AUTH PLAIN LOGIN",
            "AUTH" => "235 welcome",
            "DATA" => "354 go on",
            _ => "250 fine",
        };
        is_text = answer.starts_with("354");
        stream.write_all(format!("{answer}\r\n").as_bytes()).ok()?;
    }
    Some(())
}

/// Each kind as a receiver of two bots: a platform that answers something, and one that is away.
fn receivers(platforms: &Platforms, relay: u16) -> String {
    let mut text = "[[alarm.receivers]]\nname = \"hook\"\nwebhook_url = \"http://u:hunter2-w@127.0.0.1:9/?t=hunter2-x\"\n".to_owned();
    for (number, kind) in KINDS.iter().enumerate() {
        let (here, away) = (platforms.url(), "http://127.0.0.1:9".to_owned());
        text.push_str(&format!("[[alarm.receivers]]\nname = \"r{number}\"\ntimeout = \"2s\"\n"));
        for (name, at) in [("away", away), ("here", here)] {
            text.push_str("[[alarm.receivers.bots]]\n");
            let port = if name == "here" { relay } else { 9 };
            let kind = kind.replace("{at}", &at).replace("{relay}", &port.to_string());
            text.push_str(&format!("name = \"{name}\"\n{kind}\n"));
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_any_receiver_is_logged_at_any_level_or_shown() {
    let password = "hunter2-redis";
    let Some(redis) = Redis::start_with(&["--requirepass", password]).await else { return };
    let context = Context::new("e2e", Clock::System).unwrap();
    let platforms = Platforms::start(&context, Duration::ZERO).await;
    let folder = tempfile::tempdir().unwrap();
    let redis_url = redis.url().replace("redis://", &format!("redis://:{password}@"));
    let stores = format!("[state]\nredis_url = {redis_url:?}\n");
    let settings = MUTES.to_owned() + &receivers(&platforms, relay());
    let alarm = Alarm::start(folder.path(), "trace", &settings, &stores).await;
    let alert =
        json!([{ "labels": { "alertname": "Leak", "severity": "P0", "endpoint": "web-03" } }]);
    assert!(post(&alarm.http, &alarm.url, &alert).await);
    for (kind, secret) in [
        ("feishu", "X-Lark-Signature"),
        ("wecom", "x"),
        ("slack", "X-Slack-Signature"),
        ("telegram", "X-Telegram-Bot-Api-Secret-Token"),
        ("dingtalk", "sign"),
        ("twilio", "X-Twilio-Signature"),
        ("signed", "X-Saker-Signature"),
    ] {
        let request = alarm.http.post(alarm.address(&format!("/hooks/{kind}")));
        let answer = request.header(secret, "forged").body("{}").send().await.unwrap();
        assert_eq!(answer.status(), 401, "{kind}");
    }
    let forged = alarm.http.get(alarm.address("/m/x.y")).send().await.unwrap();
    assert_eq!(forged.status(), 404);
    let delivery = eventually("every kind has been tried and has an end", SOON, async || {
        let listed = alarm.get("/api/v2/alerts?filter=alertname=Leak").await;
        let fingerprint = listed[0]["fingerprint"].as_str()?.to_owned();
        let delivery = alarm.get(&format!("/api/v1/alerts/{fingerprint}/delivery")).await;
        let messages = delivery["messages"].as_array()?;
        let has_an_end = |message: &serde_json::Value| message["stage"] != "waiting";
        (messages.len() == KINDS.len() && messages.iter().all(has_an_end)).then_some(delivery)
    })
    .await;
    let mail = delivery["messages"].as_array().unwrap().iter().find(|message| {
        message["attempts"].as_array().unwrap().iter().any(|one| one["channel"] == "mail")
    });
    assert_eq!(mail.unwrap()["stage"], "sent", "the relay was given the password: {delivery}");
    let listed = alarm.get("/api/v2/alerts?filter=alertname=Leak").await;
    let page = format!("/alerts/{}", listed[0]["fingerprint"].as_str().unwrap());
    let mut texts = vec![("the delivery record".to_owned(), delivery.to_string())];
    for path in [
        "/metrics",
        "/api/v2/status",
        "/api/v2/receivers",
        "/api/v1/messages?stage=parked",
        "/api/v1/messages?stage=failed",
        "/api/v1/messages?stage=sent",
        "/api/v1/mutes",
        "/api/v1/users",
        "/api/v1/routing/preview",
        "/getblockmonitors",
        "/alerts",
        "/alerts.json",
        "/routing",
        "/people",
        "/noise",
        "/silences",
        "/version",
        "/-/ready",
        "/hooks/wecom?echostr=x",
        "/m/hunter.x",
        &page,
    ] {
        let answer = alarm.http.get(alarm.address(path)).send().await.unwrap();
        texts.push((path.to_owned(), answer.text().await.unwrap()));
    }
    for path in ["/api/v1/receivers/r0/test", "/api/v1/receivers/hook/test", "/-/reload"] {
        let answer = alarm.http.post(alarm.address(path)).send().await.unwrap();
        texts.push((path.to_owned(), answer.text().await.unwrap()));
    }
    texts.push(("the log".to_owned(), alarm.output()));
    assert!(alarm.output().contains("TRACE"), "the log is as talkative as it can be");
    for (what, text) in texts {
        let holds =
            |line: &&str| [&[SECRET], &WRAPPED[..]].concat().iter().any(|s| line.contains(s));
        let line = text.lines().find(holds);
        assert_eq!(line, None, "{what} holds a secret");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_reaches_no_program_and_no_address_that_it_names() {
    let context = Context::new("e2e", Clock::System).unwrap();
    let platforms = Platforms::start(&context, Duration::ZERO).await;
    let hostile = Platforms::start(&context, Duration::ZERO).await;
    let folder = tempfile::tempdir().unwrap();
    let (program, noted) = (folder.path().join("page"), folder.path().join("noted"));
    let touched = folder.path().join("touched");
    // A script notes its arguments, its environment, and what comes in.
    let script = format!("#!/bin/sh\n{{ echo \"args:$#:$*\"; env; cat; }} >> {noted:?}\n");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let settings = format!(
        "[[alarm.receivers]]\nname = \"hook\"\nwebhook_url = \"{0}/hook\"\n\
         [[alarm.receivers]]\nname = \"both\"\n\
         [[alarm.receivers.bots]]\nname = \"p\"\nkind = \"exec\"\nprogram = {program:?}\narguments = [\"--page\"]\n\
         [[alarm.receivers]]\nname = \"web\"\n\
         [[alarm.receivers.bots]]\nname = \"w\"\nkind = \"webhook\"\nurl = \"{0}/bot\"\n",
        platforms.url()
    );
    let alarm = Alarm::start(folder.path(), "info", &settings, "").await;
    let (at, shell) = (hostile.url(), format!("$(touch {0}); `touch {0}`", touched.display()));
    let alert = json!([{
        "labels": {
            "alertname": shell, "severity": "P0", "endpoint": "{{ .ExternalURL }}", "receiver": "hook",
            "url": at, "webhook_url": at, "program": "/bin/touch", "arguments": touched,
            "template": "{{ define \"x\" }}{{ end }}{{ range . }}",
        },
        "annotations": {
            "summary": "{{ .CommonLabels.alertname }} {alertname} ${HOME} %(touch)s", "runbook_url": at,
        },
        "generatorURL": at,
    }]);
    assert!(post(&alarm.http, &alarm.url, &alert).await);
    let bodies = eventually("all three are told", SOON, async || {
        let text = fs::read_to_string(&noted).unwrap_or_default();
        let taken = platforms.taken();
        (text.contains("\"title\"") && taken.len() == 2).then_some((text, taken))
    })
    .await;
    let (text, taken) = bodies;
    assert!(text.starts_with("args:1:--page\n"), "{text}");
    let environment = text.lines().skip(1).take_while(|line| !line.starts_with('{'));
    for line in environment {
        assert!(!line.contains("touch") && !line.contains(&at), "{line}");
    }
    for message in &taken {
        let labels = &message.body["alerts"][0]["labels"];
        assert_eq!(labels["endpoint"], "{{ .ExternalURL }}", "a label is not a template");
        let summary = &message.body["alerts"][0]["annotations"]["summary"];
        assert_eq!(summary, "{{ .CommonLabels.alertname }} {alertname} ${HOME} %(touch)s");
    }
    assert!(text.contains("{{ .ExternalURL }}"), "{text}");
    assert!(hostile.taken().is_empty(), "{:?}", hostile.taken());
    assert!(!touched.exists(), "no shell saw it");
}
