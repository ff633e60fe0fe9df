//! What a rule says of an alert, on its way to an alarm.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::{Alert, Labels, Timestamp};

/// How long a firing alert is repeated when its rule can no longer be evaluated. Afterwards the alarm is left
/// to notice that the news has become old.
pub(crate) const RENEWAL_MAX: Duration = Duration::from_secs(3600);

/// What a rule says of an alert.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Told {
    /// Identity of the alert, external labels included.
    pub(crate) labels: Labels,
    /// Texts for humans.
    pub(crate) annotations: BTreeMap<String, String>,
    /// Where the rule can be looked at.
    pub(crate) generator_url: Arc<str>,
    /// When it began to fire.
    pub(crate) starts_at: Timestamp,
    /// Whether it still fires.
    pub(crate) news: News,
    /// Interval of the rule's group: the slower the rule, the longer its word holds.
    pub(crate) interval: Duration,
}

/// Whether an alert still fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// It fires.
    Firing,
    /// It ended then.
    Resolved(Timestamp),
}

impl Told {
    /// The end that is sent at `now`: while it fires its news holds for four times the interval or the
    /// patience, whichever is longer.
    pub(crate) fn ends_at(&self, now: Timestamp, patience: Duration) -> Timestamp {
        match self.news {
            News::Firing => now.plus(self.interval.max(patience) * 4),
            News::Resolved(at) => at,
        }
    }

    /// The alert as it is sent.
    pub(crate) fn alert(&self, ends_at: Timestamp) -> Alert {
        Alert {
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
            starts_at: self.starts_at,
            ends_at,
            generator_url: self.generator_url.to_string(),
        }
    }

    /// What makes one word on an alert differ from another that matters.
    pub(crate) fn key(&self) -> (Timestamp, News) {
        (self.starts_at, self.news)
    }
}
