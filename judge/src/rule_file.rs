//! Rule files in Prometheus' format, and single groups of the same form from the API. All or nothing: a file
//! with a fault gives no group, and every fault is told at once with file, line, group, rule and how to mend
//! it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_saphyr::Spanned;

use crate::rule_extras::{Extras, ExtrasSpec, NO_DATA, SEVERITY};
use crate::rule_fault::Fault;
use crate::rule_spec::{self, FileSpec, GroupSpec, RuleSpec, line_of};
use crate::rules::{DATABASE, GroupKey, Query, Rule, RuleGroup, RuleKind};
use crate::template::Template;

/// What groups that do not say otherwise get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Defaults {
    /// `interval`.
    pub(crate) interval: Duration,
    /// `query_offset`.
    pub(crate) query_offset: Duration,
    /// `on_arrival`.
    pub(crate) on_arrival: bool,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { interval: Duration::from_secs(60), query_offset: Duration::ZERO, on_arrival: true }
    }
}

/// Reads a rule file.
pub(crate) fn read_file(
    file: &str,
    text: &str,
    defaults: &Defaults,
) -> Result<Vec<RuleGroup>, Vec<Fault>> {
    let mut reader = Reader { file, defaults, group: String::new(), faults: Vec::new() };
    let Some(spec) = reader.yaml::<FileSpec>(text) else { return Err(reader.faults) };
    let mut names = HashSet::new();
    let mut groups = Vec::new();
    for group in spec.groups.unwrap_or_default() {
        reader.group = group.name.as_ref().map_or(String::new(), |name| name.value.clone());
        if !reader.group.is_empty() && !names.insert(reader.group.clone()) {
            let line = group.name.as_ref().map_or(0, line_of);
            reader.fault(
                line,
                "",
                "there is another group of this name in this file; rename one of them",
            );
        }
        groups.push(reader.group(group));
    }
    reader.outcome(groups)
}

/// Reads one group of the API, as YAML or JSON. Its name may be left out; when given it must be `name`.
pub(crate) fn read_group(
    name: &str,
    text: &str,
    defaults: &Defaults,
) -> Result<RuleGroup, Vec<Fault>> {
    let mut reader =
        Reader { file: DATABASE, defaults, group: name.to_owned(), faults: Vec::new() };
    let Some(spec) = reader.yaml::<GroupSpec>(text) else { return Err(reader.faults) };
    if spec.rules.is_none() {
        // An empty body must not end the alerts of a group that is there.
        reader.fault(
            0,
            "",
            "there are no rules; write them under `rules:` (`rules: []` for none at all)",
        );
    }
    if let Some(given) = spec.name.as_ref().filter(|given| given.value != name) {
        let message =
            format!("the body names the group {:?}; make it the name in the address", given.value);
        reader.fault(line_of(given), "", message);
    }
    let group = reader.group(spec);
    reader.outcome(group)
}

struct Reader<'a> {
    file: &'a str,
    defaults: &'a Defaults,
    group: String,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn fault(&mut self, line: u64, rule: &str, message: impl Into<String>) {
        let (file, group) = (self.file.to_owned(), self.group.clone());
        self.faults.push(Fault {
            file,
            line,
            group,
            rule: rule.to_owned(),
            message: message.into(),
        });
    }

    fn outcome<T>(mut self, read: T) -> Result<T, Vec<Fault>> {
        self.faults.sort_by_key(|fault| fault.line);
        if self.faults.is_empty() { Ok(read) } else { Err(self.faults) }
    }

    fn yaml<T: DeserializeOwned>(&mut self, text: &str) -> Option<T> {
        match rule_spec::read(self.file, text) {
            Ok(spec) => Some(spec),
            Err((line, message)) => {
                self.fault(line, "", message);
                None
            }
        }
    }

    fn group(&mut self, spec: GroupSpec) -> RuleGroup {
        // A group of the API may leave its name to the address.
        let (name, line) = match spec.name {
            Some(name) => (name.value.clone(), line_of(&name)),
            None => (self.group.clone(), 0),
        };
        self.group.clone_from(&name);
        if name.is_empty() {
            self.fault(line, "", "a group has no name; add `name:`");
        }
        let interval = self.duration("interval", spec.interval, "", self.defaults.interval);
        if interval.is_zero() {
            self.fault(line, "", "the interval must be longer than nothing, such as 30s");
        }
        let query_offset =
            self.duration("query_offset", spec.query_offset, "", self.defaults.query_offset);
        let labels = spec.labels.unwrap_or_default();
        let mut rules = Vec::new();
        for (i, rule) in spec.rules.unwrap_or_default().into_iter().enumerate() {
            rules.extend(self.rule(i + 1, rule, &labels));
        }
        let key = GroupKey { file: self.file.to_owned(), name };
        let on_arrival = spec.on_arrival.unwrap_or(self.defaults.on_arrival);
        let (limit, owner) = (spec.limit.unwrap_or(0), String::new());
        RuleGroup { key, interval, limit, query_offset, on_arrival, owner, rules }
    }

    fn rule(
        &mut self,
        number: usize,
        spec: Spanned<RuleSpec>,
        group_labels: &BTreeMap<String, String>,
    ) -> Option<Rule> {
        let (line, mut spec) = (line_of(&spec), spec.value);
        let (which, kind, name) = self.naming(number, line, &spec)?;
        let query = self.expression(line, &which, spec.expr.take());
        let extras_spec = spec.take_extras();
        let extras = self.extras(&which, &extras_spec, &query, &spec.labels);
        let mut labels = spec.labels.take().unwrap_or_default();
        if let (Some(severity), Some(priority)) = (extras_spec.severity(), &extras_spec.priority) {
            let place = (priority.referenced, priority.defined);
            let severity = Spanned { value: severity, referenced: place.0, defined: place.1 };
            labels.insert(SEVERITY.to_owned(), severity);
        }
        let labels = self.labels(line, &which, kind, Some(labels), group_labels);
        let kind = if kind == "alert" {
            let hold = self.duration("for", spec.hold, &which, Duration::ZERO);
            let keep = spec.keep_firing_for;
            let keep_firing_for = self.duration("keep_firing_for", keep, &which, Duration::ZERO);
            let mut annotations = self.templates("annotation", line, &which, spec.annotations);
            self.extra_annotations(&which, &extras_spec, &mut annotations);
            RuleKind::Alerting { hold, keep_firing_for, annotations }
        } else {
            self.refuse_alerting_only(line, &which, &spec, &extras_spec);
            if name.contains(['{', '}']) {
                self.fault(
                    line,
                    &which,
                    "the recorded name holds a brace; put labels under `labels`",
                );
            }
            RuleKind::Recording
        };
        Some(Rule { name, query: query?, labels, kind, extras })
    }

    /// What a rule is called, in faults and elsewhere, and of which kind it is.
    fn naming(
        &mut self,
        number: usize,
        line: u64,
        spec: &RuleSpec,
    ) -> Option<(String, &'static str, String)> {
        let names = [("alert", &spec.alert), ("record", &spec.record)];
        let names: Vec<(&str, &Spanned<String>)> =
            names.iter().filter_map(|(kind, name)| Some((*kind, name.as_ref()?))).collect();
        let which = match names.first() {
            Some((kind, name)) => format!("rule {number} ({kind} {:?})", name.value),
            None => format!("rule {number}"),
        };
        let &[(kind, name)] = names.as_slice() else {
            self.fault(
                line,
                &which,
                "a rule has either `alert` or `record`; give exactly one of them",
            );
            return None;
        };
        if name.value.is_empty() {
            self.fault(line_of(name), &which, format!("`{kind}` is empty; name the rule"));
        }
        Some((which, kind, name.value.clone()))
    }

    fn refuse_alerting_only(
        &mut self,
        line: u64,
        which: &str,
        spec: &RuleSpec,
        extras: &ExtrasSpec,
    ) {
        let of_prometheus = [
            ("for", spec.hold.is_some()),
            ("keep_firing_for", spec.keep_firing_for.is_some()),
            ("annotations", spec.annotations.is_some()),
        ];
        let given =
            of_prometheus.iter().filter(|(_, given)| *given).map(|(field, _)| (*field, line));
        for (field, line) in given.chain(extras.given()) {
            self.fault(line, which, format!("`{field}` is for alerting rules only; remove it"));
        }
    }

    fn extras(
        &mut self,
        which: &str,
        spec: &ExtrasSpec,
        query: &Option<Query>,
        labels: &Option<BTreeMap<String, Spanned<String>>>,
    ) -> Extras {
        let (extras, faults) = spec.read(query.as_ref().map(|query| query.expr.as_ref()));
        let lines: BTreeMap<&str, u64> = spec.given().into_iter().collect();
        for (field, fault) in faults {
            let line = lines.get(field).copied().unwrap_or(0);
            self.fault(line, which, format!("`{field}`: {fault}"));
        }
        let has = |name: &str| labels.as_ref().and_then(|labels| labels.get(name)).map(line_of);
        if let (Some(line), true) = (has(SEVERITY), spec.priority.is_some()) {
            let fault = "`priority` sets the label \"severity\", which `labels` sets too; keep one";
            self.fault(line, which, fault);
        }
        if let (Some(line), true) = (has(NO_DATA), extras.no_data_alert().is_some()) {
            let fault = "`no_data: alert` sets the label \"no_data\"; choose another name";
            self.fault(line, which, fault);
        }
        extras
    }

    fn extra_annotations(
        &mut self,
        which: &str,
        spec: &ExtrasSpec,
        annotations: &mut Vec<(String, Template)>,
    ) {
        for (name, text, line) in spec.annotations() {
            if annotations.iter().any(|(given, _)| given == name) {
                let fault =
                    format!("the annotation {name:?} is given twice; remove it from `annotations`");
                self.fault(line, which, fault);
                continue;
            }
            match Template::parse(&text) {
                Ok(template) => annotations.push((name.to_owned(), template)),
                Err(error) => self.fault(line, which, format!("{name}: {error}")),
            }
        }
        annotations.sort_by(|a, b| a.0.cmp(&b.0));
    }

    fn expression(
        &mut self,
        line: u64,
        which: &str,
        expr: Option<Spanned<String>>,
    ) -> Option<Query> {
        let Some(expr) = expr.filter(|expr| !expr.value.trim().is_empty()) else {
            self.fault(line, which, "the rule has no `expr`; add the PromQL expression");
            return None;
        };
        match promql::parse(&expr.value) {
            Ok(parsed) => Some(Query { text: expr.value, expr: Arc::new(parsed) }),
            Err(error) => {
                self.fault(line_of(&expr), which, format!("expr {error}"));
                None
            }
        }
    }

    fn labels(
        &mut self,
        line: u64,
        which: &str,
        kind: &str,
        labels: Option<BTreeMap<String, Spanned<String>>>,
        group_labels: &BTreeMap<String, String>,
    ) -> Vec<(String, Template)> {
        let of_group =
            group_labels.iter().map(|(name, value)| (name.clone(), (value.clone(), line)));
        let mut merged: BTreeMap<String, (String, u64)> = of_group.collect();
        for (name, value) in labels.unwrap_or_default() {
            let line = line_of(&value);
            merged.insert(name, (value.value, line));
        }
        let mut templates = Vec::with_capacity(merged.len());
        for (name, (value, line)) in merged {
            if name.is_empty() || name == model::METRIC_NAME {
                let fault = format!("a rule cannot set the label {name:?}; use another name");
                self.fault(line, which, fault);
            }
            // Prometheus takes the labels of recording rules as they are.
            let template = if kind == "alert" {
                Template::parse(&value)
            } else {
                Ok(Template::verbatim(&value))
            };
            match template {
                Ok(template) => templates.push((name, template)),
                Err(error) => self.fault(line, which, format!("label {name:?}: {error}")),
            }
        }
        templates
    }

    fn templates(
        &mut self,
        what: &str,
        line: u64,
        which: &str,
        texts: Option<BTreeMap<String, Spanned<String>>>,
    ) -> Vec<(String, Template)> {
        let mut templates = Vec::new();
        for (name, text) in texts.unwrap_or_default() {
            if name.is_empty() {
                self.fault(line, which, format!("an {what} has an empty name; name it"));
            }
            match Template::parse(&text.value) {
                Ok(template) => templates.push((name, template)),
                Err(error) => {
                    self.fault(line_of(&text), which, format!("{what} {name:?}: {error}"))
                }
            }
        }
        templates
    }

    fn duration(
        &mut self,
        key: &str,
        text: Option<Spanned<String>>,
        which: &str,
        default: Duration,
    ) -> Duration {
        let Some(text) = text else { return default };
        match model::parse_duration(&text.value) {
            Ok(span) => span,
            Err(error) => {
                self.fault(line_of(&text), which, format!("`{key}`: {error}"));
                default
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let faults =
            read_file("host.yml", text, &Defaults::default()).expect_err("the rules have a fault");
        faults.iter().map(Fault::to_string).collect()
    }

    /// The only fault of a file with one group `g`, whose rules are given.
    fn fault(rules: &str) -> String {
        let faults = faults(&format!("groups:\n- name: g\n  rules:\n{rules}"));
        assert_eq!(faults.len(), 1, "{faults:?}");
        faults[0].clone()
    }

    #[test]
    fn all_fields_of_prometheus_are_read() {
        let text = "
groups:
  - name: hosts
    interval: 15s
    limit: 10
    query_offset: 30s
    labels: {team: infra, severity: info}
    rules:
      - record: cpu:busy
        expr: 100 - cpu_idle
      - alert: Hot
        expr: |
          cpu:busy
            > 90
        for: 5m
        keep_firing_for: 1m
        labels: {severity: critical, level: 2}
        annotations: {summary: 'hot: {{ $value }}'}
";
        let groups = read_file("host.yml", text, &Defaults::default()).expect("valid");
        let group = &groups[0];
        assert_eq!(
            (group.key.to_string().as_str(), group.interval.as_secs()),
            ("host.yml;hosts", 15)
        );
        assert_eq!((group.limit, group.query_offset.as_secs()), (10, 30));
        assert_eq!(
            (group.rules[0].name.as_str(), &group.rules[0].kind),
            ("cpu:busy", &RuleKind::Recording)
        );
        let RuleKind::Alerting { hold, keep_firing_for, annotations } = &group.rules[1].kind else {
            panic!("the second rule is an alert")
        };
        assert_eq!((hold.as_secs(), keep_firing_for.as_secs(), annotations.len()), (300, 60, 1));
        let labels: Vec<_> =
            group.rules[1].labels.iter().map(|(n, v)| (n.as_str(), v.source())).collect();
        assert_eq!(labels, [("level", "2"), ("severity", "critical"), ("team", "infra")]);
    }

    #[test]
    fn an_empty_file_has_no_groups() {
        for text in ["", "groups: []", "groups:", "# nothing\n"] {
            assert_eq!(read_file("f", text, &Defaults::default()), Ok(vec![]), "{text:?}");
        }
    }

    #[test]
    fn an_expression_that_does_not_parse_is_told_with_its_place() {
        let fault = fault("  - alert: Down\n    expr: up == \n");
        assert!(
            fault.starts_with("host.yml:5: group \"g\", rule 1 (alert \"Down\"): expr 1:"),
            "file, line, group, rule, place: {fault}"
        );
    }

    #[test]
    fn unknown_fields_are_refused_with_their_line() {
        let fault = fault("  - alert: Down\n    expr: up\n    fro: 5m\n");
        assert!(fault.starts_with("host.yml:6: ") && fault.contains("fro"), "{fault}");
    }

    #[test]
    fn a_rule_is_either_an_alert_or_a_recording() {
        assert!(fault("  - expr: up\n").contains("exactly one"));
        assert!(fault("  - {alert: A, record: b, expr: up}\n").contains("exactly one"));
        assert!(
            fault("  - {record: b, expr: up, for: 5m}\n")
                .contains("`for` is for alerting rules only")
        );
        assert!(fault("  - {record: 'b{x=1}', expr: up}\n").contains("brace"));
        assert!(fault("  - {alert: A}\n").contains("no `expr`"));
    }

    #[test]
    fn labels_templates_and_durations_are_checked() {
        assert!(fault("  - {alert: A, expr: up, labels: {__name__: x}}\n").contains("__name__"));
        assert!(
            fault("  - {alert: A, expr: up, annotations: {s: '{{ nope }}'}}\n")
                .contains("no function \"nope\"")
        );
        assert!(
            fault("  - {alert: A, expr: up, for: 5 minutes}\n")
                .contains("`for`: \"5 minutes\" is not a duration")
        );
        assert!(
            fault("  - {alert: A, expr: up, labels: {s: '{{ $x'}}\n")
                .contains("label \"s\": template")
        );
    }

    #[test]
    fn two_groups_of_one_name_are_refused() {
        let faults = faults("groups:\n- name: g\n- name: g\n");
        assert_eq!(
            faults,
            [
                "host.yml:3: group \"g\": there is another group of this name in this file; rename one of them"
            ]
        );
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let faults = faults(
            "groups:\n- name: g\n  interval: x\n  rules:\n  - alert: A\n  - {alert: B, expr: '('}\n- rules: []\n",
        );
        assert_eq!(faults.len(), 4, "{faults:#?}");
    }

    #[test]
    fn a_group_of_the_api_is_read_as_json_and_takes_its_name_from_the_address() {
        let body =
            r#"{"interval": "10s", "rules": [{"alert": "A", "expr": "up == 0", "for": "1m"}]}"#;
        let group = read_group("mine", body, &Defaults::default()).expect("valid");
        assert_eq!((group.key.to_string().as_str(), group.rules.len()), ("db;mine", 1));
        let faults = read_group("mine", "name: other\nrules: []\n", &Defaults::default())
            .expect_err("another name");
        assert!(faults[0].to_string().contains("names the group \"other\""));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,60}", yaml in "[a-z:{}\\[\\]\n -]{0,60}") {
            let _ = read_file("f", &text, &Defaults::default());
            let _ = read_file("f", &format!("groups:\n- {yaml}"), &Defaults::default());
            let _ = read_group("g", &yaml, &Defaults::default());
        }
    }
}
