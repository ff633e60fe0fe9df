//! What happens without a request: repeats, offers to new receivers, forgetting what is old, gauges.

use std::time::Duration;

use daemon::Clock;
use db::Db;
use db::alerts::{AlertSearch, AlertStatus};
use model::{Fingerprint, Timestamp};

use crate::metrics::Metrics;
use crate::queue::{Queue, Ticket};
use crate::severity::Severity;

const INTERVAL: Duration = Duration::from_secs(5);
const PRUNE_INTERVAL: Duration = Duration::from_secs(3600);
/// The most tickets of one kind that one round adds to a queue; the rest follows in the next.
const TICKETS_PER_ROUND: u32 = 1_000;
/// For how long a notification that was given up counts as undelivered.
pub(crate) const UNDELIVERED_FOR: Duration = Duration::from_secs(86_400);

/// The task that looks after what is stored.
#[derive(Debug)]
pub(crate) struct Upkeep {
    pub(crate) db: Db,
    pub(crate) queues: Vec<Queue>,
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
    pub(crate) repeat_interval: Duration,
    pub(crate) retention: Duration,
}

impl Upkeep {
    /// Works every few seconds for as long as the process runs.
    pub(crate) async fn run(self) {
        self.report("offer firing alerts to the receivers", self.offer().await);
        let mut prune_at = self.clock.now();
        loop {
            let now = self.clock.now();
            self.report("queue repeats", self.repeat(now).await);
            self.report("update the gauges", self.measure(now).await);
            if now >= prune_at {
                self.report("forget old alerts", self.prune(now).await);
                prune_at = now.plus(PRUNE_INTERVAL);
            }
            self.clock.sleep(INTERVAL).await;
        }
    }

    fn report(&self, what: &'static str, result: anyhow::Result<()>) {
        if let Err(error) = result {
            self.metrics.store_failures.inc();
            tracing::error!(error = format!("{error:#}"), "cannot {what}; trying again later");
        }
    }

    /// After a start the settings may be others: every receiver is offered what fires and it knows nothing of.
    async fn offer(&self) -> anyhow::Result<()> {
        let now = self.clock.now();
        for queue in &self.queues {
            let untold = self.db.alerts().untold(queue.receiver(), TICKETS_PER_ROUND).await?;
            push_all(queue, "offer", untold, now).await?;
        }
        Ok(())
    }

    async fn repeat(&self, now: Timestamp) -> anyhow::Result<()> {
        let before = now.minus(self.repeat_interval);
        for queue in &self.queues {
            let due = self.db.alerts().due_repeats(queue.receiver(), before, TICKETS_PER_ROUND).await?;
            push_all(queue, "repeat", due, now).await?;
        }
        Ok(())
    }

    async fn measure(&self, now: Timestamp) -> anyhow::Result<()> {
        let counts = self.db.alerts().counts(&AlertSearch::default()).await?;
        for status in [AlertStatus::Firing, AlertStatus::Stale, AlertStatus::Resolved] {
            for severity in Severity::ALL {
                let stored = counts.iter().find(|c| (c.status, c.priority) == (status, severity.rank()));
                let alerts = stored.map_or(0, |count| count.alerts);
                self.metrics.set_stored(status, severity, i64::try_from(alerts).unwrap_or(i64::MAX));
            }
        }
        for queue in &self.queues {
            let events = queue.length().await?;
            self.metrics.set_queued(queue.receiver(), i64::try_from(events).unwrap_or(i64::MAX));
        }
        let failed = self.db.alerts().failed_since(now.minus(UNDELIVERED_FOR)).await?;
        self.metrics.undelivered.set(i64::try_from(failed).unwrap_or(i64::MAX));
        Ok(())
    }

    async fn prune(&self, now: Timestamp) -> anyhow::Result<()> {
        let rows = self.db.alerts().prune(now.minus(self.retention)).await?;
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
