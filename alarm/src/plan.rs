//! Who is told what: the routing tree, the receivers, what keeps what quiet, and when. It comes from our own
//! settings or from a file of Alertmanager, and is the same thing from then on.

mod joined;
mod written;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use db::alerts::{DeliveryResult, StoredAlert, Told};
use model::{Fingerprint, Labels, Timestamp};
use serde_json::{Value, json};
use template::Library;

use crate::amconfig::{self, AlertmanagerFile, Fault, ReceiverSettings};
use crate::config::Config;
use crate::inhibit::Rule;
use crate::matchers::parse_matcher;
use crate::notify::{Receiver, Way};
use crate::pipeline::Reason;
use crate::recipients::Recipient;
use crate::route::{GroupBy, Options, Repeat, Route, Tree};
use crate::route_labels;
use crate::routing::secrets;
use crate::texts::{self, files};
use crate::times::Interval;

/// The longest key of a receiver in the notification log.
const KEY_BYTES_MAX: usize = 60;
const INTEGRATIONS_MAX: usize = 1024;

/// An object of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    /// What it is; any word, if it was written by hand.
    pub(crate) kind: String,
    /// Its name among those of its kind.
    pub(crate) name: String,
    /// Grows with every change.
    pub(crate) version: i64,
    /// When it was changed last.
    pub(crate) changed_at: Timestamp,
    /// By whom.
    pub(crate) changed_by: String,
    /// Why it is left out; empty when it is in use.
    pub(crate) fault: String,
}

/// All decisions about who is told; never changed, but replaced as a whole by a reload.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The tree.
    pub(crate) tree: Tree,
    /// What keeps what quiet.
    pub(crate) inhibit_rules: Vec<Rule>,
    /// Times by their names.
    pub(crate) intervals: BTreeMap<String, Vec<Interval>>,
    /// Every integration of every receiver.
    pub(crate) integrations: Vec<Receiver>,
    /// Names of the receivers in the order of the settings.
    pub(crate) receivers: Vec<String>,
    /// The lease of an alert whose sender gives no end.
    pub(crate) resolve_timeout: Duration,
    /// The most groups of alerts.
    pub(crate) groups_max: usize,
    /// What was accepted and does not do what one may expect.
    pub(crate) warnings: Vec<String>,
    /// Definitions that templates may call.
    pub(crate) library: Arc<Library>,
    /// Routes, receivers and inhibition as a file of Alertmanager, without secrets: what its tools read.
    pub(crate) original: String,
    /// Where what the database does not hold comes from: a path, or `saker.toml`.
    pub(crate) origin: String,
    /// What stands there, as a file of Alertmanager with its secrets hidden.
    pub(crate) document: Value,
    /// What the database holds, and what of it is left out.
    pub(crate) stored: Vec<Stored>,
    /// The whole tree.
    pub(crate) root: Route,
    of_receiver: HashMap<String, Vec<usize>>,
}

impl Plan {
    /// Reads the file that the settings name, or the settings themselves. Fails with all faults.
    pub(crate) fn load(config: &Config) -> anyhow::Result<Self> {
        let plan = Self::read(config)?;
        Ok(Self { groups_max: config.groups_max, ..plan })
    }

    fn read(config: &Config) -> anyhow::Result<Self> {
        if config.alertmanager_config.as_os_str().is_empty() {
            return Self::from_settings(config);
        }
        let path = &config.alertmanager_config;
        let library = library(config)?;
        let plan = read_file(path)
            .and_then(|file| Self::from_file(file, config.skip_unsupported, library));
        let mut plan = plan.map_err(|faults| {
            let list: Vec<String> = faults.iter().map(Fault::to_string).collect();
            anyhow::anyhow!("{}: {}", path.display(), list.join("; "))
        })?;
        plan.address(config)?;
        plan.origin = path.display().to_string();
        Ok(plan)
    }

    /// Gives the receivers of the file the recipients that our settings name for them.
    fn address(&mut self, config: &Config) -> anyhow::Result<()> {
        for (name, texts) in &config.recipients {
            let recipients = Recipient::parse_all(texts).map_err(anyhow::Error::msg);
            let recipients = recipients.with_context(|| format!("read alarm.recipients.{name}"))?;
            let positions = self.of_receiver.get(name).map_or(&[][..], Vec::as_slice);
            let mut teams = 0;
            for position in positions {
                if let Way::Bots(team) = &mut self.integrations[*position].way {
                    Arc::make_mut(team).recipients.clone_from(&recipients);
                    teams += 1;
                }
            }
            if teams == 0 {
                let warning = "there is no receiver of this name that people can be told by";
                self.warnings.push(format!("alarm.recipients.{name}: {warning}"));
            }
        }
        Ok(())
    }

    /// Our own `[[alarm.receivers]]`: each takes what its matchers take, every alert by itself and at once.
    fn from_settings(config: &Config) -> anyhow::Result<Self> {
        let options = |receiver| Options {
            receiver,
            group_by: GroupBy::All,
            group_wait: Duration::ZERO,
            group_interval: Duration::ZERO,
            repeat: Repeat {
                interval: config.repeat_interval,
                factor: 1.0,
                interval_max: config.repeat_interval,
            },
            whole_group: false,
            labels: Labels::empty(),
        };
        let route = |matchers, receiver, routes| Route {
            matchers,
            goes_on: true,
            options: options(receiver),
            mute_times: Vec::new(),
            active_times: Vec::new(),
            escalations: Vec::new(),
            routes,
        };
        let library = Arc::new(library(config)?);
        let (mut routes, mut integrations) = (Vec::new(), Vec::new());
        for settings in &config.receivers {
            let matchers: Result<_, _> =
                settings.matchers.iter().map(|text| parse_matcher(text)).collect();
            let matchers =
                matchers.with_context(|| format!("matchers of receiver {}", settings.name))?;
            routes.push(route(matchers, Some(settings.name.clone()), Vec::new()));
            integrations.push((settings.name.clone(), Receiver::from_config(settings, &library)?));
        }
        let plan = Self::new(route(Vec::new(), None, routes), integrations, config.resolve_timeout);
        let mut document = json!({ "receivers": &config.receivers });
        secrets::hide(&mut document);
        Ok(Self { library, document, ..plan })
    }

    /// From a file of Alertmanager. The files that it names add to the library.
    pub(crate) fn from_file(
        file: AlertmanagerFile,
        skip_unsupported: bool,
        mut library: Library,
    ) -> Result<Self, Vec<Fault>> {
        let AlertmanagerFile { route, receivers, inhibit_rules, intervals, document, .. } = file;
        let (mut integrations, mut faults, mut warnings) = (Vec::new(), Vec::new(), file.warnings);
        match files::add(&mut library, &file.folder, &file.templates) {
            Ok(unused) => warnings.extend(
                unused.iter().map(|pattern| format!("templates: {pattern:?} names no file")),
            ),
            Err(found) => {
                faults.extend(found.into_iter().map(|message| Fault { line: 0, message }));
            }
        }
        warnings.extend(library.missing().iter().map(ToString::to_string));
        let library = Arc::new(library);
        let wrong = route_labels::faults(&route, &library);
        faults.extend(wrong.into_iter().map(|message| Fault { line: 0, message }));
        let names: Vec<String> = receivers.iter().map(|receiver| receiver.name.clone()).collect();
        for receiver in receivers {
            warnings.extend(unused_keys(&receiver));
            for (key, name, made) in integrations_of(receiver, &library) {
                match made {
                    Ok(made) => integrations.push((name, made)),
                    Err(fault) if skip_unsupported => {
                        warnings.push(format!("{key} is left out: {fault}"));
                    }
                    Err(fault) => {
                        faults.push(Fault { line: 0, message: format!("{key}: {fault}") })
                    }
                }
            }
        }
        if integrations.len() > INTEGRATIONS_MAX {
            let message = format!("more than {INTEGRATIONS_MAX} integrations");
            faults.push(Fault { line: 0, message });
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let original = written::original(&route, &names, &inhibit_rules);
        let plan = Self::new(route, integrations, file.resolve_timeout);
        let receivers = names;
        Ok(Self {
            inhibit_rules,
            intervals,
            receivers,
            warnings,
            library,
            original,
            document,
            ..plan
        })
    }

    fn new(root: Route, named: Vec<(String, Receiver)>, resolve_timeout: Duration) -> Self {
        let mut of_receiver: HashMap<String, Vec<usize>> = HashMap::new();
        let (mut integrations, mut receivers) = (Vec::new(), Vec::new());
        for (name, integration) in named {
            of_receiver.entry(name.clone()).or_default().push(integrations.len());
            integrations.push(integration);
            receivers.push(name);
        }
        let original = written::original(&root, &receivers, &[]);
        Self {
            tree: Tree::new(root.clone()),
            root,
            inhibit_rules: Vec::new(),
            intervals: BTreeMap::new(),
            integrations,
            receivers,
            resolve_timeout,
            groups_max: usize::MAX,
            warnings: Vec::new(),
            library: Arc::new(template::alertmanager::library()),
            original,
            origin: "saker.toml".to_owned(),
            document: Value::Null,
            stored: Vec::new(),
            of_receiver,
        }
    }

    /// The integrations of a receiver.
    pub(crate) fn integrations_of(&self, receiver: &str) -> impl Iterator<Item = &Receiver> {
        let positions = self.of_receiver.get(receiver).map_or(&[][..], Vec::as_slice);
        positions.iter().map(|at| &self.integrations[*at])
    }

    /// The integration with this key.
    pub(crate) fn integration(&self, key: &str) -> Option<&Receiver> {
        self.integrations.iter().find(|integration| integration.name == key)
    }

    /// The name of the receiver that an integration belongs to.
    pub(crate) fn receiver_of(&self, key: &str) -> Option<&str> {
        let at = self.integrations.iter().position(|integration| integration.name == key)?;
        let holds = |(_, positions): &(&String, &Vec<usize>)| positions.contains(&at);
        self.of_receiver.iter().find(holds).map(|(name, _)| name.as_str())
    }

    /// Adds to what was told to whom about these alerts that no way leads to the others.
    pub(crate) fn with_unrouted(&self, alerts: &[StoredAlert], mut told: Vec<Told>) -> Vec<Told> {
        let known: HashSet<(Fingerprint, String)> =
            told.iter().map(|entry| (entry.fingerprint, entry.receiver.clone())).collect();
        for stored in alerts {
            let fingerprint = stored.alert.fingerprint();
            let routed = self.tree.receivers_of(&stored.alert.labels);
            let routed: HashSet<&str> = routed
                .into_iter()
                .flat_map(|name| self.integrations_of(name))
                .map(|integration| integration.name.as_str())
                .collect();
            for integration in &self.integrations {
                let place = (fingerprint, integration.name.clone());
                if !routed.contains(integration.name.as_str()) && !known.contains(&place) {
                    told.push(unrouted(place, stored));
                }
            }
        }
        told
    }

    /// After how long somebody else is called, each span once.
    pub(crate) fn escalates_after(&self) -> BTreeSet<Duration> {
        self.tree.leaves().iter().filter_map(|leaf| leaf.escalates_after).collect()
    }

    /// Keys of all integrations.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.integrations.iter().map(|integration| integration.name.clone()).collect()
    }
}

fn unrouted((fingerprint, receiver): (Fingerprint, String), stored: &StoredAlert) -> Told {
    Told {
        fingerprint,
        receiver,
        sent: None,
        result: DeliveryResult::Skipped,
        tried_at: stored.alert.starts_at,
        attempts: 0,
        code: 0,
        detail: Reason::NotRouted.as_str().to_owned(),
    }
}

/// Key for people, name of the receiver, and the integration or why there is none.
type Made = (String, String, Result<Receiver, String>);

/// What the integrations of a receiver say and nothing is done with.
fn unused_keys(settings: &ReceiverSettings) -> Vec<String> {
    let mut warnings = Vec::new();
    for integration in &settings.integrations {
        let keys = texts::unused_keys(integration);
        if !keys.is_empty() {
            let (name, kind, keys) = (&settings.name, integration.kind.key(), keys.join(", "));
            warnings.push(format!("receiver {name:?}, {kind}: not used here: {keys}"));
        }
    }
    warnings
}

/// The definitions of the files that the settings name.
pub(crate) fn library(config: &Config) -> anyhow::Result<Library> {
    let mut library = template::alertmanager::library();
    match files::add(&mut library, Path::new(""), &config.templates) {
        Ok(unused) if !unused.is_empty() => {
            tracing::warn!("alarm.templates: no file is named by {}", unused.join(", "));
        }
        Ok(_) => {}
        Err(faults) => bail!("alarm.templates: {}", faults.join("; ")),
    }
    Ok(library)
}

fn integrations_of(settings: ReceiverSettings, library: &Arc<Library>) -> Vec<Made> {
    let ReceiverSettings { name, integrations } = settings;
    let is_only = integrations.len() == 1;
    let make = |(n, integration): (usize, &amconfig::Integration)| {
        let kind = integration.kind.key().trim_end_matches("_configs");
        let key = if is_only { name.clone() } else { format!("{name}/{kind}{n}") };
        let shown = format!("receiver {name:?}, {}", integration.kind.key());
        let made = Receiver::from_alertmanager(&short_key(&key), integration, library);
        (shown, name.clone(), made)
    };
    integrations.iter().enumerate().map(make).collect()
}

/// The key itself if it has room in the log, or its beginning and a hash of all of it.
fn short_key(key: &str) -> String {
    if key.len() <= KEY_BYTES_MAX {
        return key.to_owned();
    }
    let hash = model::Labels::from_pairs([("key", key)]).hash();
    let mut short: String = key.chars().take(10).collect();
    short.push_str(&format!("~{hash:016x}"));
    short
}

/// Reads a file of Alertmanager.
pub(crate) fn read_file(path: &Path) -> Result<AlertmanagerFile, Vec<Fault>> {
    let fault = |message: String| vec![Fault { line: 0, message }];
    let text = read_text(path).map_err(|error| fault(format!("{error:#}")))?;
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    amconfig::read(&text).map(|file| AlertmanagerFile { folder, ..file })
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    let size = std::fs::metadata(path).context("cannot be read")?.len();
    if size > amconfig::FILE_BYTES_MAX {
        bail!("has {size} bytes, more than {}", amconfig::FILE_BYTES_MAX);
    }
    std::fs::read_to_string(path).context("cannot be read")
}

/// What `saker ctl alarm check-config` says of a file of Alertmanager: a summary and warnings, or every fault.
pub fn check_alertmanager_file(path: &Path) -> Result<Vec<String>, Vec<Fault>> {
    let file = read_file(path)?;
    let counts = [
        (file.receivers.len(), "receivers"),
        (file.inhibit_rules.len(), "inhibit rules"),
        (file.intervals.len(), "time intervals"),
        (file.templates.len(), "templates"),
    ];
    let mut lines: Vec<String> =
        counts.iter().map(|(count, what)| format!("{count} {what}")).collect();
    let plan = Plan::from_file(file, false, template::alertmanager::library())?;
    lines.insert(0, format!("{} ways to receivers", plan.tree.leaves().len()));
    lines.extend(plan.warnings.iter().map(|warning| format!("warning: {warning}")));
    Ok(lines)
}

#[cfg(test)]
pub(crate) mod tests {
    use model::Labels;
    use template::alertmanager::library;

    use super::*;

    /// The plan of a file of Alertmanager.
    pub(crate) fn plan(text: &str) -> Plan {
        Plan::from_file(amconfig::read(text).expect("a valid file"), false, library())
            .expect("all supported")
    }

    #[test]
    fn our_own_settings_are_a_tree_in_which_every_receiver_is_asked() {
        let config: Config = toml::from_str(
            "[[receivers]]\nname = \"all\"\nwebhook_url = \"http://127.0.0.1:1/\"\n\
             [[receivers]]\nname = \"db\"\nwebhook_url = \"http://127.0.0.1:1/\"\nmatchers = ['team=db']\n",
        )
        .unwrap();
        let plan = Plan::load(&config).unwrap();
        let of = |team| plan.tree.receivers_of(&Labels::from_pairs([("team", team)]));
        assert_eq!((of("db"), of("web")), (vec!["all", "db"], vec!["all"]));
        assert_eq!(plan.keys(), ["all", "db"]);
    }

    #[test]
    fn each_integration_of_a_receiver_has_its_own_key() {
        let plan = plan(
            "route: {receiver: one}\nreceivers:\n- name: one\n  webhook_configs: [{url: 'http://x/'}]\n\
             - name: two\n  webhook_configs: [{url: 'http://x/'}, {url: 'http://y/'}]\n- name: none\n",
        );
        assert_eq!(plan.keys(), ["one", "two/webhook0", "two/webhook1"]);
        assert_eq!(plan.receivers, ["one", "two", "none"]);
        assert_eq!(plan.integrations_of("two").count(), 2);
        assert_eq!(plan.integrations_of("none").count(), 0);
    }

    #[test]
    fn a_long_name_gets_a_short_key_of_its_own() {
        let (one, other) = (short_key(&"x".repeat(70)), short_key(&"x".repeat(71)));
        assert!(one.len() <= KEY_BYTES_MAX && one != other, "{one} {other}");
        assert_eq!(short_key("ops"), "ops");
    }

    #[test]
    fn receivers_of_a_file_of_alertmanager_get_the_recipients_of_our_settings() {
        let mut plan = plan(
            "route: {receiver: one}\nreceivers:\n- name: one\n  telegram_configs: [{bot_token: 't', chat_id: 1}]\n\
             - name: two\n  webhook_configs: [{url: 'http://y/'}]\n",
        );
        let config: Config = toml::from_str(
            "[recipients]\none = [\"oncall:dba\"]\ntwo = [\"user:ann\"]\ngone = []\n",
        )
        .unwrap();
        plan.address(&config).unwrap();
        let Way::Bots(team) = &plan.integrations[0].way else { panic!("no bots") };
        assert_eq!(team.recipients, [Recipient::OnCall("dba".to_owned())]);
        assert_eq!(plan.warnings.len(), 2, "{:?}", plan.warnings);
    }

    #[test]
    fn what_cannot_be_sent_is_a_fault_that_names_it_or_a_warning_when_so_asked() {
        let text = "route: {receiver: x}\nreceivers:\n- name: x\n  sns_configs: [{topic_arn: a}]\n";
        let faults = Plan::from_file(amconfig::read(text).unwrap(), false, library())
            .expect_err("no channel");
        assert!(faults[0].message.contains("receiver \"x\", sns_configs"), "{faults:?}");
        let plan = Plan::from_file(amconfig::read(text).unwrap(), true, library()).unwrap();
        assert!(plan.warnings[0].contains("sns_configs") && plan.integrations.is_empty());
    }
}
