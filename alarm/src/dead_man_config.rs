//! Section `[alarm.dead_man]` of the configuration file.

use std::time::Duration;

use channels::Secret;
use daemon::Faults;
use model::duration_text;
use serde::{Deserialize, Serialize};

use crate::config::is_web_address;
use crate::matchers::parse_matcher;

const WATCHDOGS_MAX: usize = 100;
const NAME_BYTES_MAX: usize = 64;

/// What must keep coming, and who is told outside that all is well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeadManConfig {
    /// Asked for with GET while the store answers and no watchdog is missing; empty for none.
    pub ping_url: Secret,
    /// How often.
    #[serde(with = "duration_text")]
    pub ping_interval: Duration,
    /// Alerts that their senders always send.
    pub watchdogs: Vec<WatchdogConfig>,
}

impl Default for DeadManConfig {
    fn default() -> Self {
        let ping_interval = Duration::from_secs(60);
        Self { ping_url: Secret::default(), ping_interval, watchdogs: Vec::new() }
    }
}

/// An alert that must keep coming.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchdogConfig {
    /// Its name in the alert `SakerWatchdogMissing`.
    pub name: String,
    /// All must hold.
    pub matchers: Vec<String>,
    /// It is missing when no news came for so long.
    #[serde(with = "duration_text", default = "five_minutes")]
    pub missing_for: Duration,
}

fn five_minutes() -> Duration {
    Duration::from_secs(300)
}

impl DeadManConfig {
    pub(crate) fn validate(&self, faults: &mut Faults) {
        if let Some(fault) = self.ping_url.file_fault() {
            faults.add("alarm.dead_man.ping_url", fault);
        }
        let is_file = matches!(self.ping_url, Secret::File { .. });
        let url = self.ping_url.expose();
        if !is_file && !url.is_empty() && !is_web_address(url) {
            faults.add("alarm.dead_man.ping_url", "not an http or https URL");
        }
        if self.ping_interval < Duration::from_secs(1) {
            faults.add("alarm.dead_man.ping_interval", "must be at least 1s");
        }
        if self.watchdogs.len() > WATCHDOGS_MAX {
            faults.add("alarm.dead_man.watchdogs", format!("more than {WATCHDOGS_MAX}"));
        }
        for (position, watchdog) in self.watchdogs.iter().enumerate() {
            let mut add = |field: &str, fault: String| {
                faults.add(&format!("alarm.dead_man.watchdogs[{position}].{field}"), fault);
            };
            let is_twin = self.watchdogs[..position].iter().any(|one| one.name == watchdog.name);
            if watchdog.name.is_empty() || watchdog.name.len() > NAME_BYTES_MAX || is_twin {
                add("name", format!("must have 1 to {NAME_BYTES_MAX} bytes and be there once"));
            }
            if watchdog.matchers.is_empty() {
                add("matchers", "write at least one, as in 'alertname=\"Watchdog\"'".to_owned());
            }
            for matcher in &watchdog.matchers {
                if let Err(fault) = parse_matcher(matcher) {
                    add("matchers", fault.to_string());
                }
            }
            if watchdog.missing_for < Duration::from_secs(10) {
                add("missing_for", "must be at least 10s".to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> String {
        let config: DeadManConfig = toml::from_str(text).expect("well formed");
        let mut faults = Faults::default();
        config.validate(&mut faults);
        faults.list().join("\n")
    }

    #[test]
    fn a_watchdog_needs_a_name_and_matchers() {
        let good = "ping_url = \"https://hc.example/x\"\n[[watchdogs]]\nname = \"a\"\nmatchers = ['alertname=\"W\"']\n";
        assert_eq!(faults(good), "");
        assert_eq!(faults(""), "");
        let bad = "ping_url = \"file:///x\"\nping_interval = \"0\"\n\
            [[watchdogs]]\nname = \"\"\nmatchers = []\nmissing_for = \"1s\"\n\
            [[watchdogs]]\nname = \"\"\nmatchers = ['=']\n";
        let faults = faults(bad);
        for key in [
            "dead_man.ping_url",
            "dead_man.ping_interval",
            "watchdogs[0].name",
            "watchdogs[0].matchers",
            "watchdogs[0].missing_for",
            "watchdogs[1].name",
            "watchdogs[1].matchers",
        ] {
            assert!(faults.contains(key), "{key} is missing in:\n{faults}");
        }
    }
}
