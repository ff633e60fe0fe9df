//! Fields of alerting rules that Prometheus does not have, all optional: `recover_expr`, `no_data`,
//! `priority`, `max_notifications`, `active_times`, `runbook`. A rule without them is a rule of Prometheus.

use std::sync::Arc;
use std::time::Duration;

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
        if self.max_notifications.as_ref().is_some_and(|most| !is_notifications(most.value)) {
            let fault = format!("must be from 1 to {NOTIFICATIONS_MAX}; leave it out for no limit");
            faults.push(("max_notifications", fault));
        }
        if let Some(Err(fault)) = self.severity() {
            faults.push(("priority", fault));
        }
        (extras, faults)
    }

    /// The label `severity` that `priority` becomes.
    pub(crate) fn severity(&self) -> Option<Result<String, String>> {
        let text = &self.priority.as_ref()?.value;
        let digit = text.strip_prefix(['P', 'p']).unwrap_or(text);
        Some(match digit.parse::<u8>() {
            Ok(level @ 0..=6) => Ok(format!("P{level}")),
            _ => Err(format!("{text:?} is not a priority; write P0 (worst) to P6")),
        })
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

fn is_notifications(most: u32) -> bool {
    (1..=NOTIFICATIONS_MAX).contains(&most)
}
