//! The body that a webhook receiver gets, written straight from alerts: those of a storm are not copied for it.

use std::collections::BTreeMap;

use model::{Alert, Fingerprint, Labels, Timestamp};
use serde::{Serialize, Serializer};

use crate::alert::{FiringStatus, NotificationReason, instant, moment};

/// A [`WebhookMessage`](crate::alert::WebhookMessage) that is only written. What the alerts have in common follows
/// from them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookBody<'a> {
    version: &'static str,
    /// Identity of the group; stable over its life.
    pub group_key: &'a str,
    /// Alerts left out because there were too many.
    pub truncated_alerts: u64,
    /// Of the whole group.
    pub status: FiringStatus,
    /// Name of the receiver.
    pub receiver: &'a str,
    /// Why it is sent.
    #[serde(rename = "notification_reason", skip_serializing_if = "Option::is_none")]
    pub notification_reason: Option<NotificationReason>,
    /// The labels that the group is grouped by.
    pub group_labels: &'a Labels,
    common_labels: Common<'a>,
    common_annotations: Common<'a>,
    /// Labels of the route that the alerts took.
    pub route_labels: Labels,
    /// Address of the web view.
    #[serde(rename = "externalURL")]
    pub external_url: &'a str,
    alerts: Alerts<'a>,
}

/// Names and values in the order of the names.
#[derive(Debug, Default)]
struct Common<'a>(Vec<(&'a str, &'a str)>);

impl Serialize for Common<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

/// Alerts as they stand at a moment.
#[derive(Debug, Clone, Copy)]
struct Alerts<'a> {
    alerts: &'a [Alert],
    now: Timestamp,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OneAlert<'a> {
    status: FiringStatus,
    labels: &'a Labels,
    annotations: &'a BTreeMap<String, String>,
    #[serde(with = "instant")]
    starts_at: Timestamp,
    #[serde(with = "moment")]
    ends_at: Option<Timestamp>,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
    #[serde(serialize_with = "as_text")]
    fingerprint: Fingerprint,
}

impl<'a> WebhookBody<'a> {
    /// About alerts as they stand at `now`, of a group without name, labels and receiver; those are fields.
    pub fn about(alerts: &'a [Alert], group_labels: &'a Labels, now: Timestamp) -> Self {
        let fires = alerts.iter().any(|alert| !alert.is_resolved_at(now));
        let (mut common_labels, mut common_annotations) = (Common::default(), Common::default());
        if let Some((first, rest)) = alerts.split_first() {
            let annotations = first.annotations.iter();
            common_labels.0.extend(first.labels.iter());
            common_annotations.0.extend(annotations.map(|(name, text)| (&**name, &**text)));
            for alert in rest {
                common_labels.0.retain(|(name, value)| alert.labels.get(name) == Some(*value));
                common_annotations.0.retain(|(name, text)| {
                    alert.annotations.get(*name).is_some_and(|own| own == text)
                });
            }
        }
        Self {
            version: "4",
            group_key: "",
            truncated_alerts: 0,
            status: if fires { FiringStatus::Firing } else { FiringStatus::Resolved },
            receiver: "",
            notification_reason: None,
            group_labels,
            common_labels,
            common_annotations,
            route_labels: Labels::empty(),
            external_url: "",
            alerts: Alerts { alerts, now },
        }
    }
}

impl Serialize for Alerts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.alerts.iter().map(|alert| {
            let is_over = alert.is_resolved_at(self.now);
            OneAlert {
                status: if is_over { FiringStatus::Resolved } else { FiringStatus::Firing },
                labels: &alert.labels,
                annotations: &alert.annotations,
                starts_at: alert.starts_at,
                ends_at: is_over.then_some(alert.ends_at),
                generator_url: &alert.generator_url,
                fingerprint: alert.fingerprint(),
            }
        }))
    }
}

fn as_text<S: Serializer>(fingerprint: &Fingerprint, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(fingerprint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::WebhookMessage;

    fn alert(host: &str, ends: i64) -> Alert {
        Alert {
            labels: Labels::from_pairs([("alertname", "Down"), ("host", host)]),
            annotations: [("summary", "\"It\" hurts"), ("host", host)]
                .map(|(name, text)| (name.to_owned(), text.to_owned()))
                .into(),
            starts_at: Timestamp(5),
            ends_at: Timestamp(ends),
            generator_url: "http://judge/".to_owned(),
        }
    }

    #[test]
    fn it_is_written_as_the_message_is() {
        let group = Labels::from_pairs([("alertname", "Down")]);
        for alerts in
            [vec![], vec![alert("a", 9)], vec![alert("a", 900), alert("b", 9), alert("a", 9)]]
        {
            let now = Timestamp(100);
            let mut message =
                WebhookMessage::new("ops", "{}:{}", group.clone(), "http://x", &alerts, now);
            message.truncated_alerts = 7;
            message.notification_reason = Some(NotificationReason::Added);
            message.route_labels = Labels::from_pairs([("owner", "dba")]);
            let body = WebhookBody {
                group_key: "{}:{}",
                truncated_alerts: 7,
                notification_reason: Some(NotificationReason::Added),
                route_labels: Labels::from_pairs([("owner", "dba")]),
                receiver: "ops",
                external_url: "http://x",
                ..WebhookBody::about(&alerts, &group, now)
            };
            let text = serde_json::to_string(&body).expect("it is plain");
            assert_eq!(text, serde_json::to_string(&message).expect("it is plain"));
            assert!(text.contains(r#""notification_reason":"new alerts added""#), "{text}");
            assert!(text.contains(r#""routeLabels":{"owner":"dba"}"#), "{text}");
        }
    }
}
