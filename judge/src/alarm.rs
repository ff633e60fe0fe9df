//! One alarm, or Alertmanager of somebody else: its settings, what of the alerts it is told, and how it is asked.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::http::HeaderValue;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use daemon::Faults;
use model::{Fingerprint, Labels, Relabel, RelabelRule};
use regex::Regex;
use reqwest::{Client, StatusCode, Url};
use serde::{Deserialize, Serialize};
use wire::alert::PostableAlert;

use crate::outbox::Parcel;
use crate::told::{News, Told};

/// A refusal is quoted in the log up to here.
const ANSWER_CHARS_MAX: usize = 200;
/// A longer file is no password and no token.
const SECRET_BYTES_MAX: u64 = 16 << 10;

/// An entry of `[[judge.alarms]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlarmConfig {
    /// Its address, with the path before `/api/v2/alerts` if there is one.
    pub url: String,
    /// A file with the bearer token; empty for none. It is read again when the alarm answers 401 or 403.
    pub token_file: PathBuf,
    /// The user of Basic authentication; empty for none.
    pub username: String,
    /// A file with the password of `username`, read as `token_file` is.
    pub password_file: PathBuf,
    /// How long one request may take.
    #[serde(with = "model::duration_text")]
    pub timeout: Duration,
    /// What is done to the labels of alerts for this alarm, after `alert_relabel`.
    pub relabel: Vec<RelabelRule>,
}

impl Default for AlarmConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            token_file: PathBuf::new(),
            username: String::new(),
            password_file: PathBuf::new(),
            timeout: Duration::from_secs(10),
            relabel: Vec::new(),
        }
    }
}

impl AlarmConfig {
    /// An alarm of which nothing but its address is said.
    pub(crate) fn at(url: &str) -> Self {
        Self { url: url.to_owned(), ..Self::default() }
    }

    /// Notes what is wrong; `key` names the entry.
    pub(crate) fn validate(&self, key: &str, faults: &mut Faults) {
        if let Err(fault) = check_url(&self.url) {
            faults.add(&format!("{key}.url"), fault);
        }
        let (has_token, has_password) =
            (!self.token_file.as_os_str().is_empty(), !self.password_file.as_os_str().is_empty());
        if has_token && !self.username.is_empty() {
            faults.add(&format!("{key}.token_file"), "give it or username, not both");
        }
        if has_password == self.username.is_empty() {
            faults.add(&format!("{key}.password_file"), "username and password_file go together");
        }
        if self.username.contains(':') {
            faults.add(&format!("{key}.username"), "must not hold a colon");
        }
        if self.timeout < Duration::from_secs(1) {
            faults.add(&format!("{key}.timeout"), "must be at least 1s");
        }
        validate_relabel(&self.relabel, &format!("{key}.relabel"), faults);
    }

    /// The value of `Authorization`; `None` when there is none.
    fn authorization(&self) -> anyhow::Result<Option<HeaderValue>> {
        let text = if !self.username.is_empty() {
            let password = read_secret(&self.password_file)?;
            format!("Basic {}", STANDARD.encode(format!("{}:{password}", self.username)))
        } else if !self.token_file.as_os_str().is_empty() {
            format!("Bearer {}", read_secret(&self.token_file)?)
        } else {
            return Ok(None);
        };
        let mut value = HeaderValue::try_from(text)
            .with_context(|| format!("what authorizes at {} is no text", self.url))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// What is wrong with the address of an alarm.
pub(crate) fn check_url(text: &str) -> Result<(), String> {
    if !text.starts_with("http://") && !text.starts_with("https://") {
        return Err(format!("{text:?} must start with http:// or https://"));
    }
    let url = Url::parse(text).map_err(|error| format!("{text:?} is no address: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        // Not quoted: it would stand in the log, and in the labels of metrics.
        return Err(
            "holds a user or password; give username and password_file in [[judge.alarms]]"
                .to_owned(),
        );
    }
    Ok(())
}

/// Notes what is wrong with rules of relabelling.
pub(crate) fn validate_relabel(rules: &[RelabelRule], key: &str, faults: &mut Faults) {
    for (at, rule) in rules.iter().enumerate() {
        for fault in rule.faults::<Regex>() {
            faults.add(&format!("{key}[{at}]"), fault);
        }
    }
}

fn read_secret(file: &Path) -> anyhow::Result<String> {
    let at = || format!("read {}", file.display());
    if std::fs::metadata(file).with_context(at)?.len() > SECRET_BYTES_MAX {
        bail!("{} is longer than a secret", file.display());
    }
    let text = std::fs::read_to_string(file).with_context(at)?;
    match text.lines().next().map(str::trim).filter(|secret| !secret.is_empty()) {
        Some(secret) => Ok(secret.to_owned()),
        None => bail!("{} is empty", file.display()),
    }
}

/// What came of a request.
pub(crate) enum Outcome {
    Taken,
    /// The alarm says that the request itself is wrong.
    Refused(String),
    /// The alarm is away or overloaded, or an operator has to mend something; the alerts are wanted all the same.
    Away(String),
}

/// An alarm that can be told.
#[derive(Debug)]
pub(crate) struct Alarm {
    /// What it is called in metrics and logs: its address.
    pub(crate) url: String,
    config: AlarmConfig,
    relabel: Relabel,
    authorization: Mutex<Option<HeaderValue>>,
}

impl Alarm {
    /// An alarm whose alerts are relabelled by `first` before its own rules. The error says which file cannot be
    /// read.
    pub(crate) fn open(config: AlarmConfig, first: &[RelabelRule]) -> anyhow::Result<Self> {
        let rules = [first, &config.relabel].concat();
        let relabel =
            Relabel::new(&rules).map_err(anyhow::Error::msg).context("read alert_relabel")?;
        let authorization = Mutex::new(config.authorization()?);
        Ok(Self { url: address(&config.url).to_owned(), config, relabel, authorization })
    }

    /// What this alarm is told of alerts, and how many of them it is not told of. Alerts that become the same are
    /// one: it fires as long as one of them does, since the first of them began.
    pub(crate) fn of_interest<'a>(&self, told: &'a [Arc<Told>]) -> (Cow<'a, [Arc<Told>]>, usize) {
        if self.relabel.is_empty() {
            return (Cow::Borrowed(told), 0);
        }
        let mut kept: Vec<Arc<Told>> = Vec::with_capacity(told.len());
        let mut places: HashMap<Labels, usize> = HashMap::with_capacity(told.len());
        let mut dropped = 0;
        for one in told {
            let Some(labels) = self.relabelled(&one.labels) else {
                dropped += 1;
                continue;
            };
            let one = if labels == one.labels {
                Arc::clone(one)
            } else {
                Arc::new(Told { labels: labels.clone(), ..one.as_ref().clone() })
            };
            match places.get(&labels) {
                Some(place) if is_better(&one, &kept[*place]) => kept[*place] = one,
                Some(_) => {}
                None => {
                    places.insert(labels, kept.len());
                    kept.push(one);
                }
            }
        }
        (Cow::Owned(kept), dropped)
    }

    /// What this alarm calls an alert; `None` when it is not told of it.
    pub(crate) fn fingerprint(&self, labels: &Labels) -> Option<Fingerprint> {
        if self.relabel.is_empty() {
            return Some(Fingerprint(labels.hash()));
        }
        self.relabelled(labels).map(|labels| Fingerprint(labels.hash()))
    }

    /// No alarm takes an alert without labels.
    fn relabelled(&self, labels: &Labels) -> Option<Labels> {
        self.relabel.apply(labels).filter(|labels| !labels.is_empty())
    }

    /// Tells a batch.
    pub(crate) async fn post(&self, http: &Client, batch: &[Parcel]) -> Outcome {
        let alerts: Vec<PostableAlert> =
            batch.iter().map(|(_, told, ends_at)| told.alert(*ends_at).into()).collect();
        let url = format!("{}{}", self.url, wire::alert::PATH);
        let mut request = http.post(url).timeout(self.config.timeout).json(&alerts);
        let authorization =
            self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let mut answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return Outcome::Away(format!("{:#}", anyhow::Error::from(error))),
        };
        let status = answer.status();
        if status.is_success() {
            return Outcome::Taken;
        }
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            self.renew_authorization();
        }
        // The first piece says enough, and whoever answers cannot fill the memory.
        let first = answer.chunk().await.ok().flatten().unwrap_or_default();
        let text: String = String::from_utf8_lossy(&first).chars().take(ANSWER_CHARS_MAX).collect();
        judge(status, format!("{status}: {}", text.trim()))
    }

    /// Secrets are exchanged while we run.
    fn renew_authorization(&self) {
        match self.config.authorization() {
            Ok(renewed) => {
                *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = renewed;
            }
            Err(error) => {
                tracing::warn!(alarm = self.url, "what authorizes cannot be read: {error:#}");
            }
        }
    }
}

/// The address without slashes at its end, so that the same alarm has one name.
pub(crate) fn address(url: &str) -> &str {
    url.trim_end_matches('/')
}

fn is_better(new: &Told, old: &Told) -> bool {
    match (new.news, old.news) {
        (News::Firing, News::Firing) => new.starts_at < old.starts_at,
        (News::Firing, News::Resolved(_)) => true,
        (News::Resolved(_), News::Firing) => false,
        (News::Resolved(new), News::Resolved(old)) => new > old,
    }
}

/// A 4xx says that this very request is wrong. Not so a missing route, a missing right or a proxy that wants to be
/// asked: an operator's mistake, which will be mended, and then the news is wanted.
fn judge(status: StatusCode, reason: String) -> Outcome {
    let is_mended_later = matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED
    );
    if status.is_client_error() && !is_mended_later {
        Outcome::Refused(reason)
    } else {
        Outcome::Away(reason)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::Timestamp;

    use super::*;

    fn rule(toml: &str) -> RelabelRule {
        toml::from_str(toml).expect("the rule can be read")
    }

    fn alarm(first: &[&str], own: &[&str]) -> Alarm {
        let rules = |rules: &[&str]| rules.iter().map(|rule| self::rule(rule)).collect::<Vec<_>>();
        let config = AlarmConfig { relabel: rules(own), ..AlarmConfig::at("http://am:9093/") };
        Alarm::open(config, &rules(first)).expect("there is no secret to read")
    }

    fn told(pairs: &[(&str, &str)], starts_at: i64, news: News) -> Arc<Told> {
        Arc::new(Told {
            labels: Labels::from_pairs(pairs.iter().copied()),
            annotations: BTreeMap::new(),
            generator_url: Arc::from(""),
            starts_at: Timestamp(starts_at),
            news,
            interval: Duration::from_secs(15),
        })
    }

    /// The labels that an alarm is told, with the start and whether it fires; and how many it is not told.
    fn check(alarm: &Alarm, alerts: &[Arc<Told>], expected: &[(&str, i64, bool)], dropped: usize) {
        let (told, left_out) = alarm.of_interest(alerts);
        let told: Vec<(String, i64, bool)> = told
            .iter()
            .map(|told| {
                let fires = told.news == News::Firing;
                (told.labels.to_string(), told.starts_at.millis(), fires)
            })
            .collect();
        let told: Vec<_> = told.iter().map(|(l, at, fires)| (l.as_str(), *at, *fires)).collect();
        assert_eq!((told.as_slice(), left_out), (expected, dropped));
    }

    const DROP_REPLICA: &str = "action = 'labeldrop'\nregex = 'replica'";
    const KEEP_WEB: &str = "action = 'keep'\nsource_labels = ['team']\nregex = 'web'";

    #[test]
    fn the_rules_of_all_alarms_come_before_those_of_one() {
        let renamed = "source_labels = ['owner']\ntarget_label = 'team'";
        let alarm = alarm(&[renamed], &[KEEP_WEB]);
        let alerts =
            [told(&[("owner", "web")], 1, News::Firing), told(&[("team", "web")], 1, News::Firing)];
        check(&alarm, &alerts, &[("{owner=\"web\", team=\"web\"}", 1, true)], 1);
    }

    #[test]
    fn without_rules_everything_is_told_as_it_is() {
        let alerts = [told(&[("a", "b")], 1, News::Firing)];
        assert!(matches!(alarm(&[], &[]).of_interest(&alerts), (Cow::Borrowed(_), 0)));
    }

    #[test]
    fn alerts_that_become_the_same_are_one_that_fires_as_long_as_any_of_them() {
        let (alarm, ended) = (alarm(&[DROP_REPLICA], &[]), News::Resolved(Timestamp(9)));
        let replica = |name, at, news| told(&[("alertname", "A"), ("replica", name)], at, news);
        let name = "{alertname=\"A\"}";
        let both = [replica("a", 5, News::Firing), replica("b", 3, News::Firing)];
        check(&alarm, &both, &[(name, 3, true)], 0);
        let one = [replica("a", 1, ended), replica("b", 3, News::Firing)];
        check(&alarm, &one, &[(name, 3, true)], 0);
        let later = News::Resolved(Timestamp(20));
        check(&alarm, &[replica("a", 1, ended), replica("b", 3, later)], &[(name, 3, false)], 0);
        let labels = [&one[0].labels, &one[1].labels].map(|labels| alarm.fingerprint(labels));
        assert_eq!(labels[0], labels[1]);
    }

    #[test]
    fn an_alert_that_is_left_without_labels_is_not_told() {
        let alarm = alarm(&["action = 'labelkeep'\nregex = 'x'"], &[]);
        check(&alarm, &[told(&[("alertname", "A")], 1, News::Firing)], &[], 1);
        assert_eq!(alarm.fingerprint(&Labels::from_pairs([("alertname", "A")])), None);
    }

    #[test]
    fn secrets_come_from_files_and_are_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "s3cret\n").unwrap();
        let token = AlarmConfig { token_file: file.clone(), ..AlarmConfig::at("http://am") };
        let user = AlarmConfig {
            username: "judge".to_owned(),
            password_file: file.clone(),
            ..AlarmConfig::at("http://am")
        };
        for (config, expected) in [(&token, "Bearer s3cret"), (&user, "Basic anVkZ2U6czNjcmV0")] {
            let value = config.authorization().unwrap().expect("there is one");
            assert_eq!(value.to_str().unwrap(), expected);
            let shown = format!("{:?}", Alarm::open(config.clone(), &[]).unwrap());
            assert!(!shown.contains("s3cret") && !shown.contains("anVkZ2U6"), "{shown}");
        }
        for text in ["", "\n", &"x".repeat(20_000)] {
            std::fs::write(&file, text).unwrap();
            let error = Alarm::open(token.clone(), &[]).expect_err("that is no secret");
            assert!(format!("{error:#}").contains("secret"), "{error:#}");
        }
    }

    #[test]
    fn what_an_operator_can_mend_costs_no_news() {
        for (status, is_refused) in [
            (400, true),
            (413, true),
            (422, true),
            (401, false),
            (403, false),
            (404, false),
            (405, false),
            (407, false),
            (408, false),
            (429, false),
            (302, false),
            (503, false),
        ] {
            let outcome = judge(StatusCode::from_u16(status).unwrap(), String::new());
            assert_eq!(matches!(outcome, Outcome::Refused(_)), is_refused, "{status}");
        }
    }

    #[test]
    fn faults_of_addresses_name_no_secret() {
        assert_eq!(check_url("https://am.example:9093/prefix"), Ok(()));
        for (url, fault) in [
            ("am:9093", "must start with"),
            ("http://", "no address"),
            ("http://u:s3cret@am", "username and password_file"),
        ] {
            let told = check_url(url).expect_err("it is none");
            assert!(told.contains(fault) && !told.contains("s3cret"), "{told}");
        }
    }
}
