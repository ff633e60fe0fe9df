//! Integrations of Alertmanager's file as receivers.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use channels::{Language, Spec};
use reqwest::Url;
use serde_json::{Map, Value, json};

use super::office::{Bot, Team};
use super::{Receiver, Way};
use crate::amconfig::{Integration, Kind};
use crate::config::is_web_address;

const TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT_MAX: Duration = Duration::from_secs(300);
const RETRY_FOR: Duration = Duration::from_secs(3600);
const CONCURRENCY: usize = 8;

impl Receiver {
    /// From an integration of Alertmanager's file. Fails with what is wrong, or when nothing here can send so.
    pub(crate) fn from_alertmanager(key: &str, integration: &Integration) -> Result<Self, String> {
        let settings = Settings(&integration.settings);
        let timeout = match settings.text("timeout") {
            None => TIMEOUT,
            Some(text) => model::parse_duration(text).map_err(|fault| fault.to_string())?,
        };
        // Zero means the default, as in Alertmanager.
        let timeout = if timeout.is_zero() { TIMEOUT } else { timeout.min(TIMEOUT_MAX) };
        let way = match integration.kind {
            Kind::Webhook => Way::Webhook(settings.address("url")?),
            kind => Way::Bots(Arc::new(team(key, kind, &settings, timeout)?)),
        };
        Ok(Self {
            name: key.to_owned(),
            way,
            send_resolved: integration.send_resolved,
            timeout,
            retry_for: RETRY_FOR,
            concurrency: CONCURRENCY,
        })
    }
}

/// One bot and the chat that its settings name.
fn team(key: &str, kind: Kind, settings: &Settings<'_>, timeout: Duration) -> Result<Team, String> {
    let spec = match kind {
        Kind::Slack => slack(settings)?,
        Kind::Telegram => telegram(settings)?,
        Kind::Email => mail(settings)?,
        Kind::PagerDuty => pager_duty(settings)?,
        Kind::Wechat => wecom(settings)?,
        _ => {
            return Err(format!(
                "saker cannot send {}; send a webhook_configs instead, or set \
                 alarm.skip_unsupported to leave it out",
                kind.key()
            ));
        }
    };
    let kind = spec["kind"].as_str().unwrap_or("bot").to_owned();
    let spec: Spec = serde_json::from_value(spec).map_err(|error| error.to_string())?;
    Ok(Team {
        receiver: key.to_owned(),
        bots: vec![Bot { name: kind, account: spec.account(), spec }],
        people: Vec::new(),
        language: Language::default(),
        envelope: String::new(),
        timeout,
        concurrency: CONCURRENCY,
    })
}

fn slack(settings: &Settings<'_>) -> Result<Value, String> {
    let channel = settings.text("channel").unwrap_or("");
    Ok(match settings.secret("app_token")? {
        Some(token) => json!({ "kind": "slack", "token": token, "channel": channel }),
        None => {
            json!({ "kind": "slack", "url": settings.address("api_url")?.as_str(), "channel": channel })
        }
    })
}

fn telegram(settings: &Settings<'_>) -> Result<Value, String> {
    let token = settings.secret("bot_token")?.ok_or("bot_token is missing")?;
    let chat = match settings.0.get("chat_id") {
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::String(text)) => text.clone(),
        _ => return Err("chat_id is missing; chat_id_file is not read".to_owned()),
    };
    let mut spec = json!({ "kind": "telegram", "token": token, "chat": chat });
    if let Some(api) = settings.text("api_url") {
        spec["api"] = json!(api.trim_end_matches('/'));
    }
    Ok(spec)
}

fn mail(settings: &Settings<'_>) -> Result<Value, String> {
    let smarthost = settings.text("smarthost").unwrap_or("");
    let (host, port) = smarthost.rsplit_once(':').unwrap_or((smarthost, "25"));
    let port: u16 = port.parse().map_err(|_| format!("smarthost {smarthost:?} has no port"))?;
    let flag = |name: &str| settings.0.get(name).and_then(Value::as_bool);
    // 465 is TLS from the first byte, in Alertmanager too.
    let tls = match (flag("force_implicit_tls").unwrap_or(port == 465), flag("require_tls")) {
        (true, _) => "tls",
        (false, Some(false)) => "none",
        (false, _) => "starttls",
    };
    let to: Vec<&str> = settings.text("to").unwrap_or("").split(',').map(str::trim).collect();
    let password = settings.secret("auth_password")?.unwrap_or_default();
    Ok(json!({
        "kind": "mail", "host": host, "port": port, "tls": tls, "to": to,
        "user": settings.text("auth_username").unwrap_or(""), "password": password,
        "from": settings.text("from").unwrap_or(""),
    }))
}

fn pager_duty(settings: &Settings<'_>) -> Result<Value, String> {
    let key = settings.secret("routing_key")?.ok_or(
        "only routing_key is sent to (events v2); service_key is of the API that PagerDuty has retired",
    )?;
    let mut spec = json!({ "kind": "pagerduty", "routing_key": key });
    if let Some(url) = settings.text("url") {
        spec["url"] = json!(url);
    }
    Ok(spec)
}

fn wecom(settings: &Settings<'_>) -> Result<Value, String> {
    let secret = settings.secret("api_secret")?.ok_or("api_secret is missing")?;
    let agent = settings.text("agent_id").unwrap_or("").parse::<i64>();
    let agent = agent.map_err(|_| "agent_id must be a number".to_owned())?;
    let mut spec = json!({
        "kind": "wecom_app", "corp_id": settings.text("corp_id").unwrap_or(""),
        "corp_secret": secret, "agent_id": agent,
        "to_user": settings.text("to_user").unwrap_or("@all"),
    });
    if let Some(api) = settings.text("api_url") {
        let api = api.trim_end_matches('/');
        spec["api"] = json!(api.strip_suffix("/cgi-bin").unwrap_or(api));
    }
    Ok(spec)
}

/// What an integration has, the globals filled in.
struct Settings<'a>(&'a Map<String, Value>);

impl Settings<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// A secret, or the file that holds it under the name with `_file`.
    fn secret(&self, name: &str) -> Result<Option<String>, String> {
        if let Some(text) = self.text(name) {
            return Ok(Some(text.trim().to_owned()));
        }
        let Some(path) = self.text(&format!("{name}_file")) else { return Ok(None) };
        fs::read_to_string(path)
            .map(|text| Some(text.trim().to_owned()))
            .map_err(|error| format!("{name}_file {path:?} cannot be read: {error}"))
    }

    /// An address, which may hold a token and is never quoted.
    fn address(&self, name: &str) -> Result<Url, String> {
        let text = self.secret(name)?.ok_or_else(|| format!("{name} is not a text"))?;
        if !is_web_address(&text) {
            return Err(format!("{name} is not an http or https URL"));
        }
        Url::parse(&text).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(kind: Kind, settings: Value) -> Result<Receiver, String> {
        let Value::Object(settings) = settings else { panic!("settings are an object") };
        Receiver::from_alertmanager("ops", &Integration { kind, send_resolved: true, settings })
    }

    fn spec(kind: Kind, settings: Value) -> Spec {
        let receiver = made(kind, settings).expect("it can be sent to");
        let Way::Bots(team) = receiver.way else { panic!("it has a bot") };
        team.bots[0].spec.clone()
    }

    #[test]
    fn what_alertmanager_sends_by_saker_sends_by() {
        let slack = json!({ "api_url": "https://hooks.slack.com/x", "channel": "#ops" });
        assert!(matches!(spec(Kind::Slack, slack), Spec::Slack(slack) if slack.channel == "#ops"));
        let telegram = json!({ "bot_token": "1:x", "chat_id": -100 });
        let telegram = spec(Kind::Telegram, telegram);
        assert!(matches!(telegram, Spec::Telegram(telegram) if telegram.chat == "-100"));
        let mail = json!({
            "to": "a@x.com, b@x.com", "from": "s@x.com", "smarthost": "mx:465", "require_tls": true,
        });
        let Spec::Mail(mail) = spec(Kind::Email, mail) else { panic!("it is mail") };
        assert_eq!((mail.port, mail.to.len(), mail.tls), (465, 2, channels::mail::MailTls::Tls));
        let pager = spec(Kind::PagerDuty, json!({ "routing_key": "k", "url": "http://pd/v2" }));
        assert!(matches!(pager, Spec::PagerDuty(pager) if pager.url == "http://pd/v2"));
        let wechat = json!({
            "api_url": "https://w/cgi-bin/", "api_secret": "s", "corp_id": "c", "agent_id": "7",
        });
        let Spec::WeComApp(app) = spec(Kind::Wechat, wechat) else { panic!("it is an app") };
        assert_eq!(
            (app.api.as_str(), app.agent_id, app.to_user.as_str()),
            ("https://w", 7, "@all")
        );
    }

    #[test]
    fn what_cannot_be_sent_to_says_why() {
        let fault = |kind, settings| made(kind, settings).expect_err("it cannot be sent to");
        assert!(fault(Kind::Jira, json!({})).contains("saker cannot send jira_configs"));
        assert!(fault(Kind::PagerDuty, json!({ "service_key": "k" })).contains("routing_key"));
        let missing = json!({ "routing_key_file": "/nowhere" });
        assert!(fault(Kind::PagerDuty, missing).contains("cannot be read"));
        assert!(fault(Kind::Slack, json!({ "api_url": "ftp://x" })).contains("http"));
    }
}
