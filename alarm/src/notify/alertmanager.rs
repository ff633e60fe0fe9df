//! Integrations of Alertmanager's file as ways to tell: webhooks as they are, the others as a team of one bot.
//! Their addresses and keys are taken over, and so are their texts where our channels have such a thing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use channels::mail::{Mail, MailTls};
use channels::pagerduty::PagerDuty;
use channels::slack::Slack;
use channels::telegram::Telegram;
use channels::wecom_app::WeComApp;
use channels::{Language, Secret, Spec};
use reqwest::Url;
use serde_json::{Map, Value};
use template::Library;

use super::office::{Bot, Team};
use super::{CONCURRENCY, Way, webhook};
use crate::amconfig::{Integration, Kind};
use crate::config::is_web_address;
use crate::texts::texts_of;

const SLACK_API: &str = "https://slack.com/api/chat.postMessage";

/// How to tell an integration. Fails with what is wrong, or when nothing here can send so.
pub(super) fn way(
    key: &str,
    integration: &Integration,
    timeout: Duration,
    library: &Arc<Library>,
) -> Result<Way, String> {
    let texts = texts_of(key, integration, library)?;
    let settings = Settings(&integration.settings);
    let mut spec = match integration.kind {
        Kind::Webhook => return settings.webhook(),
        Kind::Email => Spec::Mail(settings.mail()?),
        Kind::PagerDuty => Spec::PagerDuty(settings.pagerduty()?),
        Kind::Slack => Spec::Slack(settings.slack()?),
        Kind::Telegram => Spec::Telegram(settings.telegram()?),
        Kind::Wechat => Spec::WeComApp(settings.wecom()?),
        other => {
            return Err(format!(
                "saker cannot send {} yet; send a webhook_configs instead, or set \
                 alarm.skip_unsupported to leave it out",
                other.key()
            ));
        }
    };
    spec.read_secrets().map_err(|error| format!("a file with a secret cannot be read: {error}"))?;
    if let Some((field, fault)) = spec.faults().into_iter().next() {
        return Err(format!("{field}: {fault}"));
    }
    let bot = Bot { name: spec.kind().to_owned(), account: spec.account(), spec };
    Ok(Way::Bots(Arc::new(Team {
        receiver: key.to_owned(),
        bots: vec![bot],
        people: Vec::new(),
        recipients: Vec::new(),
        mentions: false,
        language: Language::English,
        envelope: String::new(),
        timeout,
        concurrency: CONCURRENCY,
        // How long these wait for each other is for the routes of the file to say.
        merge_low_for: Duration::ZERO,
        texts,
    })))
}

/// The keys of an integration, globals filled in.
struct Settings<'a>(&'a Map<String, Value>);

impl Settings<'_> {
    fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or("")
    }

    fn flag(&self, name: &str, usual: bool) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or(usual)
    }

    /// A text or a number, as it is written in YAML.
    fn written(&self, name: &str) -> String {
        match self.0.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        }
    }

    /// The secret under a name, or in the file that `<name>_file` names; empty when there is neither.
    fn secret(&self, name: &str) -> Secret {
        let file = self.text(&format!("{name}_file"));
        if file.is_empty() {
            Secret::from(self.text(name))
        } else {
            Secret::File { file: PathBuf::from(file) }
        }
    }

    fn webhook(&self) -> Result<Way, String> {
        let mut url = self.secret("url");
        url.read().map_err(|error| format!("url_file cannot be read: {error}"))?;
        if !is_web_address(url.expose()) {
            return Err("url is not an http or https URL".to_owned());
        }
        let url = Url::parse(url.expose()).map_err(|error| error.to_string())?;
        let target = webhook::target(url).map_err(|error| format!("url: {error:#}"))?;
        Ok(Way::Webhook(target))
    }

    fn mail(&self) -> Result<Mail, String> {
        let smarthost = self.text("smarthost");
        let (host, port) = smarthost
            .rsplit_once(':')
            .ok_or_else(|| format!("smarthost {smarthost:?} is not host:port"))?;
        let port: u16 =
            port.parse().map_err(|_| format!("smarthost {smarthost:?} is not host:port"))?;
        let tls =
            match (self.flag("force_implicit_tls", port == 465), self.flag("require_tls", true)) {
                (true, _) => MailTls::Tls,
                (false, true) => MailTls::Starttls,
                (false, false) => MailTls::None,
            };
        let authority = self.0.get("tls_config").and_then(|tls| tls["ca_file"].as_str());
        let to = self.text("to").split(',').map(|to| to.trim().to_owned());
        Ok(Mail {
            host: host.to_owned(),
            port,
            tls,
            authority_file: authority.unwrap_or("").to_owned(),
            user: self.text("auth_username").to_owned(),
            password: self.secret("auth_password"),
            from: self.text("from").to_owned(),
            to: to.filter(|to| !to.is_empty()).collect(),
        })
    }

    fn pagerduty(&self) -> Result<PagerDuty, String> {
        let routing_key = self.secret("routing_key");
        if routing_key.is_empty() {
            return Err("service_key is the old API; give a routing_key".to_owned());
        }
        let url = self.text("url");
        let url = if url.is_empty() { "https://events.pagerduty.com/v2/enqueue" } else { url };
        Ok(PagerDuty { url: url.to_owned(), routing_key })
    }

    fn slack(&self) -> Result<Slack, String> {
        let (token, url) = (self.secret("app_token"), self.secret("api_url"));
        let channel = self.text("channel").to_owned();
        if token.is_empty() {
            return Ok(Slack { url, token, channel });
        }
        let url = match self.text("app_url") {
            "" => SLACK_API.into(),
            url => Secret::from(url),
        };
        Ok(Slack { url, token, channel })
    }

    fn telegram(&self) -> Result<Telegram, String> {
        let mut chat = Secret::from(self.written("chat_id").as_str());
        if chat.is_empty() {
            chat = self.secret("chat_id");
            chat.read().map_err(|error| format!("chat_id_file cannot be read: {error}"))?;
        }
        let api = self.text("api_url").trim_end_matches('/');
        let api = if api.is_empty() { "https://api.telegram.org" } else { api };
        let chat = chat.expose().to_owned();
        Ok(Telegram { api: api.to_owned(), token: self.secret("bot_token"), chat })
    }

    fn wecom(&self) -> Result<WeComApp, String> {
        let api = self.text("api_url").trim_end_matches('/').trim_end_matches("/cgi-bin");
        let api = if api.is_empty() { "https://qyapi.weixin.qq.com" } else { api };
        let agent_id = self.written("agent_id");
        let agent_id = agent_id.parse().map_err(|_| "agent_id is not a number".to_owned())?;
        Ok(WeComApp {
            api: api.to_owned(),
            corp_id: self.text("corp_id").to_owned(),
            corp_secret: self.secret("api_secret"),
            agent_id,
            to_user: self.text("to_user").to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn made(kind: Kind, settings: Value) -> Result<Spec, String> {
        let settings = settings.as_object().unwrap().clone();
        let integration = Integration { kind, send_resolved: true, settings };
        let library = Arc::new(template::alertmanager::library());
        match way("ops", &integration, Duration::from_secs(10), &library)? {
            Way::Bots(team) => Ok(team.bots[0].spec.clone()),
            Way::Webhook(_) | Way::DryRun => Err("no bot".to_owned()),
        }
    }

    #[test]
    fn a_mail_takes_relay_and_protection_over() {
        let settings = json!({
            "smarthost": "mail.example:587", "from": "a@x", "to": "b@x, c@x",
            "auth_username": "u", "auth_password": "hunter2",
        });
        let Ok(Spec::Mail(mail)) = made(Kind::Email, settings) else { panic!("no mail") };
        assert_eq!(
            (mail.host.as_str(), mail.port, mail.tls),
            ("mail.example", 587, MailTls::Starttls)
        );
        assert_eq!(
            (mail.to, mail.password.expose()),
            (vec!["b@x".to_owned(), "c@x".to_owned()], "hunter2")
        );
        let plain =
            json!({ "smarthost": "m:25", "from": "a@x", "to": "b@x", "require_tls": false });
        assert!(
            matches!(made(Kind::Email, plain), Ok(Spec::Mail(mail)) if mail.tls == MailTls::None)
        );
        let tls = json!({ "smarthost": "m:465", "from": "a@x", "to": "b@x" });
        assert!(matches!(made(Kind::Email, tls), Ok(Spec::Mail(mail)) if mail.tls == MailTls::Tls));
        assert!(
            made(Kind::Email, json!({ "smarthost": "m", "from": "a@x", "to": "b@x" })).is_err()
        );
    }

    #[test]
    fn chats_and_pagers_take_their_addresses_over() {
        let slack = made(Kind::Slack, json!({ "api_url": "https://h.example/x", "channel": "#o" }));
        assert!(matches!(slack, Ok(Spec::Slack(slack)) if slack.channel == "#o"));
        let app = made(Kind::Slack, json!({ "app_token": "xoxb", "channel": "#o" }));
        assert!(matches!(app, Ok(Spec::Slack(slack)) if slack.url.expose() == SLACK_API));
        let telegram = made(Kind::Telegram, json!({ "bot_token": "1:x", "chat_id": -100 }));
        assert!(matches!(telegram, Ok(Spec::Telegram(bot)) if bot.chat == "-100"));
        assert!(made(Kind::PagerDuty, json!({ "routing_key": "r" })).is_ok());
        assert!(made(Kind::PagerDuty, json!({ "service_key": "s" })).is_err());
        let wecom = json!({
            "api_secret": "s", "corp_id": "ww1", "agent_id": "7", "to_user": "@all",
            "api_url": "https://qyapi.weixin.qq.com/cgi-bin/",
        });
        let Ok(Spec::WeComApp(app)) = made(Kind::Wechat, wecom) else { panic!("no app") };
        assert_eq!((app.api.as_str(), app.agent_id), ("https://qyapi.weixin.qq.com", 7));
        let missing = made(Kind::Slack, json!({ "api_url_file": "/no/such/file" }));
        assert!(missing.unwrap_err().contains("cannot be read"));
    }

    #[test]
    fn what_nobody_here_can_send_says_what_to_do() {
        let fault = made(Kind::Jira, json!({})).unwrap_err();
        assert!(fault.contains("jira_configs") && fault.contains("webhook_configs"), "{fault}");
    }
}
