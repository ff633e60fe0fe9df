//! The settings of a channel: which kind it is, with what that kind needs.

use std::io;

use serde::{Deserialize, Serialize};

use crate::alibaba::Alibaba;
use crate::channel::Channel;
use crate::dingtalk_app::DingTalkApp;
use crate::dingtalk_robot::DingTalkRobot;
use crate::exec::Exec;
use crate::feishu_app::FeishuApp;
use crate::feishu_bot::FeishuBot;
use crate::legacy_form::LegacyForm;
use crate::mail::Mail;
use crate::pagerduty::PagerDuty;
use crate::secret::Secret;
use crate::sign;
use crate::signed_http::SignedHttp;
use crate::slack::Slack;
use crate::telegram::Telegram;
use crate::tencent::Tencent;
use crate::twilio::{PhoneUse, Twilio};
use crate::webhook::Webhook;
use crate::wecom_app::WeComApp;
use crate::wecom_webhook::WeComWebhook;

/// What people have addresses for. Channels of one family share them: whoever has a `feishu` id is reached by its apps
/// and named by its bots.
pub const FAMILIES: [&str; 7] =
    ["dingtalk", "feishu", "wecom", "slack", "telegram", "mail", "phone"];

/// A channel as the settings describe it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Spec {
    /// DingTalk's custom robot.
    #[serde(rename = "dingtalk_robot")]
    DingTalkRobot(DingTalkRobot),
    /// An app of DingTalk with a card template.
    #[serde(rename = "dingtalk_app")]
    DingTalkApp(DingTalkApp),
    /// The custom bot of Feishu and Lark.
    #[serde(alias = "lark_bot")]
    FeishuBot(FeishuBot),
    /// An app of Feishu or Lark.
    #[serde(alias = "lark_app")]
    FeishuApp(FeishuApp),
    /// WeCom's group robot.
    #[serde(rename = "wecom_webhook")]
    WeComWebhook(WeComWebhook),
    /// An app of WeCom.
    #[serde(rename = "wecom_app")]
    WeComApp(WeComApp),
    /// Slack.
    Slack(Slack),
    /// Telegram.
    Telegram(Telegram),
    /// Mail.
    Mail(Mail),
    /// Twilio.
    Twilio(Twilio),
    /// Alibaba Cloud.
    Alibaba(Alibaba),
    /// Tencent Cloud.
    Tencent(Tencent),
    /// A provider behind an address of your own.
    SignedHttp(SignedHttp),
    /// Open-Falcon's providers.
    LegacyForm(LegacyForm),
    /// Alertmanager's webhook.
    Webhook(Webhook),
    /// PagerDuty.
    #[serde(rename = "pagerduty")]
    PagerDuty(PagerDuty),
    /// A program.
    Exec(Exec),
}

impl Spec {
    /// The channel.
    pub fn channel(&self) -> &dyn Channel {
        match self {
            Self::DingTalkRobot(channel) => channel,
            Self::DingTalkApp(channel) => channel,
            Self::FeishuBot(channel) => channel,
            Self::FeishuApp(channel) => channel,
            Self::WeComWebhook(channel) => channel,
            Self::WeComApp(channel) => channel,
            Self::Slack(channel) => channel,
            Self::Telegram(channel) => channel,
            Self::Mail(channel) => channel,
            Self::Twilio(channel) => channel,
            Self::Alibaba(channel) => channel,
            Self::Tencent(channel) => channel,
            Self::SignedHttp(channel) => channel,
            Self::LegacyForm(channel) => channel,
            Self::Webhook(channel) => channel,
            Self::PagerDuty(channel) => channel,
            Self::Exec(channel) => channel,
        }
    }

    /// The word in settings, in metrics and in delivery records.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::DingTalkRobot(_) => "dingtalk_robot",
            Self::DingTalkApp(_) => "dingtalk_app",
            Self::FeishuBot(_) => "feishu_bot",
            Self::FeishuApp(_) => "feishu_app",
            Self::WeComWebhook(_) => "wecom_webhook",
            Self::WeComApp(_) => "wecom_app",
            Self::Slack(_) => "slack",
            Self::Telegram(_) => "telegram",
            Self::Mail(_) => "mail",
            Self::Twilio(_) => "twilio",
            Self::Alibaba(_) => "alibaba",
            Self::Tencent(_) => "tencent",
            Self::SignedHttp(_) => "signed_http",
            Self::LegacyForm(_) => "legacy_form",
            Self::Webhook(_) => "webhook",
            Self::PagerDuty(_) => "pagerduty",
            Self::Exec(_) => "exec",
        }
    }

    /// Which of the [`FAMILIES`] it belongs to; empty for what reaches no person.
    pub const fn family(&self) -> &'static str {
        match self {
            Self::DingTalkRobot(_) | Self::DingTalkApp(_) => "dingtalk",
            Self::FeishuBot(_) | Self::FeishuApp(_) => "feishu",
            Self::WeComWebhook(_) | Self::WeComApp(_) => "wecom",
            Self::Slack(_) => "slack",
            Self::Telegram(_) => "telegram",
            Self::Mail(_) => "mail",
            Self::Twilio(_)
            | Self::Alibaba(_)
            | Self::Tencent(_)
            | Self::SignedHttp(_)
            | Self::LegacyForm(_) => "phone",
            Self::Webhook(_) | Self::PagerDuty(_) | Self::Exec(_) => "",
        }
    }

    /// Whether it can tell a person alone; the others post to one place, where people can only be mentioned.
    pub fn reaches_persons(&self) -> bool {
        match self {
            Self::DingTalkRobot(_)
            | Self::FeishuBot(_)
            | Self::WeComWebhook(_)
            | Self::Webhook(_)
            | Self::PagerDuty(_)
            | Self::Exec(_) => false,
            Self::Slack(slack) => !slack.token.is_empty(),
            _ => true,
        }
    }

    /// Whether phones ring: they do for problems only, never for their end. Those that show a text do not ring.
    pub fn rings(&self) -> bool {
        let way = match self {
            Self::Twilio(channel) => channel.way,
            Self::Alibaba(channel) => channel.way,
            Self::Tencent(channel) => channel.way,
            _ => return false,
        };
        way == PhoneUse::Call
    }

    /// Whether it hears when a button is pressed; elsewhere buttons are signed links.
    pub fn hears(&self) -> bool {
        match self {
            Self::DingTalkApp(_)
            | Self::FeishuApp(_)
            | Self::WeComApp(_)
            | Self::Telegram(_)
            // Whoever serves it reports presses as the callback of kind `signed`.
            | Self::SignedHttp(_) => true,
            Self::Slack(slack) => !slack.token.is_empty(),
            Self::Twilio(twilio) => twilio.hears(),
            _ => false,
        }
    }

    /// Reads the secrets that lie in files.
    pub fn read_secrets(&mut self) -> io::Result<()> {
        self.secrets_mut().into_iter().try_for_each(Secret::read)
    }

    /// A name for the account behind it: two channels with the same one share the platform's limit. It is a
    /// hash, so it can be shown.
    pub fn account(&self) -> String {
        let mut copy = self.clone();
        let parts: Vec<String> =
            copy.secrets_mut().into_iter().map(|secret| secret.expose().to_owned()).collect();
        let text = format!("{} {self:?} {}", self.kind(), parts.join("\n"));
        sign::hex(sign::sha256(text.as_bytes())).chars().take(12).collect()
    }

    fn secrets_mut(&mut self) -> Vec<&mut Secret> {
        match self {
            Self::DingTalkRobot(c) => vec![&mut c.url, &mut c.secret],
            Self::DingTalkApp(c) => vec![&mut c.app_secret],
            Self::FeishuBot(c) => vec![&mut c.url, &mut c.secret],
            Self::FeishuApp(c) => vec![&mut c.app_secret],
            Self::WeComWebhook(c) => vec![&mut c.url],
            Self::WeComApp(c) => vec![&mut c.corp_secret],
            Self::Slack(c) => vec![&mut c.url, &mut c.token],
            Self::Telegram(c) => vec![&mut c.token],
            Self::Mail(c) => vec![&mut c.password],
            Self::Twilio(c) => vec![&mut c.auth_token],
            Self::Alibaba(c) => vec![&mut c.access_key_secret],
            Self::Tencent(c) => vec![&mut c.secret_key],
            Self::SignedHttp(c) => vec![&mut c.url, &mut c.key],
            Self::LegacyForm(c) => {
                let mut secrets: Vec<_> = c.fields.values_mut().collect();
                secrets.push(&mut c.url);
                secrets
            }
            Self::Webhook(c) => {
                let mut secrets: Vec<_> = c.headers.values_mut().collect();
                secrets.push(&mut c.url);
                secrets
            }
            Self::PagerDuty(c) => vec![&mut c.routing_key],
            Self::Exec(_) => Vec::new(),
        }
    }

    /// Its secrets as they are, to look for in what comes back. Those in files must have been read.
    pub fn exposed(&self) -> Vec<String> {
        let mut own = self.clone();
        own.secrets_mut().into_iter().map(|secret| secret.expose().to_owned()).collect()
    }

    /// What is wrong with it, with the field.
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        let mut address = |field, secret: &Secret| {
            let text = secret.expose();
            let is_file = matches!(secret, Secret::File { .. });
            if !is_file && !text.starts_with("http://") && !text.starts_with("https://") {
                faults.push((field, "not an http or https URL".to_owned()));
            }
        };
        match self {
            Self::DingTalkRobot(c) => address("url", &c.url),
            Self::FeishuBot(c) => address("url", &c.url),
            Self::WeComWebhook(c) => address("url", &c.url),
            Self::Slack(c) => address("url", &c.url),
            Self::SignedHttp(c) => address("url", &c.url),
            Self::LegacyForm(c) => address("url", &c.url),
            Self::Webhook(c) => address("url", &c.url),
            Self::Exec(c) if !c.program.is_absolute() => {
                faults.push(("program", "must be an absolute path".to_owned()));
            }
            _ => {}
        }
        let mut copy = self.clone();
        let in_files = copy.secrets_mut().into_iter().filter_map(|secret| secret.file_fault());
        faults.extend(in_files.map(|fault| ("file", fault)));
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: &str = include_str!("../tests/it/data/every_kind.toml");

    #[derive(Deserialize)]
    struct Settings {
        bots: Vec<Spec>,
    }

    fn every_kind() -> Vec<Spec> {
        toml::from_str::<Settings>(SETTINGS).expect("well formed").bots
    }

    #[test]
    fn every_kind_is_read_under_its_word_and_shows_no_secret() {
        let bots = every_kind();
        let mut kinds: Vec<_> = bots.iter().map(Spec::kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds.len(), 17, "{kinds:?}");
        for bot in &bots {
            let json = serde_json::to_value(bot).unwrap();
            assert_eq!(json["kind"], bot.kind());
            let shown = format!("{bot:?} {json} {}", bot.account());
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(bot.faults().is_empty(), "{:?}", bot.faults());
        }
    }

    #[test]
    fn every_kind_that_reaches_a_person_has_a_family() {
        for bot in every_kind() {
            let family = bot.family();
            assert!(family.is_empty() || FAMILIES.contains(&family), "{family}");
            assert!(!bot.reaches_persons() || !family.is_empty(), "{}", bot.kind());
        }
    }

    #[test]
    fn two_bots_share_a_limit_only_if_they_are_one_account() {
        let accounts: Vec<_> = every_kind().iter().map(Spec::account).collect();
        let mut distinct = accounts.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), accounts.len());
        assert_eq!(accounts, every_kind().iter().map(Spec::account).collect::<Vec<_>>());
    }

    #[test]
    fn an_unknown_key_and_a_relative_program_are_faults() {
        assert!(
            toml::from_str::<Spec>("kind = \"webhook\"\nurl = \"http://x/\"\nurk = 1").is_err()
        );
        let exec: Spec = toml::from_str("kind = \"exec\"\nprogram = \"page\"").unwrap();
        assert_eq!(exec.faults()[0].0, "program");
        let hook: Spec =
            toml::from_str("kind = \"webhook\"\nurl = \"file:///etc/passwd\"").unwrap();
        assert_eq!(hook.faults()[0].0, "url");
    }
}
