//! What the agent is to do now: its own configuration and the state that hbs wants, in one. Pure.
//!
//! The configuration wins wherever both speak of the same thing. What of the wanted state cannot be done is a
//! fault with a name; the rest of it is done all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use model::{ENDPOINT, METRIC_NAME, RelabelRule, is_label_name};
use reqwest::Url;
use wire::heartbeat::{Check, DesiredState, MetricsFormat, PluginRun, ScrapeJob};

use crate::catalogue::Group;
use crate::config::{Config, GroupSettings, INTERVAL_MAX, ScrapeSettings};
use crate::plugin::naming;
use crate::relabel::Lite;

const LABELS_MAX: usize = 64;
const LABEL_BYTES_MAX: usize = 255;
const ARGS_MAX: usize = 64;
const ARG_BYTES_MAX: usize = 4096;
/// The wait for a URL that is checked, at most.
const URL_TIMEOUT_MAX: Duration = Duration::from_secs(60);
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);
/// A plugin has its interval less this, as with Open-Falcon.
const PLUGIN_MARGIN: Duration = Duration::from_millis(500);
/// So many faults are told to hbs, each cut to so many bytes.
const FAULTS_MAX: usize = 16;
const FAULT_BYTES_MAX: usize = 255;

/// A check and how often it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckJob {
    /// What is looked at.
    pub check: Check,
    /// How often.
    pub interval: Duration,
}

/// A plugin and how it is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginJob {
    /// Its path with its bundle, if it is of one: label `plugin` of its status.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// How often it is run.
    pub interval: Duration,
    /// After how long it is killed.
    pub timeout: Duration,
    /// What it prints.
    pub format: MetricsFormat,
}

/// An exporter and how it is scraped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Label `job`.
    pub name: String,
    /// Where it is read.
    pub url: Url,
    /// How often.
    pub interval: Duration,
    /// How long a scrape may take.
    pub timeout: Duration,
    /// Labels put on every sample.
    pub labels: BTreeMap<String, String>,
    /// What is done with the labels of the scraped series.
    pub relabel: Vec<RelabelRule>,
    /// A scrape with more samples fails.
    pub samples_max: usize,
}

/// All that is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Names the wanted state that this was made from; empty without one.
    pub hash: String,
    /// Time between two heartbeats; `None` until hbs has named one.
    pub heartbeat_interval: Option<Duration>,
    /// Labels put on every sample besides `endpoint`.
    pub labels: BTreeMap<String, String>,
    /// Groups of metrics and how often they are measured.
    pub groups: Vec<(Group, Duration)>,
    /// Checks.
    pub checks: Vec<CheckJob>,
    /// Plugins.
    pub plugins: Vec<PluginJob>,
    /// Exporters.
    pub targets: Vec<Target>,
    /// The bundles in use, as `name@digest` with the first digits.
    pub plugin_version: String,
    /// What of the wanted state is not done, and why.
    pub faults: Vec<String>,
}

/// What a plan is made from.
#[derive(Debug)]
pub struct Sources<'a> {
    /// The agent's own configuration.
    pub config: &'a Config,
    /// The host's name.
    pub endpoint: &'a str,
    /// What hbs wants.
    pub desired: &'a DesiredState,
    /// Whether hbs has said so; else `desired` is the default.
    pub is_told: bool,
    /// Local plugins to run: arguments by their path below the plugin folder.
    pub scripts: &'a BTreeMap<String, Vec<String>>,
    /// Where the bundles are that were fetched and verified, by name.
    pub bundles: &'a BTreeMap<String, PathBuf>,
    /// Why other bundles are not there.
    pub bundle_faults: &'a [String],
}

impl Sources<'_> {
    /// The plan.
    pub fn plan(&self) -> Plan {
        let mut faults: Vec<String> = self.desired.unread.clone();
        let plan = Plan {
            hash: self.desired.hash.clone(),
            heartbeat_interval: self.heartbeat_interval(),
            labels: self.labels(&mut faults),
            groups: self.groups(&mut faults),
            checks: self.checks(&mut faults),
            plugins: self.plugins(&mut faults),
            targets: self.targets(&mut faults),
            plugin_version: self.plugin_version(),
            faults: Vec::new(),
        };
        faults.extend_from_slice(self.bundle_faults);
        Plan { faults: presentable(faults), ..plan }
    }

    fn heartbeat_interval(&self) -> Option<Duration> {
        let seconds = u64::from(self.desired.heartbeat_interval_seconds);
        self.is_told.then_some(Duration::from_secs(seconds))
    }

    fn labels(&self, faults: &mut Vec<String>) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        for (name, value) in &self.desired.labels {
            let is_free = is_label_name(name) && name != ENDPOINT && name != METRIC_NAME;
            if !is_free || value.len() > LABEL_BYTES_MAX || labels.len() >= LABELS_MAX {
                faults.push(format!("label {name}: is not one that may be set"));
            } else {
                labels.insert(name.clone(), value.clone());
            }
        }
        labels.extend(self.config.labels.clone());
        labels
    }

    // A group whose interval the configuration names, or which it switches, is out of reach for hbs.
    fn groups(&self, faults: &mut Vec<String>) -> Vec<(Group, Duration)> {
        let mut config = Config { groups: self.config.groups.clone(), ..Config::default() };
        for (name, &seconds) in &self.desired.tiers {
            let Some(group) = Group::named(name) else {
                faults.push(format!("tier {name}: there is no such group of metrics"));
                continue;
            };
            let interval = Duration::from_secs(u64::from(seconds));
            let is_fit = interval > self.config.transfer.spread && seconds <= 3600;
            if seconds > 0 && !is_fit {
                let fault = "must be longer than transfer.spread and at most 3600 s";
                faults.push(format!("tier {name}: {fault}"));
                continue;
            }
            let own = config.groups.remove(&group).unwrap_or_default();
            let interval = own.interval.or((seconds > 0).then_some(interval.into()));
            let is_on = own.enabled.or(own.interval.is_none().then_some(seconds > 0));
            config.groups.insert(group, GroupSettings { enabled: is_on, interval });
        }
        config.enabled_groups()
    }

    fn checks(&self, faults: &mut Vec<String>) -> Vec<CheckJob> {
        let mut jobs: Vec<CheckJob> = Vec::new();
        for own in &self.config.checks {
            // The configuration was validated: what it names is a check.
            let Ok(check) = Check::of_strategy(&own.metric, &own.tags) else { continue };
            let interval = own.interval.map_or(check_interval(&check), |interval| interval.0);
            if !jobs.iter().any(|job| job.check == check) {
                jobs.push(CheckJob { check, interval });
            }
        }
        for check in &self.desired.checks {
            if jobs.iter().any(|job| job.check == *check) {
                continue;
            }
            match check_fault(check) {
                Some(fault) => faults.push(format!("{}: {fault}", check_name(check))),
                None => {
                    jobs.push(CheckJob { interval: check_interval(check), check: check.clone() })
                }
            }
        }
        self.bounded("checks", jobs, faults)
    }

    fn plugins(&self, faults: &mut Vec<String>) -> Vec<PluginJob> {
        let mut jobs = Vec::new();
        let folder = self.config.plugins.directory.clone().unwrap_or_default();
        for (path, args) in self.scripts {
            let file = path.rsplit('/').next().unwrap_or(path);
            let Some(seconds) = naming::interval_seconds(file) else { continue };
            let interval = Duration::from_secs(u64::from(seconds));
            jobs.push(PluginJob {
                name: path.clone(),
                program: folder.join(path),
                args: args.clone(),
                interval,
                timeout: plugin_timeout(interval, Duration::ZERO),
                format: MetricsFormat::Detect,
            });
        }
        if !self.config.plugins.from_hbs {
            if !self.desired.plugins.is_empty() {
                let fault = "plugins.from_hbs is off on this host";
                faults.push(format!("{} plugins: {fault}", self.desired.plugins.len()));
            }
            return self.bounded("plugins", jobs, faults);
        }
        for run in &self.desired.plugins {
            match self.hbs_plugin(run) {
                Ok(Some(job)) if jobs.iter().any(|other: &PluginJob| other.name == job.name) => {
                    faults.push(format!("plugin {}: is there twice", job.name));
                }
                Ok(job) => jobs.extend(job),
                Err(fault) => faults.push(format!("plugin {}/{}: {fault}", run.bundle, run.path)),
            }
        }
        self.bounded("plugins", jobs, faults)
    }

    // `None` while its bundle is not there: that is the bundle's fault, or it is just being fetched.
    fn hbs_plugin(&self, run: &PluginRun) -> Result<Option<PluginJob>, &'static str> {
        let bundle = self.desired.bundles.iter().find(|bundle| bundle.name == run.bundle);
        let file = bundle.ok_or("there is no such bundle")?;
        let file = file.files.iter().find(|file| file.path == run.path);
        if !file.ok_or("the bundle has no such file")?.executable {
            return Err("the file is not executable");
        }
        let interval = Duration::from_secs(u64::from(run.interval_seconds));
        if interval.is_zero() || interval > INTERVAL_MAX {
            return Err("the interval must be 1 to 86400 s");
        }
        let is_long = |arg: &String| arg.len() > ARG_BYTES_MAX || arg.contains('\0');
        if run.args.len() > ARGS_MAX || run.args.iter().any(is_long) {
            return Err("has more than 64 arguments, or one that is too long");
        }
        let Some(folder) = self.bundles.get(&run.bundle) else { return Ok(None) };
        let timeout = Duration::from_secs(u64::from(run.timeout_seconds));
        Ok(Some(PluginJob {
            name: format!("{}/{}", run.bundle, run.path),
            program: folder.join(&run.path),
            args: run.args.clone(),
            interval,
            timeout: plugin_timeout(interval, timeout),
            format: run.format,
        }))
    }

    fn targets(&self, faults: &mut Vec<String>) -> Vec<Target> {
        let samples_max = self.config.limits.scrape_samples_max;
        let mut targets: Vec<Target> = Vec::new();
        for own in &self.config.scrape {
            let Ok(url) = Url::parse(&own.url) else { continue };
            let interval = own.interval.0;
            let ScrapeSettings { name, labels, relabel, .. } = own.clone();
            targets.push(Target {
                name,
                url,
                interval,
                timeout: own.timeout.map_or(SCRAPE_TIMEOUT, |own| own.0).min(interval),
                labels,
                relabel,
                samples_max: own.samples_max.unwrap_or(samples_max),
            });
        }
        for job in &self.desired.scrapes {
            if targets.iter().any(|target| target.name == job.name) {
                continue;
            }
            match self.hbs_target(job) {
                Ok(target) => targets.push(target),
                Err(fault) => faults.push(format!("scrape {}: {fault}", job.name)),
            }
        }
        self.bounded("scrapes", targets, faults)
    }

    fn hbs_target(&self, job: &ScrapeJob) -> Result<Target, String> {
        let url = Url::parse(&job.url).map_err(|error| format!("{:?}: {error}", job.url))?;
        if !matches!(url.scheme(), "http" | "https") || !self.is_here(&url) {
            return Err(format!("{:?} is not an http address of this very host", job.url));
        }
        let interval = Duration::from_secs(u64::from(job.interval_seconds));
        if interval.is_zero() || interval > INTERVAL_MAX || job.name.is_empty() {
            return Err("must have a name and an interval of 1 to 86400 s".to_owned());
        }
        if job.labels.len() > LABELS_MAX || job.labels.keys().any(|name| !is_label_name(name)) {
            return Err("has a label that is no label name, or more than 64".to_owned());
        }
        if let Some(fault) = job.relabel.iter().flat_map(RelabelRule::faults::<Lite>).next() {
            return Err(fault);
        }
        let timeout = match job.timeout_seconds {
            0 => SCRAPE_TIMEOUT,
            seconds => Duration::from_secs(u64::from(seconds)),
        };
        let wanted = usize::try_from(job.samples_max).ok().filter(|wanted| *wanted > 0);
        let samples_max = self.config.limits.scrape_samples_max;
        let ScrapeJob { name, labels, relabel, .. } = job.clone();
        Ok(Target {
            name,
            url,
            interval,
            timeout: timeout.min(interval),
            labels,
            relabel,
            samples_max: wanted.map_or(samples_max, |wanted| wanted.min(samples_max)),
        })
    }

    // hbs could else make a whole fleet knock at any door of the network.
    fn is_here(&self, url: &Url) -> bool {
        let Some(host) = url.host_str() else { return false };
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        let is_loopback = address.map_or(host == "localhost", |address| address.is_loopback());
        is_loopback || host.eq_ignore_ascii_case(self.endpoint)
    }

    fn plugin_version(&self) -> String {
        let digest = |name: &String| {
            let bundle = self.desired.bundles.iter().find(|bundle| bundle.name == *name)?;
            Some(format!("{name}@{}", bundle.digest.get(..12)?))
        };
        let all: Vec<String> = self.bundles.keys().filter_map(digest).collect();
        cut(&all.join(","), FAULT_BYTES_MAX).to_owned()
    }

    fn bounded<T>(&self, what: &str, mut jobs: Vec<T>, faults: &mut Vec<String>) -> Vec<T> {
        let max = self.config.limits.jobs_max;
        if jobs.len() > max {
            faults.push(format!("{} {what}, more than limits.jobs_max = {max}", jobs.len()));
            jobs.truncate(max);
        }
        jobs
    }
}

/// How often a check is made unless the configuration says so.
fn check_interval(check: &Check) -> Duration {
    Duration::from_secs(match check {
        Check::PortListen { .. } | Check::ProcNum(_) | Check::ProcUsage(_) => 30,
        Check::UrlHealth { .. } => 60,
        Check::DirectorySize { .. } => 120,
    })
}

/// How long a URL that is checked may take to answer.
pub fn url_timeout(seconds: u32) -> Duration {
    Duration::from_secs(u64::from(seconds.max(1))).min(URL_TIMEOUT_MAX)
}

/// A check as an Open-Falcon counter: `net.port.listen/port=22`.
pub fn check_name(check: &Check) -> String {
    let tags: Vec<String> =
        check.tags().iter().map(|(tag, value)| format!("{tag}={value}")).collect();
    let metric = check.metrics().first().copied().unwrap_or_default();
    format!("{metric}/{}", tags.join(","))
}

fn check_fault(check: &Check) -> Option<&'static str> {
    let is_text = |text: &str| text.len() <= 1024 && !text.chars().any(char::is_control);
    match check {
        Check::PortListen { .. } => None,
        Check::ProcNum(processes) | Check::ProcUsage(processes) => {
            let is_any = processes.name.is_empty() && processes.cmdline.is_empty();
            let is_bad = is_any || !is_text(&processes.name) || !is_text(&processes.cmdline);
            is_bad.then_some("needs a name or a part of the command line")
        }
        Check::DirectorySize { path } => {
            let is_fit = path.starts_with('/') && is_text(path);
            (!is_fit).then_some("needs an absolute path")
        }
        Check::UrlHealth { url, .. } => {
            let is_http = |url: Url| matches!(url.scheme(), "http" | "https") && url.has_host();
            let is_fit = is_text(url) && Url::parse(url).is_ok_and(is_http);
            (!is_fit).then_some("needs an http or https address")
        }
    }
}

fn plugin_timeout(interval: Duration, wanted: Duration) -> Duration {
    let most = interval.saturating_sub(PLUGIN_MARGIN);
    if wanted.is_zero() { most } else { wanted.min(most) }
}

// hbs refuses a heartbeat with more, longer, or with control characters.
fn presentable(faults: Vec<String>) -> Vec<String> {
    let distinct: BTreeSet<String> = faults
        .iter()
        .map(|fault| {
            let plain: String =
                fault.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            cut(&plain, FAULT_BYTES_MAX).to_owned()
        })
        .collect();
    let more = distinct.len().saturating_sub(FAULTS_MAX);
    let mut told: Vec<String> = distinct.into_iter().take(FAULTS_MAX).collect();
    if let (1.., Some(last)) = (more, told.last_mut()) {
        *last = format!("and {} more faults", more + 1);
    }
    told
}

fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use wire::heartbeat::{PluginBundle, PluginFile, ProcessMatch};

    use super::*;
    use crate::config::{CheckSettings, Interval};

    fn plan_of(config: &Config, desired: &DesiredState) -> Plan {
        let bundles = BTreeMap::from([("base".to_owned(), PathBuf::from("/b/base"))]);
        let scripts = BTreeMap::from([("sys/60_a.sh".to_owned(), vec!["x".to_owned()])]);
        let sources = Sources {
            config,
            endpoint: "web-01",
            desired,
            is_told: true,
            scripts: &scripts,
            bundles: &bundles,
            bundle_faults: &[],
        };
        sources.plan()
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_configuration_wins_over_hbs() {
        let mut config = Config::default();
        config.labels.insert("idc".into(), "bj".into());
        let own = GroupSettings { enabled: None, interval: Some(Interval(seconds(60))) };
        config.groups.insert(Group::Disk, own);
        let off = GroupSettings { enabled: Some(false), interval: None };
        config.groups.insert(Group::Network, off);
        config.checks.push(CheckSettings {
            metric: "net.port.listen".into(),
            tags: "port=22".into(),
            interval: Some(Interval(seconds(5))),
        });
        let tiers = ["disk", "network", "percore", "tcp"].map(|name| (name.to_owned(), 20));
        let desired = DesiredState {
            labels: BTreeMap::from([("idc".into(), "sh".into()), ("env".into(), "prod".into())]),
            tiers: BTreeMap::from_iter(tiers.into_iter().chain([("load".to_owned(), 0)])),
            checks: vec![Check::PortListen { port: 22 }, Check::PortListen { port: 80 }],
            ..DesiredState::default()
        };
        let plan = plan_of(&config, &desired);
        assert_eq!(plan.faults, Vec::<String>::new());
        assert_eq!(plan.labels["idc"], "bj");
        assert_eq!(plan.labels["env"], "prod");
        let groups: BTreeMap<_, _> = plan.groups.into_iter().collect();
        assert_eq!(groups.get(&Group::Disk), Some(&seconds(60)));
        assert_eq!(groups.get(&Group::Network), None);
        assert_eq!(groups.get(&Group::Load), None);
        assert_eq!((groups[&Group::Percore], groups[&Group::Tcp]), (seconds(20), seconds(20)));
        let intervals: Vec<_> = plan.checks.iter().map(|job| job.interval).collect();
        assert_eq!(intervals, [seconds(5), seconds(30)]);
    }

    #[test]
    fn what_cannot_be_done_is_told_and_the_rest_is_done() {
        let desired = DesiredState {
            hash: "h1".into(),
            labels: BTreeMap::from([("endpoint".into(), "x".into()), ("a".into(), "1".into())]),
            tiers: BTreeMap::from([("gpu".into(), 10), ("cpu".into(), 1), ("disk".into(), 60)]),
            checks: vec![
                Check::ProcNum(ProcessMatch::default()),
                Check::DirectorySize { path: "data".into() },
                Check::UrlHealth { url: "ftp://x".into(), timeout: 1 },
                Check::PortListen { port: 1 },
            ],
            scrapes: vec![scrape("far", "http://10.0.0.1:9100/metrics"), scrape("near", HERE)],
            unread: vec!["check 4: unknown variant `gpu`\n".into()],
            ..DesiredState::default()
        };
        let plan = plan_of(&Config::default(), &desired);
        assert_eq!(
            plan.faults.iter().map(|fault| fault.split(": ").next().unwrap()).collect::<Vec<_>>(),
            [
                "check 4",
                "du.bs/path=data",
                "label endpoint",
                "proc.num/",
                "scrape far",
                "tier cpu",
                "tier gpu",
                "url.check.health/url=ftp://x,timeout=1"
            ]
        );
        assert_eq!((plan.hash.as_str(), plan.checks.len(), plan.labels.len()), ("h1", 1, 1));
        assert_eq!(plan.targets[0].name, "near");
        assert!(plan.groups.contains(&(Group::Disk, seconds(60))));
    }

    const HERE: &str = "http://web-01:9100/metrics";

    fn scrape(name: &str, url: &str) -> ScrapeJob {
        ScrapeJob {
            name: name.into(),
            url: url.into(),
            interval_seconds: 5,
            timeout_seconds: 0,
            labels: BTreeMap::new(),
            relabel: Vec::new(),
            samples_max: 0,
        }
    }

    #[test]
    fn scrapes_of_hbs_stay_on_the_host() {
        let config = Config::default();
        let desired = DesiredState::default();
        let none = BTreeMap::new();
        let sources = Sources {
            config: &config,
            endpoint: "web-01",
            desired: &desired,
            is_told: true,
            scripts: &BTreeMap::new(),
            bundles: &none,
            bundle_faults: &[],
        };
        for here in ["http://127.0.0.1:1", "http://localhost/m", "http://[::1]:9", HERE] {
            assert!(sources.hbs_target(&scrape("a", here)).is_ok(), "{here}");
        }
        for far in
            ["http://web-02", "http://169.254.169.254/", "http://127.0.0.1.x.io", "file:///etc"]
        {
            assert!(sources.hbs_target(&scrape("a", far)).is_err(), "{far}");
        }
    }

    fn plugin(path: &str, timeout_seconds: u32) -> PluginRun {
        PluginRun {
            bundle: "base".into(),
            path: path.into(),
            args: Vec::new(),
            interval_seconds: 10,
            timeout_seconds,
            format: MetricsFormat::Detect,
        }
    }

    #[test]
    fn plugins_of_hbs_need_the_operators_word() {
        let file = |path: &str, executable| PluginFile {
            path: path.into(),
            sha256: String::new(),
            bytes: 0,
            executable,
        };
        let bundle = PluginBundle {
            name: "base".into(),
            digest: "0123456789abcdef".into(),
            signature: String::new(),
            files: vec![file("10_a", true), file("lib", false)],
        };
        let plugins = [("10_a", 3), ("lib", 0), ("none", 0)];
        let desired = DesiredState {
            bundles: vec![bundle],
            plugins: plugins.map(|(path, timeout)| plugin(path, timeout)).into(),
            ..DesiredState::default()
        };
        let mut config = Config::default();
        let plan = plan_of(&config, &desired);
        assert_eq!(plan.faults, ["3 plugins: plugins.from_hbs is off on this host"]);
        assert_eq!(plan.plugins.len(), 1, "the local one");
        config.plugins.from_hbs = true;
        let plan = plan_of(&config, &desired);
        assert_eq!(
            plan.faults,
            [
                "plugin base/lib: the file is not executable",
                "plugin base/none: the bundle has no such file"
            ]
        );
        let job = plan.plugins.iter().find(|job| job.name == "base/10_a").unwrap();
        assert_eq!(job.program, PathBuf::from("/b/base/10_a"));
        assert_eq!(job.timeout, seconds(3));
        assert_eq!(plan.plugins[0].timeout, Duration::from_millis(59_500));
        assert_eq!(plan.plugin_version, "base@0123456789ab");
    }

    #[test]
    fn faults_fit_into_a_heartbeat() {
        let faults: Vec<String> = (10..40).map(|n| format!("{n}\n{}", "é".repeat(200))).collect();
        let told = presentable(faults);
        assert_eq!((told.len(), told[15].as_str()), (16, "and 15 more faults"));
        assert!(told.iter().all(|fault| fault.len() <= 255 && !fault.contains('\n')));
    }
}
