//! What is run at slots besides the collectors: checks, plugins, scrapes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use daemon::Faults;
use model::{RelabelRule, is_label_name};
use serde::{Deserialize, Serialize};
use wire::heartbeat::Check;

use super::Interval;
use crate::plugin::naming::Binding;
use crate::plugin::verify::PublicKey;
use crate::relabel::Lite;

/// The longest time between two runs.
pub const INTERVAL_MAX: Duration = Duration::from_secs(86_400);

/// A check, named as an Open-Falcon strategy names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckSettings {
    /// `net.port.listen`, `proc.num`, `proc.cpu`, `proc.mem`, `du.bs` or `url.check.health`.
    pub metric: String,
    /// What to look at: `port=22`, `name=crond`, `path=/data`, `url=http://localhost/,timeout=3`.
    pub tags: String,
    /// How often; by default 30 s for ports and processes, 60 s for URLs, 120 s for folders.
    #[serde(default)]
    pub interval: Option<Interval>,
}

/// Plugins: external programs whose output is taken as samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plugins {
    /// The folder of local plugins. Without it none is run.
    pub directory: Option<PathBuf>,
    /// Which of them are run: folders below `directory` (`sys/ntp`), or single scripts with arguments
    /// (`sys/ntp/60_ntp.py(a,b)`).
    pub run: Vec<String>,
    /// Whether plugins that hbs names are fetched and run.
    pub from_hbs: bool,
    /// Ed25519 key in base64. When it is set, bundles of hbs must be signed with it.
    pub public_key: String,
    /// Where bundles of hbs are kept; by default `plugins` in the data directory. It must allow execution.
    pub bundle_directory: Option<PathBuf>,
    /// Bytes of all files of a bundle together.
    pub bundle_bytes_max: u64,
    /// Plugins that run at a time; others wait for their turn.
    pub at_once: usize,
    /// Bytes that a plugin may print in a run.
    pub output_bytes_max: usize,
    /// Samples that a plugin may print in a run.
    pub samples_max: usize,
    /// Environment of plugins besides PATH, LANG and SAKER_ENDPOINT; nothing is inherited.
    pub environment: BTreeMap<String, String>,
}

impl Default for Plugins {
    fn default() -> Self {
        Self {
            directory: None,
            run: Vec::new(),
            from_hbs: false,
            public_key: String::new(),
            bundle_directory: None,
            bundle_bytes_max: 16 << 20,
            at_once: 4,
            output_bytes_max: 1 << 20,
            samples_max: 10_000,
            environment: BTreeMap::new(),
        }
    }
}

/// An exporter that is scraped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScrapeSettings {
    /// Its name: label `job`.
    pub name: String,
    /// Where it is read.
    pub url: String,
    /// How often.
    #[serde(default = "scrape_interval")]
    pub interval: Interval,
    /// How long a scrape may take; by default 10 s, or the interval when that is shorter.
    #[serde(default)]
    pub timeout: Option<Interval>,
    /// Labels put on every sample.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What is done with the labels of the scraped series, in this order.
    #[serde(default)]
    pub relabel: Vec<RelabelRule>,
    /// A scrape with more samples fails as a whole; by default the limit of `[limits]`.
    #[serde(default)]
    pub samples_max: Option<usize>,
}

fn scrape_interval() -> Interval {
    Interval(Duration::from_secs(30))
}

/// Limits of checks and scrapes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Checks, plugins and scrapes, each; those beyond are not run.
    pub jobs_max: usize,
    /// Checks of URLs and folders at a time; others wait for their turn.
    pub checks_at_once: usize,
    /// How long the walk through one folder may take.
    #[serde(with = "model::duration_text")]
    pub directory_deadline: Duration,
    /// Scrapes at a time; others wait for their turn.
    pub scrapes_at_once: usize,
    /// Bytes of one scraped page.
    pub scrape_bytes_max: usize,
    /// Samples of one scraped page.
    pub scrape_samples_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            jobs_max: 256,
            checks_at_once: 8,
            directory_deadline: Duration::from_secs(30),
            scrapes_at_once: 4,
            scrape_bytes_max: 8 << 20,
            scrape_samples_max: 10_000,
        }
    }
}

impl CheckSettings {
    fn validate(&self, key: &str, faults: &mut Faults) {
        if let Err(error) = Check::of_strategy(&self.metric, &self.tags) {
            faults.add(key, error);
        }
        check_interval(key, self.interval, faults);
    }
}

impl Plugins {
    fn validate(&self, faults: &mut Faults) {
        for text in &self.run {
            if let Err(fault) = Binding::parse(text) {
                faults.add("plugins.run", format!("{text:?}: {fault}"));
            }
        }
        if !self.run.is_empty() && self.directory.is_none() {
            faults.add("plugins.directory", "must name the folder that plugins.run is in");
        }
        if !self.public_key.is_empty()
            && let Err(fault) = PublicKey::parse(&self.public_key)
        {
            faults.add("plugins.public_key", fault);
        }
        let limits = [self.at_once, self.output_bytes_max, self.samples_max];
        if limits.contains(&0) || self.bundle_bytes_max == 0 {
            faults.add("plugins", "at_once, the bytes and samples_max must be at least 1");
        }
        let is_bad = |(name, value): &(&String, &String)| {
            name.is_empty() || name.contains(['=', '\0']) || value.contains('\0')
        };
        if let Some((name, _)) = self.environment.iter().find(is_bad) {
            faults.add("plugins.environment", format!("{name:?} is no variable"));
        }
    }
}

impl ScrapeSettings {
    fn validate(&self, key: &str, faults: &mut Faults) {
        if self.name.is_empty() {
            faults.add(key, "name must not be empty: it becomes label job");
        }
        let is_http = reqwest::Url::parse(&self.url)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !is_http {
            let url = &self.url;
            let fault = format!("{url:?} is no address such as http://127.0.0.1:9100/metrics");
            faults.add(key, fault);
        }
        check_interval(key, Some(self.interval), faults);
        if self.timeout.is_some_and(|timeout| timeout.0.is_zero() || timeout.0 > self.interval.0) {
            faults.add(key, "timeout must be between 1ms and the interval");
        }
        if let Some(label) = self.labels.keys().find(|label| !is_label_name(label)) {
            faults.add(key, format!("{label:?} is no label name (letters, digits, _)"));
        }
        for fault in self.relabel.iter().flat_map(RelabelRule::faults::<Lite>) {
            faults.add(key, fault);
        }
    }
}

fn check_interval(key: &str, interval: Option<Interval>, faults: &mut Faults) {
    let Some(Interval(interval)) = interval else { return };
    if interval.subsec_nanos() != 0 || interval.is_zero() || interval > INTERVAL_MAX {
        faults.add(key, "interval must be whole seconds, from 1s to 1d");
    }
}

/// Notes every fault of the checks, plugins and scrapes.
pub(super) fn validate(config: &super::Config, faults: &mut Faults) {
    for (at, check) in config.checks.iter().enumerate() {
        check.validate(&format!("checks[{at}]"), faults);
    }
    let mut names: Vec<&str> = Vec::new();
    for (at, scrape) in config.scrape.iter().enumerate() {
        let key = format!("scrape[{at}]");
        scrape.validate(&key, faults);
        if names.contains(&scrape.name.as_str()) {
            faults.add(&key, format!("there is another scrape named {:?}", scrape.name));
        }
        names.push(&scrape.name);
    }
    config.plugins.validate(faults);
    let limits = &config.limits;
    let counts = [limits.checks_at_once, limits.scrapes_at_once, limits.scrape_bytes_max];
    if counts.contains(&0) || limits.scrape_samples_max == 0 {
        faults.add("limits", "only jobs_max may be 0");
    }
    if limits.directory_deadline.is_zero() || limits.directory_deadline > Duration::from_secs(3600)
    {
        faults.add("limits.directory_deadline", "must be between 1ms and 1h");
    }
}

#[cfg(test)]
mod tests {
    use daemon::parse_config;

    use super::super::Config;

    fn parse(text: &str) -> Result<Config, String> {
        parse_config("agent.toml", text, Config::validate).map_err(|error| error.to_string())
    }

    #[test]
    fn checks_plugins_and_scrapes_are_read() {
        let config = parse(
            r#"
            [[checks]]
            metric = "net.port.listen"
            tags = "port=22"
            [[scrape]]
            name = "node"
            url = "http://127.0.0.1:9100/metrics"
            relabel = [{ action = "labeldrop", regex = "go_.*" }]
            [plugins]
            directory = "/etc/saker/plugins"
            run = ["sys/ntp", 'sys/x/60_y.py(a, "b c")']
            "#,
        )
        .unwrap();
        assert_eq!((config.checks.len(), config.scrape.len(), config.plugins.run.len()), (1, 1, 2));
        assert_eq!(config.scrape[0].interval.0.as_secs(), 30);
    }

    #[test]
    fn every_fault_has_its_key() {
        let told = parse(
            r#"
            [[checks]]
            metric = "net.port.listen"
            tags = "port=x"
            interval = "500ms"
            [[scrape]]
            name = "a"
            url = "localhost:9100"
            timeout = "1m"
            [[scrape]]
            name = "a"
            url = "http://localhost"
            relabel = [{ action = "hashmod" }]
            [plugins]
            run = ["../x"]
            public_key = "short"
            at_once = 0
            [limits]
            checks_at_once = 0
            "#,
        )
        .unwrap_err();
        for text in [
            "checks[0]: net.port.listen takes the tags port=NUMBER",
            "checks[0]: interval",
            "scrape[0]: \"localhost:9100\"",
            "scrape[0]: timeout",
            "scrape[1]: there is another scrape named \"a\"",
            "scrape[1]: hashmod needs modulus",
            "plugins.run: \"../x\"",
            "plugins.directory:",
            "plugins.public_key:",
            "plugins: at_once",
            "limits: only jobs_max",
        ] {
            assert!(told.contains(text), "{text} in {told}");
        }
    }
}
