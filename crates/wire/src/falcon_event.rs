//! Events of Open-Falcon's judge, as it pushes them to the lists `event:p0` to `event:p6` on Redis.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{ALERT_NAME, Alert, ENDPOINT, Labels, LabelsBuilder, Timestamp};
use serde::{Deserialize, Deserializer};
use thiserror::Error;

use crate::alert::Accepted;
use crate::falcon_json::label_name;

/// How many priorities there are, and lists.
pub const PRIORITIES: u8 = 7;

const METRIC: &str = "metric";
const SEVERITY: &str = "severity";
// As the import of a portal names rules.
const RULE: &str = "falcon_id";

/// What is wrong with an event.
#[derive(Debug, Error)]
pub enum EventFault {
    /// It cannot be read as an event.
    #[error("not an event: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// It names neither a strategy nor an expression.
    #[error("the event names neither a strategy nor an expression")]
    NoRule,
    /// It names no metric or no endpoint.
    #[error("the event has no {0}")]
    Missing(&'static str),
}

/// An event.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FalconEvent {
    /// The rule when it is one of a template.
    #[serde(default)]
    pub strategy: Option<FalconRule>,
    /// The rule when it is an expression.
    #[serde(default)]
    pub expression: Option<FalconRule>,
    /// Whether it is a problem.
    pub status: FalconStatus,
    /// The host.
    #[serde(default, deserialize_with = "null_is_default")]
    pub endpoint: String,
    /// The value that the rule saw.
    #[serde(default)]
    pub left_value: f64,
    /// How often the problem was told, this time included; 1 for an OK too.
    #[serde(default)]
    pub current_step: i64,
    /// Time of the sample, in seconds.
    #[serde(default)]
    pub event_time: i64,
    /// Tags of the series.
    #[serde(default, deserialize_with = "null_is_default")]
    pub pushed_tags: BTreeMap<String, String>,
}

/// Whether something is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum FalconStatus {
    /// It is.
    Problem,
    /// No longer.
    Ok,
}

/// What an event tells of its strategy or expression.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FalconRule {
    /// Its number.
    pub id: i64,
    /// The metric under its original name.
    #[serde(default, deserialize_with = "null_is_default")]
    pub metric: String,
    /// As in `all(#3)`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub func: String,
    /// As in `>`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub operator: String,
    /// The threshold.
    #[serde(default)]
    pub right_value: f64,
    /// 0, the worst, to 6; the fork's 9 is a phone call.
    #[serde(default)]
    pub priority: i64,
    /// For people.
    #[serde(default, deserialize_with = "null_is_default")]
    pub note: String,
}

/// Name of the list that judge pushes events of a priority to.
pub fn list_name(priority: u8) -> String {
    format!("event:p{priority}")
}

/// Reads an item of a list.
pub fn decode(item: &[u8]) -> Result<FalconEvent, EventFault> {
    Ok(serde_json::from_slice(item)?)
}

impl FalconEvent {
    /// As news of an alert at `now`. A problem is believed for `lease` unless an end comes: judge repeats a problem a
    /// few times and then says nothing until it is over.
    pub fn accept(self, now: Timestamp, lease: Duration) -> Result<Accepted, EventFault> {
        let (origin, rule) = match (&self.strategy, &self.expression) {
            (Some(strategy), _) => ("s", strategy),
            (None, Some(expression)) => ("e", expression),
            (None, None) => return Err(EventFault::NoRule),
        };
        for (text, what) in [(&rule.metric, METRIC), (&self.endpoint, ENDPOINT)] {
            if text.is_empty() {
                return Err(EventFault::Missing(what));
            }
        }
        let said = Timestamp(self.event_time.saturating_mul(1000));
        let at = if said.0 > 0 { said.min(now) } else { now };
        let ends_at = match self.status {
            FalconStatus::Problem => now.plus(lease),
            FalconStatus::Ok => at,
        };
        let mut labels = self.tag_labels();
        labels.set(ALERT_NAME, rule.name()).set(ENDPOINT, &self.endpoint);
        labels.set(METRIC, &rule.metric).set(SEVERITY, &severity(rule.priority));
        labels.set(RULE, &format!("{origin}_{}", rule.id));
        let alert = Alert {
            labels: labels.build(),
            annotations: self.texts(rule),
            starts_at: at,
            ends_at,
            generator_url: String::new(),
        };
        Ok(Accepted { alert, end_is_timeout: false })
    }

    /// A tag that is called like one of our labels does not hide it.
    fn tag_labels(&self) -> LabelsBuilder {
        let mut labels = Labels::empty().edit();
        for (key, value) in &self.pushed_tags {
            let name = label_name(key);
            match name.as_str() {
                ALERT_NAME | METRIC | SEVERITY | RULE => {
                    labels.set(&format!("exported_{name}"), value)
                }
                _ => labels.set(&name, value),
            };
        }
        labels
    }

    fn texts(&self, rule: &FalconRule) -> BTreeMap<String, String> {
        let tags: Vec<String> =
            self.pushed_tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let parts = [&rule.note, &rule.func, &rule.metric, &tags.join(",")];
        let parts: Vec<&str> =
            parts.into_iter().map(|part| part.trim()).filter(|part| !part.is_empty()).collect();
        let (left, operator, right) = (self.left_value, &rule.operator, rule.right_value);
        let summary = format!("{} {left}{operator}{right}", parts.join(" "));
        let step = self.current_step.to_string();
        [("summary", summary), ("value", left.to_string()), ("step", step)]
            .map(|(name, text)| (name.to_owned(), text))
            .into()
    }
}

impl FalconRule {
    /// The note, as people know the rule by it, or else the metric.
    fn name(&self) -> &str {
        let note = self.note.trim();
        if note.is_empty() { &self.metric } else { note }
    }
}

fn severity(priority: i64) -> String {
    match priority {
        0..=6 => format!("P{priority}"),
        9 => "P0".to_owned(),
        _ => "P3".to_owned(),
    }
}

fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp(1_760_000_500_000);
    const LEASE: Duration = Duration::from_secs(86_400);

    /// An item as judge pushed it.
    const PUSHED: &str = r#"{"id":"s_41_9a3f","strategy":{"id":41,"metric":"mem.memused.percent","tags":{},
        "func":"all(#3)","operator":"\u003e","rightValue":90,"maxStep":3,"priority":2,"note":"memory high",
        "tpl":{"id":8,"name":"base.db","parentId":0,"actionId":12,"creator":"ops"}},"expression":null,
        "status":"PROBLEM","endpoint":"db-07","leftValue":93.1,"currentStep":1,"eventTime":1760000460,
        "pushedTags":{"mount":"/data","severity":"x"}}"#;

    fn accepted(text: &str) -> Alert {
        decode(text.as_bytes()).unwrap().accept(NOW, LEASE).unwrap().alert
    }

    #[test]
    fn a_problem_is_an_alert_of_its_rule_host_and_tags() {
        let alert = accepted(PUSHED);
        let expected = [
            ("alertname", "memory high"),
            ("endpoint", "db-07"),
            ("exported_severity", "x"),
            ("falcon_id", "s_41"),
            ("metric", "mem.memused.percent"),
            ("mount", "/data"),
            ("severity", "P2"),
        ];
        assert_eq!(alert.labels, Labels::from_pairs(expected));
        assert_eq!(alert.starts_at, Timestamp(1_760_000_460_000));
        assert_eq!(alert.ends_at, NOW.plus(LEASE));
        let summary = "memory high all(#3) mem.memused.percent mount=/data,severity=x 93.1>90";
        assert_eq!(
            (&*alert.annotations["summary"], &*alert.annotations["value"]),
            (summary, "93.1")
        );
    }

    #[test]
    fn an_ok_ends_the_same_alert() {
        let over = accepted(&PUSHED.replace("PROBLEM", "OK").replace("1760000460", "1760000490"));
        assert_eq!(over.fingerprint(), accepted(PUSHED).fingerprint());
        assert!(over.is_resolved_at(NOW));
        let fast = accepted(&PUSHED.replace("PROBLEM", "OK").replace("1760000460", "1760009999"));
        assert!(fast.is_resolved_at(NOW), "a clock that is fast does not keep it alive");
    }

    #[test]
    fn an_expression_is_a_rule_too_and_a_phone_call_is_most_urgent() {
        let text = r#"{"strategy":null,"expression":{"id":7,"metric":"latency","priority":9},"status":"PROBLEM",
            "endpoint":"web-1","pushedTags":null}"#;
        let alert = accepted(text);
        assert_eq!(alert.labels.get("falcon_id"), Some("e_7"));
        assert_eq!(alert.labels.get("severity"), Some("P0"));
        assert_eq!((alert.labels.get("alertname"), alert.starts_at), (Some("latency"), NOW));
    }

    #[test]
    fn what_is_no_event_says_why() {
        let fault = |text: &str| {
            let event = decode(text.as_bytes());
            event.and_then(|event| event.accept(NOW, LEASE)).unwrap_err().to_string()
        };
        assert!(fault("{").starts_with("not an event"));
        assert!(fault(&PUSHED.replace("PROBLEM", "MAYBE")).contains("unknown variant"));
        assert!(fault(&PUSHED.replace("\"db-07\"", "null")).contains("no endpoint"));
        assert!(fault(&PUSHED.replace("mem.memused.percent", "")).contains("no metric"));
        assert!(fault(r#"{"status":"OK","endpoint":"a"}"#).contains("neither"));
    }

    proptest! {
        #[test]
        fn no_item_makes_it_panic(item in ".{0,80}", at: prop::sample::Index, byte: u8, time: i64) {
            drop(decode(item.as_bytes()));
            let mut bytes = PUSHED.replace("1760000460", &time.to_string()).into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(event) = decode(&bytes) {
                drop(event.accept(NOW, LEASE));
            }
        }
    }
}
