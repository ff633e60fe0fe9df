//! Silences that end by themselves, some time after the last alert they held for was resolved: whoever silences a
//! disk that is being replaced need not guess how long that takes, and the next time it fills is told again.

use std::time::Duration;

use db::alerts::{AlertSearch, AlertStatus, StoredAlert};
use model::Timestamp;
use wire::silence::SilenceState;

use crate::app::Common;
use crate::dispatch::Dispatcher;
use crate::silence::Silence;

const INTERVAL: Duration = Duration::from_secs(15);
/// Ended alerts that are looked at; a silence over more ends at its own end at the latest.
const ENDED_MAX: u32 = 100_000;

/// The task that ends them.
#[derive(Debug)]
pub(crate) struct SilenceEnds {
    pub(crate) common: Common,
    pub(crate) dispatcher: Dispatcher,
}

impl SilenceEnds {
    /// Works for as long as the process runs, on the instance that dispatches.
    pub(crate) async fn run(self) {
        loop {
            let now = self.common.clock.now();
            if self.dispatcher.leads(now)
                && let Err(error) = self.end_those_that_are_done(now).await
            {
                self.common.metrics.store_failures.inc();
                let error = format!("{error:#}");
                tracing::error!(error, "cannot end silences; trying again later");
            }
            self.common.clock.sleep(INTERVAL).await;
        }
    }

    async fn end_those_that_are_done(&self, now: Timestamp) -> anyhow::Result<()> {
        let known = self.common.silences.known();
        let ends = |silence: &&Silence| {
            silence.ends_after().is_some() && silence.state(now) == SilenceState::Active
        };
        let silences: Vec<&Silence> = known.iter().filter(ends).collect();
        let Some(since) = silences.iter().map(|silence| silence.starts_at).min() else {
            return Ok(());
        };
        let unresolved = AlertSearch {
            statuses: vec![AlertStatus::Firing, AlertStatus::Stale],
            ..AlertSearch::default()
        };
        let alerts = self.common.db.alerts();
        let open = alerts.search(&unresolved, 0, u32::MAX).await?;
        let ended = alerts.ended_since(since, ENDED_MAX).await?;
        for silence in silences {
            if is_done(silence, &open, &ended, now) {
                self.common.silences.expire(&silence.id, ("alarm", ""), now).await?;
                tracing::info!(silence.id = silence.id, "silence ended with its alerts");
            }
        }
        Ok(())
    }
}

/// Whether a silence held for something, and all of that was resolved long enough ago. An alert that went silent may
/// still fire, so it keeps the silence.
pub(crate) fn is_done(
    silence: &Silence,
    open: &[StoredAlert],
    ended: &[StoredAlert],
    now: Timestamp,
) -> bool {
    let is_held = |stored: &&StoredAlert| silence.holds(&stored.alert.labels, now);
    let Some(ends_after) = silence.ends_after() else { return false };
    if open.iter().any(|stored| is_held(&stored)) {
        return false;
    }
    let ends = ended.iter().filter(is_held).map(|stored| stored.alert.ends_at);
    // What was over before the silence began is not what it was made for.
    let last = ends.filter(|end| *end >= silence.starts_at).max();
    last.is_some_and(|last| last.plus(ends_after) <= now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::tests::candidate;
    use crate::silence::tests::{matcher, silence};

    const MINUTE: Duration = Duration::from_secs(60);

    fn alert(status: AlertStatus, ends_at: i64) -> StoredAlert {
        let mut stored = candidate(status, 0, None).alert;
        stored.alert.ends_at = Timestamp(ends_at);
        stored
    }

    /// Ten minutes after the end of what is about disks; it began at 1,000 s.
    fn about_disks() -> Silence {
        let matchers = vec![matcher("alertname", "disk full", false)];
        let mut silence = silence("a", matchers, Timestamp(1_000_000));
        silence.ends_after = Some(10 * MINUTE);
        silence
    }

    #[test]
    fn it_ends_some_time_after_the_last_of_its_alerts() {
        let silence = about_disks();
        let ended =
            [alert(AlertStatus::Resolved, 1_200_000), alert(AlertStatus::Resolved, 1_100_000)];
        let is_done = |at: i64| is_done(&silence, &[], &ended, Timestamp(at));
        assert_eq!((is_done(1_799_999), is_done(1_800_000)), (false, true));
    }

    #[test]
    fn what_fires_or_went_silent_keeps_it_and_what_never_was_does_not_end_it() {
        let silence = about_disks();
        let now = Timestamp(3_000_000);
        let ended = [alert(AlertStatus::Resolved, 1_200_000)];
        for status in [AlertStatus::Firing, AlertStatus::Stale] {
            assert!(!is_done(&silence, &[alert(status, 1_100_000)], &ended, now));
        }
        assert!(!is_done(&silence, &[], &[], now), "it has not held for anything yet");
        let before = [alert(AlertStatus::Resolved, 999_999)];
        assert!(!is_done(&silence, &[], &before, now), "that was over before");
        let mut other = alert(AlertStatus::Firing, 0);
        other.alert.labels = model::Labels::from_pairs([("alertname", "load")]);
        assert!(is_done(&silence, &[other], &ended, now), "that is none of its alerts");
    }
}
