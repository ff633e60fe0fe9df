//! Section `[alarm]` of the configuration file.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use channels::callback::CallbackSpec;
use channels::{Language, Secret, Spec};
use daemon::Faults;
use model::duration_text;
use reqwest::Url;
use serde::{Deserialize, Serialize, Serializer};

use crate::dead_man_config::DeadManConfig;
use crate::directory::{TeamConfig, UserConfig};
use crate::falcon_events::FalconEventsConfig;
use crate::matchers::parse_matcher;
use crate::recipients::Recipient;
use crate::texts::TextConfig;

/// The longest name of a receiver in bytes; it is part of keys in the store.
pub(crate) const RECEIVER_NAME_BYTES_MAX: usize = 40;
/// How long text messages and mails of low priority gather, as in Open-Falcon.
const MERGE_LOW_FOR: Duration = Duration::from_secs(300);
const MERGE_LOW_MAX: Duration = Duration::from_secs(3600);
/// How many receivers there may be.
pub(crate) const RECEIVERS_MAX: usize = 256;
/// How many bots a receiver may have.
const BOTS_MAX: usize = 8;
/// How many people a receiver may have.
const PEOPLE_MAX: usize = 1_000;
/// The shortest key that signs links.
const LINK_KEY_BYTES_MIN: usize = 32;

/// Settings of the alarm role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the API and the web view listen. Anything but loopback makes the alerts readable by the network.
    pub listen: SocketAddr,
    /// How people reach the web view; links in notifications start with it. Without a slash at the end.
    pub external_url: String,
    /// Time zone of the web view, an IANA name such as `Asia/Shanghai`; empty means that of the host.
    pub time_zone: String,
    /// The lease of an alert whose sender gives no end.
    #[serde(with = "duration_text")]
    pub resolve_timeout: Duration,
    /// An alert that keeps firing is told again after this long.
    #[serde(with = "duration_text")]
    pub repeat_interval: Duration,
    /// Resolved alerts, history and delivery records are kept this long.
    #[serde(with = "duration_text")]
    pub retention: Duration,
    /// The largest request body in bytes; larger ones get 413.
    pub body_bytes_max: usize,
    /// The most alerts in one request; more get 413.
    pub alerts_per_request_max: usize,
    /// The most alerts in the store; beyond it new ones are refused, known ones go on.
    pub alerts_max: u64,
    /// The most silences, those of the last days included; beyond it new ones are refused.
    pub silences_max: usize,
    /// The most labels, and the most annotations, of one alert.
    pub labels_per_alert_max: usize,
    /// The longest label value in bytes.
    pub label_value_bytes_max: usize,
    /// The longest annotation in bytes.
    pub annotation_bytes_max: usize,
    /// A configuration file of Alertmanager: routes, receivers, inhibition and times come from there; empty
    /// means that they come from `receivers`.
    pub alertmanager_config: PathBuf,
    /// Whether integrations of that file that cannot be sent to are left out with a warning instead of being a
    /// fault.
    pub skip_unsupported: bool,
    /// The name this instance takes leases under; empty means host name and address.
    pub instance: String,
    /// Who is told.
    pub receivers: Vec<ReceiverConfig>,
    /// Users and teams are changed by API and web from this machine, and from others with a token of this file: a
    /// name and a token of at least 16 letters a line. Read again on SIGHUP; empty for none.
    pub token_file: PathBuf,
    /// Users who are not to be changed by API.
    pub users: Vec<UserConfig>,
    /// Teams that are not to be changed by API.
    pub teams: Vec<TeamConfig>,
    /// Mutes of persons: links, presses of buttons, and the API.
    pub mutes: MutesConfig,
    /// Silence is news: alerts that must keep coming.
    pub dead_man: DeadManConfig,
    /// The most groups of alerts; what is new beyond it shares one group of its way.
    pub groups_max: usize,
    /// Whom of the directory the receivers of Alertmanager's file tell, by name of the receiver.
    pub recipients: BTreeMap<String, Vec<String>>,
    /// Events of Open-Falcon's judges.
    pub falcon_events: FalconEventsConfig,
    /// Files with definitions of templates, by patterns such as `/etc/saker/templates/*.tmpl`.
    pub templates: Vec<String>,
    /// Who took an alert that still fires is reminded so long before their time ends; zero means not before. Not of
    /// what they took for less than twice as long.
    #[serde(with = "duration_text")]
    pub ack_reminder_before: Duration,
    /// Whether they are reminded when it has ended, too.
    pub ack_reminder_at_end: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9912)),
            external_url: "http://127.0.0.1:9912".to_owned(),
            time_zone: String::new(),
            resolve_timeout: Duration::from_secs(5 * 60),
            repeat_interval: Duration::from_secs(4 * 3600),
            retention: Duration::from_secs(30 * 86_400),
            body_bytes_max: 16 << 20,
            alerts_per_request_max: 10_000,
            alerts_max: 100_000,
            silences_max: 10_000,
            labels_per_alert_max: 64,
            label_value_bytes_max: 4096,
            annotation_bytes_max: 16 << 10,
            alertmanager_config: PathBuf::new(),
            skip_unsupported: false,
            instance: String::new(),
            receivers: Vec::new(),
            token_file: PathBuf::new(),
            users: Vec::new(),
            teams: Vec::new(),
            mutes: MutesConfig::default(),
            dead_man: DeadManConfig::default(),
            groups_max: 1_000_000,
            recipients: BTreeMap::new(),
            falcon_events: FalconEventsConfig::default(),
            templates: Vec::new(),
            ack_reminder_before: Duration::from_secs(15 * 60),
            ack_reminder_at_end: true,
        }
    }
}

/// `[alarm.mutes]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MutesConfig {
    /// The keys that sign mute links, 32 bytes or more each. The first signs, all are good for reading. None: no
    /// links.
    pub link_keys: Vec<LinkKeyConfig>,
    /// What the API of mutes, `/blockmonitor` included, asks for as `Authorization: Bearer …`. Empty: the API is
    /// shut.
    pub token: Secret,
    /// The keys of platforms that report presses of buttons to `/hooks/<kind>`.
    pub callbacks: Vec<CallbackSpec>,
    /// Who is who: account on a platform, as in `feishu:ou_1`, to the name of the person here.
    pub accounts: BTreeMap<String, String>,
    /// The longest mute that a press in a group chat makes.
    #[serde(with = "duration_text")]
    pub group_mute_max: Duration,
}

impl Default for MutesConfig {
    fn default() -> Self {
        Self {
            link_keys: Vec::new(),
            token: Secret::default(),
            callbacks: Vec::new(),
            accounts: BTreeMap::new(),
            group_mute_max: Duration::from_secs(3 * 3600),
        }
    }
}

/// One key that signs mute links.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkKeyConfig {
    /// Its number, which links carry.
    pub id: u32,
    /// The key.
    pub key: Secret,
}

/// A bot of a receiver: a name and a channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BotConfig {
    /// Its name in metrics and delivery records.
    pub name: String,
    /// Which channel, with what that needs.
    #[serde(flatten)]
    pub spec: Spec,
}

/// A person whom the bots of a receiver tell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersonConfig {
    /// Name of the person; mutes go by it.
    pub user: String,
    /// The person's address on the channel: open id, user id, chat, phone number, mail address.
    pub address: String,
    /// The person's language, if it is not that of the receiver.
    #[serde(default)]
    pub language: Option<Language>,
}

/// One `[[alarm.receivers]]`: a webhook that takes Alertmanager's body, version 4, or bots.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiverConfig {
    /// Its name in the web view, in metrics and in the notification.
    pub name: String,
    /// Where to post. Often holds a token, so it is never logged. Empty for a receiver with bots.
    #[serde(default)]
    pub webhook_url: SecretUrl,
    /// The main bot first, then those that step in.
    #[serde(default)]
    pub bots: Vec<BotConfig>,
    /// Whom the bots tell one by one. None: the chat that the settings of the bots name.
    #[serde(default)]
    pub people: Vec<PersonConfig>,
    /// Whom of the directory the bots tell: `user:ann`, `team:dba`, or who is on call, `oncall:dba`.
    #[serde(default)]
    pub recipients: Vec<String>,
    /// Whether the recipients are called by name in the chat of the bots instead of being told one by one. Bots that
    /// reach nobody alone do so anyway.
    #[serde(default)]
    pub mention: bool,
    /// The language of the messages.
    #[serde(default)]
    pub language: Language,
    /// The word that every message begins with, for bots that let only messages with a keyword pass.
    #[serde(default = "envelope")]
    pub envelope: String,
    /// Whether the end of an alert is told too.
    #[serde(default = "yes")]
    pub send_resolved: bool,
    /// Conditions such as `severity="critical"`, all of which must hold; none takes every alert.
    #[serde(default)]
    pub matchers: Vec<String>,
    /// How long one attempt may take.
    #[serde(default = "ten_seconds", with = "duration_text")]
    pub timeout: Duration,
    /// How long failed attempts are repeated before the notification is given up (and shown as failed).
    #[serde(default = "one_hour", with = "duration_text")]
    pub retry_for: Duration,
    /// The most requests under way at once; where all bots take a message a second at most, one in all.
    #[serde(default = "eight")]
    pub concurrency: usize,
    /// Whether nobody is told: what would be told is noted as told, and nothing is sent. For routes that are tried
    /// beside another alarm. Needs neither address nor bots.
    #[serde(default)]
    pub dry_run: bool,
    /// Templates for the texts of the bots; what has none keeps the built-in words.
    #[serde(default)]
    pub texts: Vec<TextConfig>,
    /// How long messages of low priority (P3 and below) gather, to go as one by priority, state and name of the alert, as
    /// `5m`, an hour at most; `0s` for not at all. Empty means 5 minutes where all bots send text messages or mails, and not
    /// at all elsewhere.
    #[serde(default)]
    pub merge_low_for: String,
}

/// An address that may hold a token: `Debug` and `Serialize` show scheme and host only.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SecretUrl(pub String);

impl SecretUrl {
    fn redacted(&self) -> String {
        match Url::parse(&self.0) {
            Ok(url) => format!("{}://{}/…", url.scheme(), url.host_str().unwrap_or("")),
            Err(_) => "(not a URL)".to_owned(),
        }
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.redacted())
    }
}

fn envelope() -> String {
    "[Saker]".to_owned()
}

const fn yes() -> bool {
    true
}

const fn eight() -> usize {
    8
}

const fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

const fn one_hour() -> Duration {
    Duration::from_secs(3600)
}

impl Config {
    /// Notes everything that is wrong with the settings, each fault with its key and what would be right.
    pub fn validate(&self, faults: &mut Faults) {
        if !is_web_address(&self.external_url) {
            faults.add(
                "alarm.external_url",
                format!("{:?} is not an http or https URL", self.external_url),
            );
        }
        if self.time_zone().is_err() {
            let advice =
                "is not a time zone of this system; write an IANA name such as \"Asia/Shanghai\"";
            faults.add("alarm.time_zone", format!("{:?} {advice}", self.time_zone));
        }
        for (key, span) in [
            ("alarm.resolve_timeout", self.resolve_timeout),
            ("alarm.repeat_interval", self.repeat_interval),
            ("alarm.retention", self.retention),
        ] {
            if span < Duration::from_secs(1) {
                faults.add(key, "must be at least 1s");
            }
        }
        for (key, limit) in [
            ("alarm.body_bytes_max", self.body_bytes_max),
            ("alarm.alerts_per_request_max", self.alerts_per_request_max),
            ("alarm.alerts_max", usize::try_from(self.alerts_max).unwrap_or(usize::MAX)),
            ("alarm.labels_per_alert_max", self.labels_per_alert_max),
            ("alarm.label_value_bytes_max", self.label_value_bytes_max),
            ("alarm.annotation_bytes_max", self.annotation_bytes_max),
            ("alarm.groups_max", self.groups_max),
        ] {
            if limit == 0 {
                faults.add(key, "must be at least 1");
            }
        }
        self.mutes.validate(faults);
        self.dead_man.validate(faults);
        self.validate_directory(faults);
        self.falcon_events.validate(faults);
        let has_file = !self.alertmanager_config.as_os_str().is_empty();
        if has_file && !self.receivers.is_empty() {
            faults.add(
                "alarm.receivers",
                "are also in the file that alarm.alertmanager_config names; keep one of the two",
            );
        }
        if self.receivers.len() > RECEIVERS_MAX {
            faults.add(
                "alarm.receivers",
                format!("{} are more than {RECEIVERS_MAX}", self.receivers.len()),
            );
        }
        for (position, receiver) in self.receivers.iter().enumerate() {
            let twin = self.receivers[..position].iter().any(|other| other.name == receiver.name);
            let mut found = receiver.faults();
            if twin {
                let fault = format!("{:?} is there twice; give each its own name", receiver.name);
                found.push(("name".to_owned(), fault));
            }
            for (field, fault) in found {
                faults.add(&format!("alarm.receivers[{position}].{field}"), fault);
            }
        }
    }

    fn validate_directory(&self, faults: &mut Faults) {
        let users = self.users.iter().map(|user| ("users", &user.name, user.faults()));
        let teams = self.teams.iter().map(|team| ("teams", &team.name, team.faults()));
        let mut known = HashSet::new();
        for (list, name, found) in users.chain(teams) {
            for (field, fault) in found {
                faults.add(&format!("alarm.{list} {name:?} {field}"), fault);
            }
            if !known.insert((list, name)) {
                faults.add(&format!("alarm.{list}"), format!("{name:?} is there twice"));
            }
        }
        if !self.recipients.is_empty() && self.alertmanager_config.as_os_str().is_empty() {
            let advice = "are for the receivers of alarm.alertmanager_config; those of \
                          alarm.receivers have recipients of their own";
            faults.add("alarm.recipients", advice);
        }
        for (receiver, recipients) in &self.recipients {
            if let Err(fault) = Recipient::parse_all(recipients) {
                faults.add(&format!("alarm.recipients.{receiver}"), fault);
            }
        }
    }

    /// The name this instance takes leases under.
    pub(crate) fn owner(&self) -> String {
        if !self.instance.is_empty() {
            return self.instance.clone();
        }
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        format!("{}/{}", host.trim(), self.listen)
    }

    /// The time zone of the web view.
    pub(crate) fn time_zone(&self) -> Result<jiff::tz::TimeZone, jiff::Error> {
        match self.time_zone.as_str() {
            "" => Ok(jiff::tz::TimeZone::system()),
            name => jiff::tz::TimeZone::get(name),
        }
    }
}

impl MutesConfig {
    /// Reads the secrets that lie in files.
    pub(crate) fn read_secrets(&mut self) -> std::io::Result<()> {
        self.token.read()?;
        for key in &mut self.link_keys {
            key.key.read()?;
        }
        let mut secrets = self.callbacks.iter_mut().flat_map(CallbackSpec::secrets_mut);
        secrets.try_for_each(Secret::read)
    }

    fn validate(&self, faults: &mut Faults) {
        let mut copy = self.clone();
        let keys = copy.link_keys.iter_mut().map(|key| &mut key.key);
        let callbacks = copy.callbacks.iter_mut().flat_map(CallbackSpec::secrets_mut);
        for secret in std::iter::once(&mut copy.token).chain(keys).chain(callbacks) {
            if let Some(fault) = secret.file_fault() {
                faults.add("alarm.mutes", fault);
            }
        }
        for (position, key) in self.link_keys.iter().enumerate() {
            let is_text = matches!(key.key, Secret::Text(_));
            if is_text && key.key.expose().len() < LINK_KEY_BYTES_MIN {
                faults.add(
                    &format!("alarm.mutes.link_keys[{position}].key"),
                    format!("must have at least {LINK_KEY_BYTES_MIN} bytes"),
                );
            }
            if self.link_keys[..position].iter().any(|other| other.id == key.id) {
                faults.add(
                    &format!("alarm.mutes.link_keys[{position}].id"),
                    format!("{} is there twice", key.id),
                );
            }
        }
        for (position, callback) in self.callbacks.iter().enumerate() {
            if self.callbacks[..position].iter().any(|other| other.kind() == callback.kind()) {
                faults.add(
                    &format!("alarm.mutes.callbacks[{position}].kind"),
                    format!("{} is there twice", callback.kind()),
                );
            }
        }
    }
}

impl ReceiverConfig {
    /// What is wrong with it, each with its field.
    pub(crate) fn faults(&self) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        let mut add = |field: &str, fault: String| faults.push((field.to_owned(), fault));
        if self.name.is_empty() || self.name.len() > RECEIVER_NAME_BYTES_MAX {
            add("name", format!("must have 1 to {RECEIVER_NAME_BYTES_MAX} bytes"));
        }
        let needs_no_address = self.dry_run && self.webhook_url.0.is_empty();
        if self.bots.is_empty() && !needs_no_address && !is_web_address(&self.webhook_url.0) {
            add("webhook_url", "not an http or https URL".to_owned());
        }
        if !self.bots.is_empty() && !self.webhook_url.0.is_empty() {
            let advice =
                "a receiver has a webhook_url or bots; make the webhook a bot of that kind";
            add("webhook_url", advice.to_owned());
        }
        if self.bots.len() > BOTS_MAX || self.people.len() > PEOPLE_MAX {
            add("bots", format!("at most {BOTS_MAX} bots and {PEOPLE_MAX} people"));
        }
        if let Err(fault) = Recipient::parse_all(&self.recipients) {
            add("recipients", fault);
        }
        if !self.recipients.is_empty() && (self.bots.is_empty() || !self.people.is_empty()) {
            let advice = "need bots, and no people beside them: name those as users";
            add("recipients", advice.to_owned());
        }
        for (number, bot) in self.bots.iter().enumerate() {
            if bot.name.is_empty() || bot.name.len() > RECEIVER_NAME_BYTES_MAX {
                let fault = format!("must have 1 to {RECEIVER_NAME_BYTES_MAX} bytes");
                add(&format!("bots[{number}].name"), fault);
            }
            for (field, fault) in bot.spec.faults() {
                add(&format!("bots[{number}].{field}"), fault);
            }
        }
        for matcher in &self.matchers {
            if let Err(fault) = parse_matcher(matcher) {
                add("matchers", fault.to_string());
            }
        }
        if self.timeout.is_zero() || self.timeout > Duration::from_secs(300) {
            add("timeout", "must be between 1ms and 5m".to_owned());
        }
        match model::parse_duration(&self.merge_low_for) {
            Err(fault) if !self.merge_low_for.is_empty() => add("merge_low_for", fault.to_string()),
            Ok(span) if span > MERGE_LOW_MAX => add("merge_low_for", "more than 1h".to_owned()),
            _ => {}
        }
        if self.concurrency == 0 || self.concurrency > 256 {
            add("concurrency", "must be between 1 and 256".to_owned());
        }
        faults
    }

    /// How long messages of low priority gather.
    pub(crate) fn merge_low_for(&self) -> Duration {
        let is_slow_reading = |bot: &BotConfig| match bot.spec.family() {
            "mail" => true,
            "phone" => !bot.spec.rings(),
            _ => false,
        };
        let is_usual = !self.bots.is_empty() && self.bots.iter().all(is_slow_reading);
        let usual = if is_usual { MERGE_LOW_FOR } else { Duration::ZERO };
        // What cannot be read was refused as a fault.
        model::parse_duration(&self.merge_low_for).unwrap_or(usual)
    }
}

/// Whether a text is an absolute http or https address: the only kind that is linked to or posted to.
pub(crate) fn is_web_address(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Config {
        toml::from_str(text).expect("the text is well formed")
    }

    fn faults(config: &Config) -> Vec<String> {
        let mut faults = Faults::default();
        config.validate(&mut faults);
        faults.list().to_vec()
    }

    #[test]
    fn the_defaults_are_valid_and_on_loopback() {
        let config = Config::default();
        assert!(faults(&config).is_empty());
        assert!(config.listen.ip().is_loopback());
    }

    #[test]
    fn a_receiver_needs_only_a_name_and_an_address() {
        let config =
            read("[[receivers]]\nname = \"ops\"\nwebhook_url = \"http://127.0.0.1:5001/hook\"\n");
        assert!(faults(&config).is_empty());
        assert!(config.receivers[0].send_resolved);
    }

    #[test]
    fn a_file_of_a_secret_that_is_not_there_is_named() {
        let config = read(
            r#"
            [mutes]
            token = { file = "/nonexistent/token" }
            [[receivers]]
            name = "ops"
            [[receivers.bots]]
            name = "main"
            kind = "dingtalk_robot"
            url = { file = "/nonexistent/url" }
            "#,
        );
        let faults = faults(&config);
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("/nonexistent/token"), "{faults:?}");
        let bot = "alarm.receivers[0].bots[0].file: the file /nonexistent/url";
        assert!(faults[1].contains(bot), "{faults:?}");
    }

    #[test]
    fn all_faults_are_named_at_once_with_their_keys() {
        let config = read(
            r#"
            external_url = "ftp://x"
            time_zone = "Mars/Olympus"
            alerts_max = 0
            retention = "1ms"
            [[receivers]]
            name = "ops"
            webhook_url = "file:///etc/passwd"
            matchers = ["severity"]
            [[receivers]]
            name = "ops"
            webhook_url = "http://127.0.0.1/"
            timeout = "0"
            concurrency = 0
            "#,
        );
        let faults = faults(&config).join("\n");
        for key in [
            "alarm.external_url",
            "alarm.time_zone",
            "alarm.alerts_max",
            "alarm.retention",
            "alarm.receivers[0].webhook_url",
            "alarm.receivers[0].matchers",
            "alarm.receivers[1].name",
            "alarm.receivers[1].timeout",
            "alarm.receivers[1].concurrency",
        ] {
            assert!(faults.contains(key), "{key} is missing in:\n{faults}");
        }
    }

    #[test]
    fn a_receiver_has_bots_with_their_kinds_and_people() {
        let config = read(
            r#"
            [[receivers]]
            name = "ops"
            language = "zh-CN"
            people = [{ user = "ann", address = "ou_1" }]
            [[receivers.bots]]
            name = "main"
            kind = "feishu_app"
            app_id = "cli_1"
            app_secret = "hunter2"
            [[receivers.bots]]
            name = "backup"
            kind = "dingtalk_robot"
            url = { file = "/dev/null" }
            "#,
        );
        assert!(faults(&config).is_empty(), "{:?}", faults(&config));
        assert_eq!(config.receivers[0].bots[1].spec.kind(), "dingtalk_robot");
        assert!(!format!("{config:?}").contains("hunter2"));
        let unknown = "[[receivers]]\nname = \"o\"\n[[receivers.bots]]\nname = \"b\"\nkind = \"slack\"\nx = 1";
        assert!(toml::from_str::<Config>(unknown).is_err());
    }

    #[test]
    fn faults_of_bots_and_of_mutes_are_named_with_their_keys() {
        let config = read(
            r#"
            [[receivers]]
            name = "ops"
            webhook_url = "http://127.0.0.1/"
            [[receivers.bots]]
            name = ""
            kind = "exec"
            program = "page"
            [mutes]
            link_keys = [{ id = 1, key = "short" }, { id = 1, key = "short" }]
            callbacks = [{ kind = "slack", signing_secret = "a" }, { kind = "slack", signing_secret = "b" }]
            "#,
        );
        let faults = faults(&config).join("\n");
        for key in [
            "alarm.receivers[0].webhook_url",
            "alarm.receivers[0].bots[0].name",
            "alarm.receivers[0].bots[0].program",
            "alarm.mutes.link_keys[0].key",
            "alarm.mutes.link_keys[1].id",
            "alarm.mutes.callbacks[1].kind",
        ] {
            assert!(faults.contains(key), "{key} is missing in:\n{faults}");
        }
    }

    #[test]
    fn faults_of_users_teams_and_recipients_are_named() {
        let config = read(
            r#"
            users = [{ name = "ann", addresses = { fax = "1" } }, { name = "ann" }]
            recipients = { ops = ["everybody"] }
            [[teams]]
            name = "dba"
            members = ["ann"]
            rotation = { every = "week", at = "9", starts = "2026-01-05", people = ["ann"] }
            [[receivers]]
            name = "ops"
            webhook_url = "http://127.0.0.1/"
            recipients = ["dba"]
            "#,
        );
        let faults = faults(&config).join("\n");
        for part in [
            "alarm.users \"ann\" addresses.fax",
            "\"ann\" is there twice",
            "alarm.teams \"dba\" rotation.at",
            "alarm.recipients.ops",
            "alarm.receivers[0].recipients",
            "need bots",
        ] {
            assert!(faults.contains(part), "{part} is missing in:\n{faults}");
        }
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(toml::from_str::<Config>("lisen = \"127.0.0.1:1\"").is_err());
    }

    #[test]
    fn a_token_in_an_address_is_not_shown() {
        let config = read(
            "[[receivers]]\nname = \"o\"\nwebhook_url = \"https://u:pw@im.example/send?token=s3cret\"\n",
        );
        let shown = format!("{config:?} {}", toml::to_string(&config).unwrap());
        assert!(shown.contains("https://im.example"));
        assert!(!shown.contains("s3cret") && !shown.contains("pw"));
    }
}
