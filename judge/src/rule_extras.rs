//! Fields of alerting rules that Prometheus does not have, all optional: `recover_expr`, `no_data`,
//! `priority`, `max_notifications`, `active_times`, `runbook`. A rule without them is a rule of Prometheus.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use model::format_duration;
use promql::{Expr, ValueType};
use serde_saphyr::Spanned;

use crate::active_times::{ActiveTimes, WindowSpec};
use crate::presence::presence;
use crate::rules::Query;

/// The annotation that `runbook` becomes.
pub(crate) const RUNBOOK: &str = "runbook_url";
/// The annotation that `max_notifications` becomes; alarm counts, since it alone knows who was told how often.
pub(crate) const MAX_NOTIFICATIONS: &str = "max_notifications";
/// The label that `priority` becomes, as alarm reads it.
pub(crate) const SEVERITY: &str = "severity";
/// The label of alerts that tell of missing data.
pub(crate) const NO_DATA: &str = "no_data";

/// Notifications of one episode that a rule may allow.
const NOTIFICATIONS_MAX: u32 = 10_000;

/// The fields beyond Prometheus.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Extras {
    /// What ends an alert that fires, in place of the mere absence from the rule's answer.
    pub(crate) recover: Option<Query>,
    /// What it means when the series behind an alert are gone.
    pub(crate) no_data: Option<NoData>,
    /// When the rule is awake.
    pub(crate) active_times: ActiveTimes,
    /// From 0, the worst, to 6; it is the label `severity` of the alerts.
    pub(crate) priority: Option<u8>,
    /// How often an alert may be told; it is an annotation, which alarm reads.
    pub(crate) max_notifications: Option<u32>,
    /// A link, with templates; it is an annotation.
    pub(crate) runbook: Option<String>,
}

/// What it means when the series behind an alert are gone.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NoData {
    /// What is done then.
    pub(crate) policy: NoDataPolicy,
    /// Tells which series are there, whatever their value.
    pub(crate) presence: Presence,
}

/// What is done when the series behind an alert are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoDataPolicy {
    /// What fires goes on firing.
    Keep,
    /// It ends, as in Prometheus, also when the rule has a `recover_expr` that is silent.
    Ok,
    /// What fires goes on firing, and an alert of its own tells of the missing data after this time.
    Alert(Duration),
}

/// An expression that tells which series are there.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Presence(pub(crate) Arc<Expr>);

/// The fields as they are written.
#[derive(Debug, Default)]
pub(crate) struct ExtrasSpec {
    pub(crate) recover_expr: Option<Spanned<String>>,
    pub(crate) no_data: Option<Spanned<String>>,
    pub(crate) priority: Option<Spanned<String>>,
    pub(crate) max_notifications: Option<Spanned<u32>>,
    pub(crate) active_times: Option<Spanned<Vec<WindowSpec>>>,
    pub(crate) runbook: Option<Spanned<String>>,
}

impl ExtrasSpec {
    /// The fields that are given, by name, with their lines.
    pub(crate) fn given(&self) -> Vec<(&'static str, u64)> {
        fn line<T>(field: &Option<Spanned<T>>) -> Option<u64> {
            field.as_ref().map(|spanned| spanned.referenced.line())
        }
        let fields = [
            ("recover_expr", line(&self.recover_expr)),
            ("no_data", line(&self.no_data)),
            ("priority", line(&self.priority)),
            ("max_notifications", line(&self.max_notifications)),
            ("active_times", line(&self.active_times)),
            ("runbook", line(&self.runbook)),
        ];
        fields.into_iter().filter_map(|(name, line)| Some((name, line?))).collect()
    }

    /// Reads the fields that shape the evaluation. Faults come with the name of their field.
    pub(crate) fn read(&self, expr: Option<&Expr>) -> (Extras, Vec<(&'static str, String)>) {
        let mut faults = Vec::new();
        let mut extras = Extras::default();
        if let Some(text) = &self.recover_expr {
            match recover_query(&text.value) {
                Ok(query) => extras.recover = Some(query),
                Err(fault) => faults.push(("recover_expr", fault)),
            }
        }
        if let (Some(text), Some(expr)) = (&self.no_data, expr) {
            let read = NoDataPolicy::parse(&text.value).and_then(|policy| {
                let presence = Presence(Arc::new(presence(expr)?));
                Ok(NoData { policy, presence })
            });
            match read {
                Ok(no_data) => extras.no_data = Some(no_data),
                Err(fault) => faults.push(("no_data", fault)),
            }
        }
        if let Some(specs) = &self.active_times {
            match ActiveTimes::read(&specs.value) {
                Ok(times) => extras.active_times = times,
                Err(fault) => faults.push(("active_times", fault)),
            }
        }
        extras.max_notifications = self.max_notifications.as_ref().map(|most| most.value);
        if extras.max_notifications.is_some_and(|most| !is_notifications(most)) {
            let fault = format!("must be from 1 to {NOTIFICATIONS_MAX}; leave it out for no limit");
            faults.push(("max_notifications", fault));
        }
        match self.priority.as_ref().map(|text| priority(&text.value)).transpose() {
            Ok(priority) => extras.priority = priority,
            Err(fault) => faults.push(("priority", fault)),
        }
        extras.runbook = self.runbook.as_ref().map(|text| text.value.to_owned());
        (extras, faults)
    }

    /// The label `severity` that `priority` becomes.
    pub(crate) fn severity(&self) -> Option<String> {
        let level = priority(&self.priority.as_ref()?.value).ok()?;
        Some(format!("P{level}"))
    }

    /// The annotations that fields become, as templates.
    pub(crate) fn annotations(&self) -> impl Iterator<Item = (&'static str, String, u64)> + '_ {
        let runbook =
            self.runbook.iter().map(|text| (RUNBOOK, text.value.clone(), text.referenced.line()));
        let most = self
            .max_notifications
            .iter()
            .map(|most| (MAX_NOTIFICATIONS, most.value.to_string(), most.referenced.line()));
        runbook.chain(most)
    }
}

impl Extras {
    /// Whether alerts of their own tell of missing data, and after which time.
    pub(crate) fn no_data_alert(&self) -> Option<Duration> {
        match self.no_data.as_ref()?.policy {
            NoDataPolicy::Alert(after) => Some(after),
            NoDataPolicy::Keep | NoDataPolicy::Ok => None,
        }
    }

    /// Whether an alert may fire on without end although its condition is gone.
    pub(crate) fn may_outlast(&self) -> bool {
        self.recover.is_some()
            || self.no_data.is_some()
            || self.active_times != ActiveTimes::default()
    }
}

impl fmt::Display for NoDataPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep => f.write_str("keep"),
            Self::Ok => f.write_str("ok"),
            Self::Alert(Duration::ZERO) => f.write_str("alert"),
            Self::Alert(after) => write!(f, "alert after {}", format_duration(*after)),
        }
    }
}

impl NoDataPolicy {
    fn parse(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            ["keep"] => Ok(Self::Keep),
            ["ok"] => Ok(Self::Ok),
            ["alert"] => Ok(Self::Alert(Duration::ZERO)),
            ["alert", "after", span] => {
                model::parse_duration(span).map(Self::Alert).map_err(|error| error.to_string())
            }
            _ => Err(format!("{text:?} is not known; write keep, ok, alert, or alert after 10m")),
        }
    }
}

fn recover_query(text: &str) -> Result<Query, String> {
    let expr = promql::parse(text).map_err(|error| error.to_string())?;
    match expr.value_type() {
        ValueType::Vector => Ok(Query { text: text.to_owned(), expr: Arc::new(expr) }),
        other => Err(format!("it gives a {other}; an instant vector is needed, such as x < 80")),
    }
}

fn priority(text: &str) -> Result<u8, String> {
    let digit = text.strip_prefix(['P', 'p']).unwrap_or(text);
    match digit.parse::<u8>() {
        Ok(level @ 0..=6) => Ok(level),
        _ => Err(format!("{text:?} is not a priority; write P0 (worst) to P6")),
    }
}

fn is_notifications(most: u32) -> bool {
    (1..=NOTIFICATIONS_MAX).contains(&most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule_fault::Fault;
    use crate::rule_file::{Defaults, read_file};
    use crate::rules::{Rule, RuleKind};

    fn read(rule: &str) -> Result<Rule, Vec<String>> {
        let text = format!("groups:\n- name: g\n  rules:\n  - {rule}\n");
        let groups = read_file("r.yml", &text, &Defaults::default());
        let faults = |faults: Vec<Fault>| faults.iter().map(Fault::to_string).collect::<Vec<_>>();
        groups.map_err(faults).map(|mut groups| groups.remove(0).rules.remove(0))
    }

    fn rule(rule: &str) -> Rule {
        read(rule).expect("the rule is valid")
    }

    fn check_fault(rule: &str, expected: &str) {
        let faults = read(rule).expect_err(expected);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].starts_with("r.yml:4: ") && faults[0].contains(expected), "{faults:?}");
    }

    #[test]
    fn a_rule_of_prometheus_has_none_of_them() {
        let rule = rule("{alert: A, expr: up == 0, for: 1m, labels: {severity: page}}");
        assert_eq!(rule.extras, Extras::default());
    }

    #[test]
    fn all_fields_are_read() {
        let rule = rule(
            "{alert: A, expr: x > 90, recover_expr: x < 80, no_data: alert after 10m, priority: p1, \
             max_notifications: 3, runbook: 'http://wiki/{{ $labels.endpoint }}', \
             active_times: [{from: '09:00', to: '18:00', weekdays: ['mon:fri'], zone: '+08:00'}]}",
        );
        assert_eq!(rule.extras.recover.as_ref().expect("it has one").text, "x < 80");
        assert_eq!(rule.extras.no_data_alert(), Some(Duration::from_secs(600)));
        assert_ne!(rule.extras.active_times, ActiveTimes::default());
        let Extras { priority, max_notifications, runbook, .. } = &rule.extras;
        assert_eq!((*priority, *max_notifications), (Some(1), Some(3)));
        assert_eq!(runbook.as_deref(), Some("http://wiki/{{ $labels.endpoint }}"));
        let labels: Vec<_> =
            rule.labels.iter().map(|(name, text)| (name.as_str(), text.source())).collect();
        assert_eq!(labels, [("severity", "P1")]);
        let RuleKind::Alerting { annotations, .. } = &rule.kind else { panic!("it is an alert") };
        let annotations: Vec<_> =
            annotations.iter().map(|(name, text)| (name.as_str(), text.source())).collect();
        let expected =
            [("max_notifications", "3"), ("runbook_url", "http://wiki/{{ $labels.endpoint }}")];
        assert_eq!(annotations, expected);
    }

    #[test]
    fn missing_data_is_kept_ended_or_told() {
        for (text, policy) in [
            ("keep", NoDataPolicy::Keep),
            ("ok", NoDataPolicy::Ok),
            ("alert", NoDataPolicy::Alert(Duration::ZERO)),
            ("alert after 1h30m", NoDataPolicy::Alert(Duration::from_secs(5400))),
        ] {
            let rule = rule(&format!("{{alert: A, expr: x > 1, no_data: {text}}}"));
            assert_eq!(rule.extras.no_data.expect("it has one").policy, policy);
            assert_eq!(policy.to_string(), text);
        }
    }

    #[test]
    fn the_priority_of_a_rule_goes_before_the_severity_of_its_group() {
        let text = "groups: [{name: g, labels: {severity: info}, rules: [{alert: A, expr: up, priority: 0}]}]";
        let groups = read_file("r.yml", text, &Defaults::default()).expect("valid");
        assert_eq!(groups[0].rules[0].labels[0].1.source(), "P0");
    }

    #[test]
    fn a_rule_reads_what_its_recover_expr_reads() {
        let text = "groups: [{name: g, rules: [{record: calm, expr: up}, \
                    {alert: A, expr: 'x > 1 # hot', recover_expr: calm == 1}, \
                    {alert: B, expr: 'time() > bool 1', recover_expr: calm == 1}]}]";
        let groups = read_file("r.yml", text, &Defaults::default()).expect("valid");
        assert_eq!(groups[0].batches(), [vec![0], vec![1, 2]]);
    }

    #[test]
    fn faults_name_their_field_and_line() {
        let with = |field: &str| format!("{{alert: A, expr: x > 1, {field}}}");
        for (field, expected) in [
            ("recover_expr: 'x <'", "`recover_expr`: 1:"),
            ("recover_expr: 'x[5m]'", "`recover_expr`: it gives a range vector"),
            ("recover_expr: '1'", "`recover_expr`: it gives a scalar"),
            ("no_data: maybe", "`no_data`: \"maybe\" is not known"),
            ("no_data: alert after soon", "`no_data`: \"soon\" is not a duration"),
            ("priority: P7", "`priority`: \"P7\" is not a priority"),
            ("priority: P1, labels: {severity: page}", "keep one"),
            ("no_data: alert, labels: {no_data: x}", "choose another name"),
            ("max_notifications: 0", "`max_notifications`: must be from 1"),
            ("runbook: 'a', annotations: {runbook_url: b}", "given twice"),
            ("runbook: '{{ nope }}'", "no function \"nope\""),
            ("active_times: [{from: '9'}]", "`active_times`: window 1"),
        ] {
            check_fault(&with(field), expected);
        }
        check_fault("{alert: A, expr: absent(x), no_data: keep}", "asks for missing data itself");
        check_fault("{record: a, expr: x, no_data: keep}", "`no_data` is for alerting rules only");
    }

    #[test]
    fn the_examples_of_the_operators_page_are_valid() {
        let page = include_str!("../../docs/rules.md");
        let examples: Vec<&str> = page
            .split("```yaml\n")
            .skip(1)
            .filter_map(|rest| rest.split_once("```").map(|(example, _)| example))
            .collect();
        assert_eq!(examples.len(), 2);
        for example in examples {
            let groups = read_file("docs/rules.md", example, &Defaults::default());
            assert!(groups.as_ref().is_ok_and(|groups| !groups[0].rules.is_empty()), "{groups:?}");
        }
    }

    #[test]
    fn fields_nobody_knows_stay_errors() {
        for field in ["no_dta: keep", "active_times: [{start: '09:00'}]", "max_notifications: many"]
        {
            assert!(read(&format!("{{alert: A, expr: up, {field}}}")).is_err(), "{field}");
        }
    }
}
