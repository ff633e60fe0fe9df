//! A message to a receiver before it is put into the words of a channel.

use model::{Alert, Labels, Timestamp};
use wire::alert::FiringStatus;

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

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

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
            alerts,
            left_out: 0,
            external_url: "http://alarm".to_owned(),
            priority: 0,
            at: Timestamp(1_000),
            event_at: Timestamp(900),
        }
    }
}
