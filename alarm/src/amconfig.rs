//! Alertmanager's configuration file, read as it is. All or nothing: a file with a fault changes nothing, and
//! every fault is told at once with its line and how to mend it.
//!
//! A few keys of a route are ours and none of Alertmanager's: `whole_group`, `repeat_factor`,
//! `repeat_interval_max` and `escalations`.

mod intervals;
pub(crate) mod objects;
mod receivers;
mod routes;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use serde_saphyr::Spanned;

use crate::inhibit::Rule;
use crate::route::Route;
use crate::routing::secrets;
use crate::times::Interval;
use intervals::IntervalSpec;
use receivers::ReceiverSpec;
use routes::{InhibitSpec, RouteSpec};

pub(crate) use receivers::{Integration, Kind, with_globals};
pub(crate) use routes::Known;

/// A larger file is refused.
pub(crate) const FILE_BYTES_MAX: u64 = 4 << 20;
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(300);

/// Something wrong in the file. Its text begins with `line N:` when it is about a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// From 1; 0 when it is about the whole file.
    pub line: u64,
    /// What is wrong and how to mend it.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.message),
            line => write!(f, "line {line}: {}", self.message),
        }
    }
}

/// A receiver with its integrations, the defaults of `global` filled in.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ReceiverSettings {
    /// Its name.
    pub(crate) name: String,
    /// What it consists of; none makes it a receiver that is never told.
    pub(crate) integrations: Vec<Integration>,
}

/// What a file says.
#[derive(Debug)]
pub(crate) struct AlertmanagerFile {
    /// The tree.
    pub(crate) route: Route,
    /// All receivers in their order.
    pub(crate) receivers: Vec<ReceiverSettings>,
    /// What keeps what quiet.
    pub(crate) inhibit_rules: Vec<Rule>,
    /// Times by their names.
    pub(crate) intervals: BTreeMap<String, Vec<Interval>>,
    /// Patterns of template files.
    pub(crate) templates: Vec<String>,
    /// The lease of an alert whose sender gives no end.
    pub(crate) resolve_timeout: Duration,
    /// The folder that the patterns are about.
    pub(crate) folder: PathBuf,
    /// What is accepted and does not do what one may expect.
    pub(crate) warnings: Vec<String>,
    /// All of it as it is written, its secrets hidden.
    pub(crate) document: Value,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSpec {
    #[serde(default)]
    global: Option<Spanned<Map<String, Value>>>,
    #[serde(default)]
    route: Option<Spanned<RouteSpec>>,
    #[serde(default)]
    inhibit_rules: Option<Vec<Spanned<InhibitSpec>>>,
    #[serde(default)]
    receivers: Option<Vec<Spanned<ReceiverSpec>>>,
    #[serde(default)]
    templates: Option<Vec<String>>,
    #[serde(default)]
    mute_time_intervals: Option<Vec<Spanned<IntervalSpec>>>,
    #[serde(default)]
    time_intervals: Option<Vec<Spanned<IntervalSpec>>>,
    // Tracing of Alertmanager itself: nothing here to trace.
    #[serde(default)]
    tracing: Option<Value>,
}

/// Collects faults while a file is read.
#[derive(Debug, Default)]
struct Reader {
    faults: Vec<Fault>,
    warnings: Vec<String>,
}

impl Reader {
    fn fault(&mut self, line: u64, message: impl Into<String>) {
        self.faults.push(Fault { line, message: message.into() });
    }

    /// The value, or a note of the fault.
    fn take<T>(&mut self, line: u64, what: &str, read: Result<T, impl fmt::Display>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(fault) => {
                self.fault(line, format!("{what}: {fault}"));
                None
            }
        }
    }

    fn duration(
        &mut self,
        line: u64,
        key: &str,
        text: Option<&str>,
        default: Duration,
    ) -> Duration {
        match text {
            None => default,
            Some(text) => self.take(line, key, model::parse_duration(text)).unwrap_or(default),
        }
    }
}

/// Reads a file.
pub(crate) fn read(text: &str) -> Result<AlertmanagerFile, Vec<Fault>> {
    let spec: FileSpec = serde_saphyr::from_str(text).map_err(|error| vec![yaml_fault(&error)])?;
    let mut reader = Reader::default();
    let (global_line, global) =
        spec.global.map_or((0, Map::new()), |global| (line_of(&global), global.value));
    let resolve_timeout = reader.duration(
        global_line,
        "global.resolve_timeout",
        global.get("resolve_timeout").and_then(Value::as_str),
        RESOLVE_TIMEOUT,
    );
    reader.check_global(global_line, &global);
    let mut specs = spec.time_intervals.unwrap_or_default();
    specs.extend(spec.mute_time_intervals.unwrap_or_default());
    let intervals = reader.intervals(specs);
    let receivers = reader.receivers(spec.receivers.unwrap_or_default(), &global);
    let inhibit_rules = reader.inhibit_rules(spec.inhibit_rules.unwrap_or_default());
    let route = match spec.route {
        Some(route) => {
            let names = receivers.iter().map(|receiver| receiver.name.as_str()).collect();
            Some(reader.root(route, &Known { receivers: names, intervals: &intervals }))
        }
        None => {
            reader.fault(0, "there is no route; add `route:` with a receiver");
            None
        }
    };
    if spec.tracing.is_some() {
        reader
            .warnings
            .push("tracing: is for Alertmanager itself and does nothing here".to_owned());
    }
    let Reader { mut faults, warnings } = reader;
    match route {
        Some(route) if faults.is_empty() => Ok(AlertmanagerFile {
            route,
            receivers,
            inhibit_rules,
            intervals,
            templates: spec.templates.unwrap_or_default(),
            resolve_timeout,
            folder: PathBuf::new(),
            warnings,
            document: document(text),
        }),
        _ => {
            faults.sort_by_key(|fault| fault.line);
            Err(faults)
        }
    }
}

fn document(text: &str) -> Value {
    let mut document = serde_saphyr::from_str(text).unwrap_or_default();
    secrets::hide(&mut document);
    document
}

fn line_of<T>(spanned: &Spanned<T>) -> u64 {
    spanned.referenced.line()
}

// The text of the crate for people has a drawing of the place in it; the first line is the message.
pub(crate) fn yaml_fault(error: &serde_saphyr::Error) -> Fault {
    let text = error.without_snippet().to_string();
    let first = text.lines().next().unwrap_or("not valid YAML").trim_start_matches("error: ");
    let line = error.location().map_or(0, |location| location.line());
    Fault {
        line,
        message: format!("{first}; the format is that of Alertmanager's configuration file"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::route::{GroupBy, Tree};

    const MINIMAL: &str = "route: {receiver: a}\nreceivers: [{name: a}]\n";

    fn faults(text: &str) -> String {
        let faults = read(text).expect_err("the file has a fault");
        faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_file_with_everything_is_read() {
        let file = read(include_str!("../tests/it/data/everything.yml")).expect("it is valid");
        assert_eq!(file.receivers.len(), 20);
        let kinds: std::collections::HashSet<_> = file
            .receivers
            .iter()
            .flat_map(|receiver| &receiver.integrations)
            .map(|integration| integration.kind.key())
            .collect();
        assert_eq!(kinds.len(), 18, "each kind is there: {kinds:?}");
        assert_eq!(file.inhibit_rules.len(), 2);
        assert_eq!(file.intervals["offhours"].len(), 2);
        assert_eq!(file.templates, ["/etc/alertmanager/templates/*.tmpl"]);
        let tree = Tree::new(file.route);
        let labels = model::Labels::from_pairs([("team", "db"), ("severity", "critical")]);
        assert_eq!(tree.receivers_of(&labels), ["webhooks", "pages"]);
    }

    #[test]
    fn what_a_child_does_not_say_it_inherits() {
        let text = "
route:
  receiver: a
  group_by: [alertname]
  group_wait: 10s
  repeat_interval: 1h
  routes:
    - matchers: [x=y]
      group_interval: 1m
      routes:
        - match: {z: '1'}
          group_by: ['...']
          receiver: b
receivers: [{name: a}, {name: b}]
";
        let root = read(text).unwrap().route;
        let child = &root.routes[0];
        assert_eq!(child.options.receiver.as_deref(), Some("a"));
        assert_eq!(child.options.group_by, GroupBy::Labels(vec!["alertname".to_owned()]));
        assert_eq!(child.options.group_interval, Duration::from_secs(60));
        let grandchild = &child.routes[0].options;
        assert_eq!(
            (&grandchild.group_by, grandchild.group_wait),
            (&GroupBy::All, Duration::from_secs(10))
        );
        assert_eq!(grandchild.repeat.interval, Duration::from_secs(3600));
        assert!(root.mute_times.is_empty());
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let fault = faults("route:\n  receiver: a\n  group_bye: [x]\nreceivers: [{name: a}]\n");
        assert!(fault.starts_with("line 3:") && fault.contains("group_bye"), "{fault}");
        let fault = faults(
            "route: {receiver: a}\nreceivers:\n- name: a\n  webhook_configs:\n  - url: http://x/\n    ulr: y\n",
        );
        assert!(fault.starts_with("line 5:") && fault.contains("ulr"), "{fault}");
        let fault = faults(&format!("{MINIMAL}global: {{smtp_host: x}}\n"));
        assert!(fault.contains("smtp_host"), "{fault}");
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let text = "
route:
  receiver: nobody
  matchers: [a=b]
  group_wait: soon
  group_interval: 0s
  group_by: [a, a]
  routes:
    - match_re: {a: '('}
      mute_time_intervals: [night]
    - matchers: ['=']
      group_by: ['...', a]
      escalations: [{after: 5m, receiver: gone}]
receivers:
  - name: a
  - name: a
  - name: ''
  - name: b
    webhook_configs: [{send_resolved: true}]
inhibit_rules:
  - source_matchers: [a=b]
    target_matchers: ['(']
time_intervals:
  - name: x
    time_intervals: [{weekdays: [someday], location: Mars/Olympus}]
  - name: x
    time_intervals: []
";
        let faults = faults(text);
        for expected in [
            "receiver \"nobody\" is not defined",
            "root route",
            "group_wait",
            "group_interval must be longer than nothing",
            "label \"a\" is there twice",
            "match_re",
            "time interval \"night\" is not defined",
            "matchers",
            "\"...\" stands alone",
            "receiver \"gone\" is not defined",
            "receiver \"a\" is there twice",
            "has no name",
            "needs url",
            "target_matchers",
            "someday",
            "Mars/Olympus",
            "time interval \"x\" is there twice",
        ] {
            assert!(faults.contains(expected), "{expected:?} is missing in:\n{faults}");
        }
    }

    #[test]
    fn a_file_that_is_no_yaml_or_has_no_route_is_refused() {
        assert!(faults("route: [").contains("line 1"));
        assert!(faults("receivers: [{name: a}]").contains("no route"));
        assert!(read("").is_err());
    }

    #[test]
    fn globals_fill_in_what_an_integration_leaves_out() {
        let text = "
global: {slack_api_url: 'http://s/', smtp_from: 'a@b', smtp_smarthost: 'm:25'}
route: {receiver: a}
receivers:
- name: a
  slack_configs: [{channel: '#x'}, {channel: '#y', api_url: 'http://own/'}]
  email_configs: [{to: 'ops@example.org'}]
";
        let file = read(text).unwrap();
        let of = |n: usize, key: &str| {
            file.receivers[0].integrations[n].settings[key].as_str().unwrap().to_owned()
        };
        let first = |kind: Kind| {
            file.receivers[0].integrations.iter().position(|i| i.kind == kind).unwrap()
        };
        let slack = first(Kind::Slack);
        assert_eq!(
            (of(slack, "api_url"), of(slack + 1, "api_url")),
            ("http://s/".into(), "http://own/".into())
        );
        let mail = first(Kind::Email);
        assert_eq!((of(mail, "from"), of(mail, "smarthost")), ("a@b".into(), "m:25".into()));
        assert!(
            !file.receivers[0].integrations[mail].send_resolved,
            "mail does not tell ends unless asked"
        );
    }

    proptest! {
        #[test]
        fn no_file_makes_the_reader_panic(text in "[a-z:\\[\\]{}' \n-]{0,80}") {
            let _ = read(&text);
        }

        #[test]
        fn no_route_makes_the_reader_panic(key in "[a-z_]{0,12}", value in "[a-z0-9:=~\\[\\]']{0,16}") {
            let _ = read(&format!("route:\n  receiver: a\n  {key}: {value}\nreceivers: [{{name: a}}]\n"));
        }
    }
}
