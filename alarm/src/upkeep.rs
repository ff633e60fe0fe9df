//! What happens without a request: repeats, offers to new receivers, forgetting what is old, gauges.

use std::time::Duration;

use db::alerts::{AlertSearch, AlertStatus};
use model::{Fingerprint, Timestamp};
use wire::silence::SilenceState;

use crate::app::Common;
use crate::pipeline::Reason;
use crate::queue::{Queue, Ticket};
use crate::severity::Severity;
use crate::silence::Silence;
use crate::silences::Silences;

const INTERVAL: Duration = Duration::from_secs(5);
/// By then another instance's change of a silence is known here.
const LEARNED_WITHIN: Duration = Duration::from_secs(10);
const PRUNE_INTERVAL: Duration = Duration::from_secs(3600);
/// The most tickets of one kind that one round adds to a queue; the rest follows in the next.
const TICKETS_PER_ROUND: u32 = 1_000;
/// For how long a notification that was given up counts as undelivered.
pub(crate) const UNDELIVERED_FOR: Duration = Duration::from_secs(86_400);

/// The task that looks after what is stored.
#[derive(Debug)]
pub(crate) struct Upkeep {
    pub(crate) common: Common,
    pub(crate) queues: Vec<Queue>,
    pub(crate) repeat_interval: Duration,
    pub(crate) retention: Duration,
    /// Whether a receiver may still not know of something that fired before the start.
    pub(crate) may_be_untold: bool,
    pub(crate) silences: Silences,
    /// What silences held back that ended before this has been offered; `None` before the first time.
    pub(crate) freed_until: Option<Timestamp>,
}

impl Upkeep {
    /// Works every few seconds for as long as the process runs.
    pub(crate) async fn run(mut self) {
        let mut prune_at = self.common.clock.now();
        loop {
            let now = self.common.clock.now();
            self.offer_rest(now).await;
            self.offer_freed(now).await;
            self.report("queue repeats", self.repeat(now).await);
            self.report("update the gauges", self.measure(now).await);
            if now >= prune_at {
                self.report("forget old alerts", self.prune(now).await);
                prune_at = now.plus(PRUNE_INTERVAL);
            }
            self.common.clock.sleep(INTERVAL).await;
        }
    }

    fn report(&self, what: &'static str, result: anyhow::Result<()>) {
        if let Err(error) = result {
            self.common.metrics.store_failures.inc();
            tracing::error!(error = format!("{error:#}"), "cannot {what}; trying again later");
        }
    }

    /// After a start the settings may be others: every receiver is offered what fires and it knows nothing
    /// of. Done once before the first new alert comes in, whose own ticket would be a second one.
    pub(crate) async fn offer_rest(&mut self, now: Timestamp) {
        if self.may_be_untold {
            let offered = self.offer(now).await;
            self.may_be_untold = offered.as_ref().copied().unwrap_or(true);
            self.report("offer firing alerts to the receivers", offered.map(drop));
        }
    }

    /// Answers whether there may be more.
    async fn offer(&self, now: Timestamp) -> anyhow::Result<bool> {
        let mut is_full = false;
        for queue in &self.queues {
            let untold =
                self.common.db.alerts().untold(queue.receiver(), TICKETS_PER_ROUND).await?;
            is_full |= untold.len() >= TICKETS_PER_ROUND as usize;
            push_all(queue, "offer", untold, now).await?;
        }
        Ok(is_full)
    }

    /// Offers the receivers what silences held back, when one has ended since the last round.
    async fn offer_freed(&mut self, now: Timestamp) {
        let has_ended = |silence: &Silence, since: Timestamp| {
            silence.state(now) == SilenceState::Expired && silence.ends_at >= since
        };
        let is_due = self.freed_until.is_none_or(|until| {
            self.silences.known().iter().any(|silence| has_ended(silence, until))
        });
        let offered = if is_due { self.offer_held_back(now).await } else { Ok(()) };
        if offered.is_ok() {
            self.freed_until = Some(now.minus(LEARNED_WITHIN));
        }
        self.report("offer what a silence held back", offered);
    }

    async fn offer_held_back(&self, now: Timestamp) -> anyhow::Result<()> {
        for queue in &self.queues {
            let mut after = Fingerprint(0);
            loop {
                let held = self.common.db.alerts();
                let reason = Reason::Silenced.as_str();
                let held =
                    held.held_back(queue.receiver(), reason, after, TICKETS_PER_ROUND).await?;
                let Some((last, ..)) = held.last() else { break };
                after = *last;
                push_all(queue, "unsilenced", held, now).await?;
            }
        }
        Ok(())
    }

    async fn repeat(&self, now: Timestamp) -> anyhow::Result<()> {
        let before = now.minus(self.repeat_interval);
        for queue in &self.queues {
            let due = self
                .common
                .db
                .alerts()
                .due_repeats(queue.receiver(), before, TICKETS_PER_ROUND)
                .await?;
            push_all(queue, "repeat", due, now).await?;
        }
        Ok(())
    }

    async fn measure(&self, now: Timestamp) -> anyhow::Result<()> {
        let counts = self.common.db.alerts().counts(&AlertSearch::default()).await?;
        for status in [AlertStatus::Firing, AlertStatus::Stale, AlertStatus::Resolved] {
            for severity in Severity::ALL {
                let stored =
                    counts.iter().find(|c| (c.status, c.priority) == (status, severity.rank()));
                let alerts = stored.map_or(0, |count| count.alerts);
                self.common.metrics.set_stored(
                    status,
                    severity,
                    i64::try_from(alerts).unwrap_or(i64::MAX),
                );
            }
        }
        for queue in &self.queues {
            let events = queue.length().await?;
            self.common
                .metrics
                .set_queued(queue.receiver(), i64::try_from(events).unwrap_or(i64::MAX));
        }
        let failed = self.common.db.alerts().failed_since(now.minus(UNDELIVERED_FOR)).await?;
        self.common.metrics.undelivered.set(i64::try_from(failed).unwrap_or(i64::MAX));
        Ok(())
    }

    async fn prune(&self, now: Timestamp) -> anyhow::Result<()> {
        let silences = self.silences.prune(now).await?;
        let rows = silences + self.common.db.alerts().prune(now.minus(self.retention)).await?;
        if rows > 0 {
            tracing::info!(rows, "forgot what is older than alarm.retention");
        }
        Ok(())
    }
}

async fn push_all(
    queue: &Queue,
    why: &str,
    tickets: Vec<(Fingerprint, u8, Timestamp)>,
    now: Timestamp,
) -> anyhow::Result<()> {
    for (fingerprint, priority, last_at) in tickets {
        // The same ticket until something came of it, so a slow receiver does not gather repeats.
        let id = format!("{fingerprint}-{why}-{}", last_at.0);
        queue.push(&id, priority, Ticket { fingerprint, at: now }, now).await?;
    }
    Ok(())
}
