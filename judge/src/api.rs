//! What the API answers, in Prometheus' shapes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use db::RuleGroupRow;
use model::{Labels, Timestamp};
use serde::Serialize;
use wire::prom_api::format_exponent;

use crate::alert_state::{HeldAlert, Phase};
use crate::board::{GroupView, RuleView};
use crate::group::Health;
use crate::rules::{Rule, RuleKind};
use crate::template::Template;

/// What `GET /api/v1/rules` is asked for.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct RuleFilter {
    kind: Option<String>,
    rule_names: Vec<String>,
    group_names: Vec<String>,
    files: Vec<String>,
    exclude_alerts: bool,
}

impl RuleFilter {
    /// From a query string. Parameters that judge does not know are ignored, as Prometheus does.
    pub(crate) fn parse(query: &str) -> Result<Self, String> {
        let mut filter = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = unescape(value);
            match unescape(name).as_str() {
                "type" if matches!(value.as_str(), "alert" | "record") => filter.kind = Some(value),
                "type" if value.is_empty() => {}
                "type" => {
                    return Err(format!(
                        "invalid parameter \"type\": {value:?} is neither alert nor record"
                    ));
                }
                "rule_name[]" => filter.rule_names.push(value),
                "rule_group[]" => filter.group_names.push(value),
                "file[]" => filter.files.push(value),
                "exclude_alerts" => {
                    filter.exclude_alerts = matches!(value.as_str(), "true" | "1" | "t")
                }
                _ => {}
            }
        }
        Ok(filter)
    }

    fn wants_group(&self, view: &GroupView) -> bool {
        let key = &view.group.key;
        is_among(&self.group_names, &key.name) && is_among(&self.files, &key.file)
    }

    fn wants_rule(&self, rule: &Rule) -> bool {
        let kind = if matches!(rule.kind, RuleKind::Recording) { "record" } else { "alert" };
        self.kind.as_deref().is_none_or(|wanted| wanted == kind)
            && is_among(&self.rule_names, &rule.name)
    }
}

/// `GET /api/v1/rules`
#[derive(Serialize)]
pub(crate) struct GroupList<'a> {
    groups: Vec<GroupShape<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupShape<'a> {
    name: &'a str,
    file: &'a str,
    rules: Vec<RuleShape<'a>>,
    interval: f64,
    limit: usize,
    evaluation_time: f64,
    last_evaluation: String,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum RuleShape<'a> {
    #[serde(rename_all = "camelCase")]
    Alerting {
        state: &'static str,
        name: &'a str,
        query: &'a str,
        duration: f64,
        keep_firing_for: f64,
        labels: BTreeMap<&'a str, &'a str>,
        annotations: BTreeMap<&'a str, &'a str>,
        alerts: Option<Vec<AlertShape<'a>>>,
        #[serde(flatten)]
        run: RunShape<'a>,
    },
    Recording {
        name: &'a str,
        query: &'a str,
        labels: BTreeMap<&'a str, &'a str>,
        #[serde(flatten)]
        run: RunShape<'a>,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RunShape<'a> {
    health: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<&'a str>,
    evaluation_time: f64,
    last_evaluation: String,
}

/// `GET /api/v1/alerts`
#[derive(Serialize)]
pub(crate) struct AlertList<'a> {
    alerts: Vec<AlertShape<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AlertShape<'a> {
    labels: &'a Labels,
    annotations: &'a BTreeMap<String, String>,
    state: &'static str,
    active_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_firing_since: Option<String>,
    value: String,
}

/// A rule group in the database.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StoredGroup {
    name: String,
    version: i64,
    created_at: String,
    updated_at: String,
    /// The group as it was given.
    body: String,
}

impl From<RuleGroupRow> for StoredGroup {
    fn from(row: RuleGroupRow) -> Self {
        let (created_at, updated_at) = (row.created_at.rfc3339(), row.updated_at.rfc3339());
        Self { name: row.name, version: row.version, created_at, updated_at, body: row.body }
    }
}

impl<'a> GroupList<'a> {
    /// The groups with a rule that is wanted.
    pub(crate) fn new(views: &'a [Arc<GroupView>], filter: &RuleFilter) -> Self {
        let shapes = views
            .iter()
            .filter(|view| filter.wants_group(view))
            .map(|view| group_shape(view, filter));
        // Without any filter Prometheus shows groups that have no rules, too.
        let filters_rules = filter.kind.is_some() || !filter.rule_names.is_empty();
        Self { groups: shapes.filter(|group| !filters_rules || !group.rules.is_empty()).collect() }
    }
}

impl<'a> AlertList<'a> {
    /// All pending and firing alerts.
    pub(crate) fn new(views: &'a [Arc<GroupView>]) -> Self {
        let rules = views.iter().flat_map(|view| &view.rules);
        Self { alerts: rules.flat_map(|rule| &rule.alerts).map(alert_shape).collect() }
    }
}

fn group_shape<'a>(view: &'a GroupView, filter: &RuleFilter) -> GroupShape<'a> {
    let rules =
        view.group.rules.iter().zip(&view.rules).filter(|(rule, _)| filter.wants_rule(rule));
    GroupShape {
        name: &view.group.key.name,
        file: &view.group.key.file,
        rules: rules.map(|(rule, run)| rule_shape(rule, run, filter.exclude_alerts)).collect(),
        interval: view.group.interval.as_secs_f64(),
        limit: view.group.limit,
        evaluation_time: seconds(view.last),
        last_evaluation: moment(view.last),
    }
}

fn rule_shape<'a>(rule: &'a Rule, view: &'a RuleView, exclude_alerts: bool) -> RuleShape<'a> {
    let labels = sources(&rule.labels);
    let (name, query) = (rule.name.as_str(), rule.query.text.as_str());
    match &rule.kind {
        RuleKind::Recording => RuleShape::Recording { name, query, labels, run: run_shape(view) },
        RuleKind::Alerting { hold, keep_firing_for, annotations } => RuleShape::Alerting {
            state: state_of(view),
            name,
            query,
            duration: hold.as_secs_f64(),
            keep_firing_for: keep_firing_for.as_secs_f64(),
            labels,
            annotations: sources(annotations),
            alerts: (!exclude_alerts).then(|| view.alerts.iter().map(alert_shape).collect()),
            run: run_shape(view),
        },
    }
}

fn sources(templates: &[(String, Template)]) -> BTreeMap<&str, &str> {
    templates.iter().map(|(name, template)| (name.as_str(), template.source())).collect()
}

fn run_shape(view: &RuleView) -> RunShape<'_> {
    let (health, last_error) = match &view.health {
        Health::Unknown => ("unknown", None),
        Health::Ok => ("ok", None),
        Health::Failed(reason) => ("err", Some(reason.as_str())),
    };
    RunShape {
        health,
        last_error,
        evaluation_time: seconds(view.last),
        last_evaluation: moment(view.last),
    }
}

fn state_of(view: &RuleView) -> &'static str {
    let is_any = |state: &str| view.alerts.iter().any(|(_, alert)| alert.phase.as_str() == state);
    match view.last {
        _ if is_any("firing") => "firing",
        _ if is_any("pending") => "pending",
        None => "unknown",
        Some(_) => "inactive",
    }
}

fn alert_shape((labels, alert): &(Labels, HeldAlert)) -> AlertShape<'_> {
    let keep_firing_since = match alert.phase {
        Phase::Kept { absent_since, .. } => Some(absent_since.rfc3339()),
        _ => None,
    };
    AlertShape {
        labels,
        annotations: &alert.annotations,
        state: alert.phase.as_str(),
        active_at: alert.phase.active_at().unwrap_or_default().rfc3339(),
        keep_firing_since,
        value: format_exponent(alert.value),
    }
}

fn seconds(last: Option<(Timestamp, Duration)>) -> f64 {
    last.map_or(0.0, |(_, took)| took.as_secs_f64())
}

/// Go's zero time stands for "never", as in Prometheus.
fn moment(last: Option<(Timestamp, Duration)>) -> String {
    last.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |(at, _)| at.rfc3339())
}

fn is_among(wanted: &[String], name: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|wanted| wanted == name)
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match (first, escaped.and_then(|two| u8::from_str_radix(two, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
                continue;
            }
            (b'+', _) => bytes.push(b' '),
            (other, _) => bytes.push(*other),
        }
        rest = tail;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_filter_is_read_from_the_query_string() {
        let filter = RuleFilter::parse(
            "type=alert&rule_name%5B%5D=A+b&rule_group[]=g&exclude_alerts=true&x=1",
        );
        let expected = RuleFilter {
            kind: Some("alert".to_owned()),
            rule_names: vec!["A b".to_owned()],
            group_names: vec!["g".to_owned()],
            files: vec![],
            exclude_alerts: true,
        };
        assert_eq!(filter, Ok(expected));
        assert!(
            RuleFilter::parse("type=other")
                .expect_err("no such type")
                .contains("invalid parameter \"type\"")
        );
    }

    proptest! {
        #[test]
        fn no_query_string_makes_it_panic(query in "[a-z%0-9=&+\\[\\]ü]{0,40}") {
            let _ = RuleFilter::parse(&query);
        }
    }
}
