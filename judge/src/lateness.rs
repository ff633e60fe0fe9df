//! Whether an alarm takes news too slowly, and the alert that judge raises about that. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::{ALERT_NAME, Labels, Timestamp};

use crate::alert_state::RESOLVED_RETENTION;
use crate::group::with_external;
use crate::told::{News, Told};

/// The alert that judge raises about itself when an alarm takes news too slowly.
const LATE: &str = "JudgeNotificationsLate";

/// Whether news for an alarm waits longer than half a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lateness {
    /// It does not.
    InTime,
    /// It does, since then.
    Late(Timestamp),
    /// It did, in between.
    Over(Timestamp, Timestamp),
}

impl Lateness {
    pub(crate) fn next(self, is_late: bool, now: Timestamp) -> Self {
        match (self, is_late) {
            (Self::Late(since), true) => Self::Late(since.min(now)),
            (Self::InTime | Self::Over(..), true) => Self::Late(now),
            (Self::Late(since), false) => Self::Over(since.min(now), now),
            (Self::Over(_, until), false) if now.since(until) > RESOLVED_RETENTION => Self::InTime,
            (unchanged, false) => unchanged,
        }
    }

    /// What is to be said of an alarm, by its address, and of the judge that says it.
    pub(crate) fn told(
        self,
        (url, instance): (&str, &str),
        external: &Labels,
        interval: Duration,
    ) -> Option<Arc<Told>> {
        let (starts_at, news) = match self {
            Self::InTime => return None,
            Self::Late(since) => (since, News::Firing),
            Self::Over(since, until) => (since, News::Resolved(until)),
        };
        let labels =
            [(ALERT_NAME, LATE), ("alarm", url), ("instance", instance), ("severity", "critical")];
        let summary = format!(
            "{url} takes alerts too slowly, or not at all: news waits longer than half its lease"
        );
        Some(Arc::new(Told {
            labels: with_external(&Labels::from_pairs(labels), external),
            annotations: BTreeMap::from([("summary".to_owned(), summary)]),
            generator_url: Arc::from(""),
            starts_at,
            news,
            interval,
        }))
    }
}
