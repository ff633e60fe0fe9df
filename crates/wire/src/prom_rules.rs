//! The shapes of `/api/v1/rules` and `/api/v1/alerts`.

use std::collections::BTreeMap;

use model::{Labels, Timestamp};
use serde::{Deserialize, Serialize};

use crate::alert::{instant, moment};

/// The data of `/api/v1/rules`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleDiscovery {
    /// The groups, sorted by file and then name.
    pub groups: Vec<RuleGroup>,
    /// Where to go on when `group_limit` cut the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_next_token: Option<String>,
}

/// A group of rules that are evaluated together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleGroup {
    /// Its name, unique in its file.
    pub name: String,
    /// Where it comes from.
    pub file: String,
    /// Its rules in order of evaluation.
    pub rules: Vec<Rule>,
    /// Seconds between two evaluations.
    pub interval: f64,
    /// Alerts or series a rule may produce; 0 is without limit.
    pub limit: u64,
    /// Seconds that the last evaluation took.
    pub evaluation_time: f64,
    /// When it began; the year 1 before the first.
    #[serde(with = "moment")]
    pub last_evaluation: Option<Timestamp>,
}

/// A rule of either kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Rule {
    /// Raises alerts.
    Alerting(AlertingRule),
    /// Computes a new series.
    Recording(RecordingRule),
}

/// A rule that raises alerts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertingRule {
    /// The highest state of its alerts.
    pub state: RuleState,
    /// Its name: label `alertname` of its alerts.
    pub name: String,
    /// The expression.
    pub query: String,
    /// The hold (`for`) in seconds.
    pub duration: f64,
    /// Seconds that an alert goes on firing after its condition ended.
    pub keep_firing_for: f64,
    /// Labels that it adds.
    pub labels: Labels,
    /// Annotations that it adds.
    pub annotations: BTreeMap<String, String>,
    /// Its alerts; null when they were not asked for.
    pub alerts: Option<Vec<ActiveAlert>>,
    /// How its last evaluation went.
    pub health: RuleHealth,
    /// Why the last evaluation failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Seconds that the last evaluation took.
    pub evaluation_time: f64,
    /// When it began; the year 1 before the first.
    #[serde(with = "moment")]
    pub last_evaluation: Option<Timestamp>,
}

/// A rule that computes a new series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordingRule {
    /// The name of the series.
    pub name: String,
    /// The expression.
    pub query: String,
    /// Labels that it adds.
    pub labels: Labels,
    /// How its last evaluation went.
    pub health: RuleHealth,
    /// Why the last evaluation failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Seconds that the last evaluation took.
    pub evaluation_time: f64,
    /// When it began; the year 1 before the first.
    #[serde(with = "moment")]
    pub last_evaluation: Option<Timestamp>,
}

/// How far an alert is, in rising order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleState {
    /// Nothing is wrong.
    Inactive,
    /// The condition holds, but not yet for long enough.
    Pending,
    /// The alert is out.
    Firing,
}

/// How the last evaluation of a rule went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleHealth {
    /// There was none yet.
    Unknown,
    /// It gave a result.
    Ok,
    /// It failed.
    Err,
}

/// The data of `/api/v1/alerts`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AlertDiscovery {
    /// All pending and firing alerts.
    pub alerts: Vec<ActiveAlert>,
}

/// A pending or firing alert of a rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActiveAlert {
    /// Identity of the alert.
    pub labels: Labels,
    /// Texts for humans.
    pub annotations: BTreeMap<String, String>,
    /// Pending or firing.
    pub state: RuleState,
    /// When its condition began to hold.
    #[serde(with = "instant")]
    pub active_at: Timestamp,
    /// When its condition ended, while it is kept firing.
    #[serde(default, with = "moment", skip_serializing_if = "Option::is_none")]
    pub keep_firing_since: Option<Timestamp>,
    /// The value of the expression as [`crate::prom_api::format_exponent`] writes it.
    pub value: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert() -> ActiveAlert {
        ActiveAlert {
            labels: Labels::from_pairs([("alertname", "Down")]),
            annotations: BTreeMap::new(),
            state: RuleState::Firing,
            active_at: Timestamp(0),
            keep_firing_since: None,
            value: crate::prom_api::format_exponent(1.0),
        }
    }

    #[test]
    fn an_alert_has_prometheus_fields() {
        let json =
            serde_json::to_string(&AlertDiscovery { alerts: vec![alert()] }).expect("it is plain");
        assert_eq!(
            json,
            concat!(
                r#"{"alerts":[{"labels":{"alertname":"Down"},"annotations":{},"state":"firing","#,
                r#""activeAt":"1970-01-01T00:00:00.000Z","value":"1e+00"}]}"#
            )
        );
    }

    #[test]
    fn a_group_survives_the_way_over_the_wire() {
        let alerting = AlertingRule {
            state: RuleState::Firing,
            name: "Down".into(),
            query: "up == 0".into(),
            duration: 60.0,
            keep_firing_for: 0.0,
            labels: Labels::empty(),
            annotations: BTreeMap::new(),
            alerts: Some(vec![alert()]),
            health: RuleHealth::Err,
            last_error: Some("too many".into()),
            evaluation_time: 0.002,
            last_evaluation: Some(Timestamp(1_000)),
        };
        let recording = RecordingRule {
            name: "a:b".into(),
            query: "sum(b)".into(),
            labels: Labels::empty(),
            health: RuleHealth::Unknown,
            last_error: None,
            evaluation_time: 0.0,
            last_evaluation: None,
        };
        let group = RuleGroup {
            name: "g".into(),
            file: "f.yml".into(),
            rules: vec![Rule::Alerting(alerting), Rule::Recording(recording)],
            interval: 15.0,
            limit: 0,
            evaluation_time: 0.0,
            last_evaluation: None,
        };
        let data = RuleDiscovery { groups: vec![group], group_next_token: None };
        let json = serde_json::to_value(&data).expect("it is plain");
        let rules = &json["groups"][0]["rules"];
        assert_eq!(
            (&rules[0]["type"], &rules[1]["type"]),
            (&"alerting".into(), &"recording".into())
        );
        assert_eq!(rules[0]["keepFiringFor"], 0.0);
        assert_eq!(rules[1]["lastEvaluation"], "0001-01-01T00:00:00Z");
        assert_eq!(rules[1].get("lastError"), None);
        assert_eq!(serde_json::from_value::<RuleDiscovery>(json).expect("we wrote it"), data);
    }
}
