//! What the API answers, in Prometheus' shapes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use db::RuleGroupRow;
use model::{Labels, Matcher, Timestamp};
use serde::Serialize;
use sha2::{Digest, Sha256};
use wire::prom_api::format_exponent;

use crate::active_times::WindowSpec;
use crate::alert_state::{HeldAlert, Phase};
use crate::board::{GroupView, RuleView};
use crate::group::Health;
use crate::rule_extras::Extras;
use crate::rules::{GroupKey, Rule, RuleKind};
use crate::template::Template;

/// What `GET /api/v1/rules` is asked for.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct RuleFilter {
    kind: Option<String>,
    rule_names: Vec<String>,
    group_names: Vec<String>,
    files: Vec<String>,
    /// A rule must fit one of these lists of conditions on its labels, if there are any.
    matches: Vec<Vec<Matcher>>,
    exclude_alerts: bool,
    group_limit: usize,
    group_next_token: String,
}

impl RuleFilter {
    /// From a query string. Parameters that judge does not know are ignored, as Prometheus does.
    pub(crate) fn parse(query: &str) -> Result<Self, String> {
        let mut filter = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.into_owned();
            let invalid = |why: String| format!("invalid parameter \"{name}\": {why}");
            match name.as_ref() {
                "type" if matches!(value.as_str(), "alert" | "record") => filter.kind = Some(value),
                "type" if value.is_empty() => {}
                "type" => return Err(invalid(format!("{value:?} is neither alert nor record"))),
                "rule_name[]" => filter.rule_names.push(value),
                "rule_group[]" => filter.group_names.push(value),
                "file[]" => filter.files.push(value),
                "match[]" => filter.matches.push(matchers(&value).map_err(invalid)?),
                "exclude_alerts" => filter.exclude_alerts = switch(&value).map_err(invalid)?,
                "group_limit" => {
                    let limit = value.parse().ok().filter(|limit| *limit > 0);
                    filter.group_limit = limit.ok_or_else(|| {
                        invalid("group_limit needs to be a number from 1".to_owned())
                    })?;
                }
                "group_next_token" => filter.group_next_token = value,
                _ => {}
            }
        }
        if !filter.group_next_token.is_empty() && filter.group_limit == 0 {
            return Err("invalid parameter \"group_limit\": group_limit needs to be paired with group_next_token"
                .to_owned());
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
            && self.fits(rule)
    }

    /// Labels with templates in them count as absent, as in Prometheus.
    fn fits(&self, rule: &Rule) -> bool {
        let plain = rule.labels.iter().map(|(name, text)| (name, text.source()));
        let labels = Labels::from_pairs(plain.filter(|(_, text)| !text.contains("{{")));
        let fits = |list: &Vec<Matcher>| list.iter().all(|matcher| matcher.matches_labels(&labels));
        self.matches.is_empty() || self.matches.iter().any(fits)
    }
}

/// The conditions of a selector.
pub(crate) fn matchers(text: &str) -> Result<Vec<Matcher>, String> {
    let expr = promql::parse(text).map_err(|error| error.to_string())?;
    match &expr.kind {
        promql::ExprKind::Selector(selector) => Ok(selector.matchers.to_vec()),
        _ => Err(format!("{text:?} is not a selector such as {{team=\"a\"}}")),
    }
}

/// A flag as Go reads it.
fn switch(value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => Err(format!("{other:?} is neither true nor false")),
    }
}

/// `GET /api/v1/rules`
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GroupList<'a> {
    groups: Vec<GroupShape<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_next_token: Option<String>,
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
    /// Not of Prometheus, as the two below: seconds that its queries look back.
    query_offset: f64,
    /// Whether its alerting rules also look when data arrives.
    on_arrival: bool,
    /// Whom to ask about a group of the database.
    #[serde(skip_serializing_if = "str::is_empty")]
    owner: &'a str,
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
        #[serde(flatten)]
        ours: OursShape<'a>,
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

/// What rules of Prometheus do not have; left out where a rule does not have it either.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OursShape<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    recover_expr: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_notifications: Option<u32>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    active_times: &'a [WindowSpec],
    #[serde(skip_serializing_if = "Option::is_none")]
    runbook: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RunShape<'a> {
    /// Not of Prometheus: names the rule to `/api/v1/rules/{id}/…`.
    id: &'a str,
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
    owner: String,
    enabled: bool,
    version: i64,
    created_at: String,
    updated_at: String,
    /// The group as it was given.
    body: String,
}

impl From<RuleGroupRow> for StoredGroup {
    fn from(row: RuleGroupRow) -> Self {
        let (created_at, updated_at) = (row.created_at.rfc3339(), row.updated_at.rfc3339());
        Self {
            name: row.name,
            owner: row.owner,
            enabled: row.enabled,
            version: row.version,
            created_at,
            updated_at,
            body: row.body,
        }
    }
}

impl<'a> GroupList<'a> {
    /// The groups with a rule that is wanted, as many as there may be on a page.
    pub(crate) fn new(views: &'a [Arc<GroupView>], filter: &RuleFilter) -> Result<Self, String> {
        let token = filter.group_next_token.as_str();
        let begin = match token {
            "" => 0,
            _ => views.iter().position(|view| next_token(&view.group.key) == token).ok_or_else(
                || format!("invalid group_next_token '{token}'. were rule groups changed?"),
            )?,
        };
        // Without any filter Prometheus shows groups that have no rules, too.
        let filters_rules =
            filter.kind.is_some() || !filter.rule_names.is_empty() || !filter.matches.is_empty();
        let mut list = Self { groups: Vec::new(), group_next_token: None };
        for view in views[begin..].iter().filter(|view| filter.wants_group(view)) {
            let shape = group_shape(view, filter);
            if filters_rules && shape.rules.is_empty() {
                continue;
            }
            if filter.group_limit > 0 && list.groups.len() == filter.group_limit {
                list.group_next_token = Some(next_token(&view.group.key));
                break;
            }
            list.groups.push(shape);
        }
        Ok(list)
    }
}

/// Names the group that the next page begins with.
fn next_token(key: &GroupKey) -> String {
    Sha256::digest(key.to_string()).iter().map(|byte| format!("{byte:02x}")).collect()
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
        query_offset: view.group.query_offset.as_secs_f64(),
        on_arrival: view.group.on_arrival,
        owner: &view.group.owner,
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
            ours: ours(&rule.extras),
            alerts: (!exclude_alerts).then(|| view.alerts.iter().map(alert_shape).collect()),
            run: run_shape(view),
        },
    }
}

fn ours(extras: &Extras) -> OursShape<'_> {
    OursShape {
        recover_expr: extras.recover.as_ref().map(|recover| recover.text.as_str()),
        no_data: extras.no_data.as_ref().map(|no_data| no_data.policy.to_string()),
        priority: extras.priority.map(|level| format!("P{level}")),
        max_notifications: extras.max_notifications,
        active_times: extras.active_times.specs(),
        runbook: extras.runbook.as_deref(),
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
        id: &view.id,
        health,
        last_error,
        evaluation_time: seconds(view.last),
        last_evaluation: moment(view.last),
    }
}

pub(crate) fn state_of(view: &RuleView) -> &'static str {
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
            exclude_alerts: true,
            ..RuleFilter::default()
        };
        assert_eq!(filter, Ok(expected));
        assert!(
            RuleFilter::parse("type=other")
                .expect_err("no such type")
                .contains("invalid parameter \"type\"")
        );
    }

    #[test]
    fn wrong_parameters_are_named() {
        for (query, part) in [
            ("exclude_alerts=maybe", "neither true nor false"),
            ("group_limit=0", "a number from 1"),
            ("group_limit=x", "\"group_limit\""),
            ("group_next_token=abc", "paired with"),
            ("match[]=up%20%2B", "\"match[]\""),
            ("match[]=sum(up)", "is not a selector"),
        ] {
            let error = RuleFilter::parse(query).expect_err(query);
            assert!(error.contains(part), "{query}: {error}");
        }
        assert_eq!(RuleFilter::parse("exclude_alerts=false"), Ok(RuleFilter::default()));
    }

    fn views(text: &str) -> Vec<Arc<GroupView>> {
        let groups = crate::rule_file::read_file("f", text, &crate::rule_file::Defaults::default());
        let board = crate::board::Board::default();
        for group in groups.expect("the rules are valid") {
            board.put(&crate::group::GroupRun::new(Arc::new(group)));
        }
        board.groups()
    }

    fn names(views: &[Arc<GroupView>], query: &str) -> (Vec<String>, Option<String>) {
        let filter = RuleFilter::parse(query).expect(query);
        let list = GroupList::new(views, &filter).expect(query);
        let rule = |rule: &RuleShape<'_>| match rule {
            RuleShape::Alerting { name, .. } | RuleShape::Recording { name, .. } => {
                (*name).to_owned()
            }
        };
        (
            list.groups.iter().flat_map(|group| group.rules.iter().map(rule)).collect(),
            list.group_next_token,
        )
    }

    #[test]
    fn rules_are_found_by_their_labels_and_templates_count_as_absent() {
        let views = views(
            "groups: [{name: g, rules: [{alert: A, expr: up, labels: {team: x}}, \
             {alert: B, expr: up, labels: {team: '{{ $labels.x }}'}}, {record: c, expr: up}]}]",
        );
        assert_eq!(names(&views, "match[]={team=\"x\"}").0, ["A"]);
        assert_eq!(names(&views, "match[]={team=~\".%2b\"}").0, ["A"]);
        let two = "match[]={team=\"x\"}&match[]={team=\"y\"}";
        assert_eq!(names(&views, two).0, ["A"]);
        assert_eq!(names(&views, "match[]={team=\"x\"}&type=record").0, [""; 0]);
    }

    #[test]
    fn pages_of_groups_follow_each_other() {
        let group = |name| format!("{{name: {name}, rules: [{{alert: A{name}, expr: up}}]}}");
        let views = views(&format!("groups: [{}, {}, {}]", group("a"), group("b"), group("c")));
        let (first, token) = names(&views, "group_limit=2");
        assert_eq!(first, ["Aa", "Ab"]);
        let token = token.expect("there is a third group");
        assert_eq!((token.len(), token.bytes().all(|b| b.is_ascii_hexdigit())), (64, true));
        assert_eq!(
            names(&views, &format!("group_limit=2&group_next_token={token}")),
            (vec!["Ac".to_owned()], None)
        );
        assert_eq!(names(&views, "group_limit=3").1, None);
        let unknown = RuleFilter::parse("group_limit=2&group_next_token=0").expect("well formed");
        let error = GroupList::new(&views, &unknown).err().expect("no group has it");
        assert!(error.contains("were rule groups changed?"), "{error}");
    }

    proptest! {
        #[test]
        fn no_query_string_makes_it_panic(query in "[a-z%0-9=&+\\[\\]ü]{0,40}") {
            let _ = RuleFilter::parse(&query);
        }
    }
}
