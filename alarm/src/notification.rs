//! A message to a receiver before it is put into the words of a channel.

use std::collections::BTreeMap;

use model::{Alert, Labels, Timestamp};
use wire::alert::{FiringStatus, NotificationReason};

/// One message to one receiver, decided and complete.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Notification {
    /// The same for every attempt to tell the same thing, after a crash too; another for a repeat or when the
    /// content is another.
    pub(crate) key: String,
    /// Name of the receiver, for people.
    pub(crate) receiver: String,
    /// Alertmanager's form, as `{}/{team="db"}:{alertname="X"}`; stable over the life of the group.
    pub(crate) group_key: String,
    /// The labels that the group is grouped by.
    pub(crate) group_labels: Labels,
    /// Of the whole group: firing while anything in it fires, even if only ends are in `alerts`.
    pub(crate) status: FiringStatus,
    /// Why it is sent.
    pub(crate) reason: NotificationReason,
    /// Labels of the route that the alerts took.
    pub(crate) route_labels: Labels,
    /// What is told. Firing ones end after `at`.
    pub(crate) alerts: Vec<Alert>,
    /// Alerts of the group that fire, were told before and are not told again in this message.
    pub(crate) left_out: u64,
    /// Address of the web view.
    pub(crate) external_url: String,
    /// 0 for the most urgent.
    pub(crate) priority: u8,
    /// When it was decided.
    pub(crate) at: Timestamp,
    /// When the first thing in it happened.
    pub(crate) event_at: Timestamp,
}

impl Notification {
    /// One that tests a receiver: about an alert that says so.
    pub(crate) fn test(receiver: &str, external_url: &str, at: Timestamp) -> Self {
        let labels = [("alertname", "SakerTest"), ("receiver", receiver), ("severity", "info")];
        let alert = Alert {
            labels: Labels::from_pairs(labels),
            annotations: BTreeMap::new(),
            starts_at: at,
            ends_at: at.plus(std::time::Duration::from_secs(300)),
            generator_url: String::new(),
        };
        Self {
            key: uuid::Uuid::new_v4().to_string(),
            receiver: receiver.to_owned(),
            group_key: "{}:{alertname=\"SakerTest\"}".to_owned(),
            group_labels: alert.labels.only(&["alertname"]),
            status: FiringStatus::Firing,
            reason: NotificationReason::First,
            route_labels: Labels::empty(),
            alerts: vec![alert],
            left_out: 0,
            external_url: external_url.to_owned(),
            priority: 0,
            at,
            event_at: at,
        }
    }

    /// Labels that all alerts of the message have in common.
    pub(crate) fn common_labels(&self) -> Labels {
        let mut rest = self.alerts.iter();
        let Some(first) = rest.next() else { return Labels::empty() };
        let is_common = |(name, value): &(&str, &str)| {
            rest.clone().all(|alert| alert.labels.get(name) == Some(*value))
        };
        Labels::from_pairs(first.labels.iter().filter(is_common))
    }

    /// Annotations that all alerts of the message have in common.
    pub(crate) fn common_annotations(&self) -> BTreeMap<String, String> {
        let mut rest = self.alerts.iter();
        let Some(first) = rest.next() else { return BTreeMap::new() };
        let is_common = |(name, value): &(&String, &String)| {
            rest.clone().all(|alert| alert.annotations.get(*name) == Some(*value))
        };
        let common = first.annotations.iter().filter(is_common);
        common.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// The alerts that fire.
    pub(crate) fn firing(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.iter().filter(|alert| !alert.is_resolved_at(self.at))
    }

    /// The alerts that ended.
    pub(crate) fn resolved(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.iter().filter(|alert| alert.is_resolved_at(self.at))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn alert(labels: &[(&str, &str)], ends: i64) -> Alert {
        Alert {
            labels: Labels::from_pairs(labels.iter().copied()),
            annotations: BTreeMap::from([("summary".to_owned(), format!("ends {ends}"))]),
            starts_at: Timestamp(10),
            ends_at: Timestamp(ends),
            generator_url: String::new(),
        }
    }

    /// A notification about these alerts at 1,000 ms.
    pub(crate) fn notification(alerts: Vec<Alert>) -> Notification {
        Notification {
            key: "key".to_owned(),
            receiver: "ops".to_owned(),
            group_key: "{}:{}".to_owned(),
            group_labels: Labels::empty(),
            status: FiringStatus::Firing,
            reason: NotificationReason::First,
            route_labels: Labels::empty(),
            alerts,
            left_out: 0,
            external_url: "http://alarm".to_owned(),
            priority: 0,
            at: Timestamp(1_000),
            event_at: Timestamp(900),
        }
    }

    #[test]
    fn what_is_common_is_what_every_alert_has() {
        let told = notification(vec![
            alert(&[("alertname", "x"), ("host", "a"), ("only", "a")], 2_000),
            alert(&[("alertname", "x"), ("host", "b")], 2_000),
        ]);
        assert_eq!(told.common_labels().to_string(), "{alertname=\"x\"}");
        assert_eq!(told.common_annotations().len(), 1);
        let told = notification(vec![alert(&[("a", "b")], 5), alert(&[("a", "b")], 2_000)]);
        assert!(told.common_annotations().is_empty());
        assert_eq!((told.firing().count(), told.resolved().count()), (1, 1));
        assert!(notification(Vec::new()).common_labels().is_empty());
    }
}
