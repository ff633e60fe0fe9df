//! Settings of judge.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use daemon::Faults;
use model::{Labels, RelabelRule, is_label_name};
use serde::{Deserialize, Serialize};

use crate::alarm::{self, AlarmConfig};
use crate::outbox;
use crate::rule_file::Defaults;
use crate::rules::Rule;
use crate::template_functions::query_escape;

/// The section `[judge]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the API of the rules is reached.
    pub listen: SocketAddr,
    /// Name of this judge among those that share the rules; empty for host name and `listen`. It must stay
    /// the same over restarts, so that a judge finds its own leases again at once.
    pub instance: String,
    /// Rule files in Prometheus' format; the last part of a path may hold `*`.
    pub rule_files: Vec<PathBuf>,
    /// Whether the rules for hosts that come with Saker are used when `rule_files` is empty.
    pub host_rules: bool,
    /// Alarms, or Alertmanagers, that every alert is sent to, as `http://host:port`.
    pub alarm_urls: Vec<String>,
    /// Interval of groups that name none.
    #[serde(with = "model::duration_text")]
    pub evaluation_interval: Duration,
    /// How far in the past the queries of groups look that do not say otherwise.
    #[serde(with = "model::duration_text")]
    pub query_offset: Duration,
    /// Whether the alerting rules of groups that do not say otherwise are evaluated when their data arrives,
    /// too, and not only at their slots.
    pub on_arrival: bool,
    /// A query that takes longer fails.
    #[serde(with = "model::duration_text")]
    pub query_timeout: Duration,
    /// Firing and ended alerts are sent again this often.
    #[serde(with = "model::duration_text")]
    pub resend_delay: Duration,
    /// After a gap in the evaluations of a rule (a restart, an outage of the store), alerts last seen before
    /// it are not ended by absence for this long: senders first deliver what they kept.
    #[serde(with = "model::duration_text")]
    pub settle_time: Duration,
    /// How long this judge's place among those that share the rules holds without renewal; it is renewed five times
    /// as often. When it dies, the others take its groups over after this and at most a fifth more.
    #[serde(with = "model::duration_text")]
    pub lease_time: Duration,
    /// Rule groups in the database are read again this often, for those that another judge has taken by its
    /// API.
    #[serde(with = "model::duration_text")]
    pub database_poll: Duration,
    /// Groups that are evaluated at a time.
    pub concurrent_groups_max: usize,
    /// Rules of one group that are evaluated at a time; those that read each other never are.
    pub concurrent_rules_max: usize,
    /// Rule groups in all; a set of rules with more is refused.
    pub groups_max: usize,
    /// Alerts that wait for one alarm at most.
    pub outbox_alerts_max: usize,
    /// Alerts in one request to an alarm.
    pub batch_alerts_max: usize,
    /// Lines of a name and a token; who sends one of the tokens may change rules from another machine. Without a
    /// file only programs on this machine may.
    pub token_file: PathBuf,
    /// Labels that every alert gets on its way out, where it does not have them already.
    pub external_labels: Labels,
    /// Where users reach a query page with Prometheus' addresses, for links in alerts; empty for links to
    /// this API.
    pub external_url: String,
    /// What is done to the labels of every alert on its way out, in this order, after `external_labels`: it may
    /// change them, or keep an alert from all alarms.
    pub alert_relabel: Vec<RelabelRule>,
    /// More alarms, with settings of their own.
    pub alarms: Vec<AlarmConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 6081).into(),
            instance: String::new(),
            rule_files: Vec::new(),
            host_rules: true,
            alarm_urls: vec!["http://127.0.0.1:9912".to_owned()],
            evaluation_interval: Duration::from_secs(60),
            query_offset: Duration::ZERO,
            on_arrival: true,
            query_timeout: Duration::from_secs(30),
            resend_delay: Duration::from_secs(60),
            settle_time: Duration::from_secs(180),
            lease_time: Duration::from_secs(10),
            database_poll: Duration::from_secs(15),
            concurrent_groups_max: 4,
            concurrent_rules_max: 4,
            groups_max: 100_000,
            outbox_alerts_max: 200_000,
            batch_alerts_max: 256,
            token_file: PathBuf::new(),
            external_labels: Labels::empty(),
            external_url: String::new(),
            alert_relabel: Vec::new(),
            alarms: Vec::new(),
        }
    }
}

impl Config {
    /// Notes what is wrong, key by key.
    pub fn validate(&self, faults: &mut Faults) {
        self.validate_alarms(faults);
        let second = Duration::from_secs(1);
        for (key, span) in [
            ("judge.evaluation_interval", self.evaluation_interval),
            ("judge.query_timeout", self.query_timeout),
            ("judge.resend_delay", self.resend_delay),
            ("judge.database_poll", self.database_poll),
        ] {
            if span < second {
                faults.add(key, "must be at least 1s");
            }
        }
        if self.lease_time < second * 3 {
            faults
                .add("judge.lease_time", "must be at least 3s, or a slow moment loses the groups");
        }
        for (key, count) in [
            ("judge.concurrent_groups_max", self.concurrent_groups_max),
            ("judge.concurrent_rules_max", self.concurrent_rules_max),
            ("judge.groups_max", self.groups_max),
            ("judge.outbox_alerts_max", self.outbox_alerts_max),
            ("judge.batch_alerts_max", self.batch_alerts_max),
        ] {
            if count == 0 {
                faults.add(key, "must be at least 1");
            }
        }
        for (name, _) in self.external_labels.iter().filter(|(name, _)| !is_label_name(name)) {
            faults.add("judge.external_labels", format!("{name:?} is not a label name"));
        }
    }

    fn validate_alarms(&self, faults: &mut Faults) {
        for url in &self.alarm_urls {
            if let Err(fault) = alarm::check_url(url) {
                faults.add("judge.alarm_urls", fault);
            }
        }
        alarm::validate_relabel(&self.alert_relabel, "judge.alert_relabel", faults);
        for (at, alarm) in self.alarms.iter().enumerate() {
            alarm.validate(&format!("judge.alarms[{at}]"), faults);
        }
        let all = self.all_alarms();
        for (at, one) in all.iter().enumerate() {
            let address = alarm::address(&one.url);
            if all[..at].iter().any(|other| alarm::address(&other.url) == address) {
                faults.add("judge.alarms", format!("{address:?} is given twice; keep one of them"));
            }
        }
    }

    /// The alarms of `alarm_urls` and `alarms`.
    pub(crate) fn all_alarms(&self) -> Vec<AlarmConfig> {
        let plain = self.alarm_urls.iter().map(|url| AlarmConfig::at(url));
        plain.chain(self.alarms.iter().cloned()).collect()
    }

    /// What groups that do not say otherwise get.
    pub(crate) fn rule_defaults(&self) -> Defaults {
        Defaults {
            interval: self.evaluation_interval,
            query_offset: self.query_offset,
            on_arrival: self.on_arrival,
        }
    }

    /// Limits of each outbox.
    pub(crate) fn outbox_limits(&self) -> outbox::Limits {
        outbox::Limits {
            resend_delay: self.resend_delay,
            alerts_max: self.outbox_alerts_max,
            batch_max: self.batch_alerts_max,
        }
    }

    /// The name this judge takes leases under.
    pub(crate) fn owner(&self) -> String {
        if !self.instance.is_empty() {
            return self.instance.clone();
        }
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        format!("{}/{}", host.trim(), self.listen)
    }

    /// Where a user finds more about a rule: a graph of its expression on the query page, or, without such a
    /// page, the rule on judge's own API.
    pub(crate) fn links(&self) -> Links {
        if self.external_url.is_empty() {
            return Links::Rules(format!("http://{}", self.listen));
        }
        Links::Graphs(self.external_url.trim_end_matches('/').to_owned())
    }
}

/// The form of links to rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Links {
    /// To this judge's API.
    Rules(String),
    /// To a query page with Prometheus' addresses.
    Graphs(String),
}

impl Links {
    /// The part that all links begin with.
    pub(crate) fn base(&self) -> &str {
        match self {
            Self::Rules(base) | Self::Graphs(base) => base,
        }
    }

    /// The link to a rule.
    pub(crate) fn of(&self, rule: &Rule) -> String {
        match self {
            Self::Rules(base) => {
                format!("{base}/api/v1/rules?rule_name[]={}", query_escape(&rule.name))
            }
            Self::Graphs(base) => {
                format!("{base}/graph?g0.expr={}&g0.tab=1", query_escape(&rule.query.text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(config: &Config) -> Vec<String> {
        let mut faults = Faults::default();
        config.validate(&mut faults);
        faults.list().to_vec()
    }

    #[test]
    fn the_defaults_are_valid_and_the_example_shows_them() {
        assert_eq!(faults(&Config::default()), Vec::<String>::new());
        let text = include_str!("../judge.example.toml");
        let example: Config =
            daemon::parse_config("judge.example.toml", text, Config::validate).expect("valid");
        assert_eq!(example, Config::default());
    }

    #[test]
    fn every_fault_is_named() {
        let config = Config {
            alarm_urls: vec!["localhost:9912".to_owned()],
            resend_delay: Duration::ZERO,
            lease_time: Duration::from_secs(1),
            groups_max: 0,
            external_labels: Labels::from_pairs([("data center", "east")]),
            ..Config::default()
        };
        let keys: Vec<String> = faults(&config)
            .iter()
            .map(|fault| fault.split(':').next().unwrap_or("").to_owned())
            .collect();
        let expected =
            ["alarm_urls", "resend_delay", "lease_time", "groups_max", "external_labels"]
                .map(|k| format!("judge.{k}"));
        assert_eq!(keys, expected);
    }

    #[test]
    fn every_fault_of_an_alarm_is_named() {
        let text = "
            alarm_urls = ['http://am:9093/', 'http://u:p@am:1']
            [[alert_relabel]]
            regex = '('
            target_label = 'x'
            [[alarms]]
            url = 'http://am:9093'
            username = 'u'
            [[alarms]]
            url = 'am'
            timeout = '0s'
            token_file = 'token'
            password_file = 'password'
            [[alarms.relabel]]
            action = 'keep'
            [[alarms.relabel]]
            action = 'hashmod'
            target_label = 'x'
        ";
        let config: Config = toml::from_str(text).expect("only values are wrong");
        let keys: Vec<String> = faults(&config)
            .iter()
            .map(|fault| fault.split(": ").next().unwrap_or("").to_owned())
            .collect();
        assert_eq!(
            keys,
            [
                "judge.alarm_urls",
                "judge.alert_relabel[0]",
                "judge.alarms[0].password_file",
                "judge.alarms[1].url",
                "judge.alarms[1].password_file",
                "judge.alarms[1].timeout",
                "judge.alarms[1].relabel[1]",
                "judge.alarms",
            ]
        );
    }

    #[test]
    fn links_lead_to_the_query_page_or_to_the_rule() {
        let text = "groups: [{name: g, rules: [{alert: Is down, expr: up == 0}]}]";
        let groups = crate::rule_file::read_file("f", text, &Defaults::default()).expect("valid");
        let link = |config: &Config| config.links().of(&groups[0].rules[0]);
        assert_eq!(
            link(&Config::default()),
            "http://127.0.0.1:6081/api/v1/rules?rule_name[]=Is+down"
        );
        let config = Config { external_url: "https://graphs/".to_owned(), ..Config::default() };
        assert_eq!(link(&config), "https://graphs/graph?g0.expr=up+%3D%3D+0&g0.tab=1");
    }

    #[test]
    fn a_judge_without_a_name_is_called_after_its_host_and_address() {
        assert!(Config::default().owner().ends_with("/127.0.0.1:6081"));
        assert_eq!(
            Config { instance: "judge-1".to_owned(), ..Config::default() }.owner(),
            "judge-1"
        );
    }
}
