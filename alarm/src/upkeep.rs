//! What happens without a request: offers of what was held back, forgetting what is old, gauges.

use std::time::Duration;

use db::alerts::{AlertSearch, AlertStatus};
use model::{Fingerprint, Timestamp};
use wire::silence::SilenceState;

use crate::app::Common;
use crate::claims::{self};
use crate::dispatch::{Dispatcher, Message};
use crate::pipeline::Reason;
use crate::severity::Severity;
use crate::silence::Silence;

const INTERVAL: Duration = Duration::from_secs(5);
/// By then another instance's change of a silence is known here.
const LEARNED_WITHIN: Duration = Duration::from_secs(10);
const PRUNE_INTERVAL: Duration = Duration::from_secs(3600);
/// Alerts that one query for what was held back answers with.
const ALERTS_PER_QUERY: u32 = 1_000;
/// For how long a notification that was given up counts as undelivered.
pub(crate) const UNDELIVERED_FOR: Duration = Duration::from_secs(86_400);

/// The task that looks after what is stored.
#[derive(Debug)]
pub(crate) struct Upkeep {
    pub(crate) common: Common,
    pub(crate) dispatcher: Dispatcher,
    /// What silences and claims held back that ended before this has been offered; `None` before the first time.
    pub(crate) freed_until: Option<Timestamp>,
    /// What maintenance windows held back that ended up to this has been offered.
    pub(crate) offered_end: Timestamp,
}

impl Upkeep {
    /// Works every few seconds for as long as the process runs.
    pub(crate) async fn run(mut self) {
        let mut prune_at = self.common.clock.now();
        loop {
            let now = self.common.clock.now();
            if self.dispatcher.leads(now) {
                self.offer_freed(now).await;
            } else {
                self.freed_until = None;
            }
            self.report("write the tables of alerts", self.settle(now).await);
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

    async fn settle(&self, now: Timestamp) -> anyhow::Result<()> {
        Ok(self.common.db.alerts().settle_old(now).await?)
    }

    /// Offers the receivers what silences and claims held back, when one has ended since the last round.
    async fn offer_freed(&mut self, now: Timestamp) {
        let has_ended = |silence: &Silence, since: Timestamp| {
            silence.state(now) == SilenceState::Expired && silence.ends_at >= since
        };
        let is_due = self.freed_until.is_none_or(|until| {
            self.common.silences.known().iter().any(|silence| has_ended(silence, until))
        });
        let mut offered =
            if is_due { self.offer_held_back(Reason::Silenced).await } else { Ok(()) };
        let ended_at = self.common.maintenance.known().ended_at();
        if self.freed_until.is_none() || ended_at > self.offered_end {
            offered = offered.and(self.offer_held_back(Reason::Maintenance).await);
            // Until then a ticket may be looked at with what was known before.
            if offered.is_ok() && now >= ended_at.plus(LEARNED_WITHIN) {
                self.offered_end = ended_at;
            }
        }
        if offered.is_ok() {
            self.freed_until =
                Some(now.minus(if is_due { LEARNED_WITHIN } else { Duration::ZERO }));
        }
        self.report("offer what was held back", offered);
    }

    async fn offer_held_back(&self, reason: Reason) -> anyhow::Result<()> {
        offer_held_back(&self.common, &self.dispatcher, reason).await
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
        let keys = self.common.plans.borrow().keys();
        for key in keys {
            let events = self.common.queues.of(&key).length().await?;
            self.common.metrics.set_queued(&key, i64::try_from(events).unwrap_or(i64::MAX));
        }
        let failed = self.common.db.alerts().failed_since(now.minus(UNDELIVERED_FOR)).await?;
        self.common.metrics.undelivered.set(i64::try_from(failed).unwrap_or(i64::MAX));
        Ok(())
    }

    async fn prune(&self, now: Timestamp) -> anyhow::Result<()> {
        let silences = self.common.silences.prune(now).await?;
        let claims = self.common.db.claims().prune(now.minus(claims::KEPT_FOR)).await?;
        let stand_ins = self.common.directory.prune(now).await?;
        let retention = self.common.config.retention;
        let steps = self.common.db.claims().prune_steps(now.minus(retention)).await?;
        let acks = self.common.db.noise().prune(now.minus(retention)).await?;
        let rows = silences
            + claims
            + steps
            + stand_ins
            + acks
            + self.common.db.alerts().prune(now.minus(retention)).await?
            // Hbs does so too, where it shares the database.
            + self.common.db.audit().forget_before(now.minus(db::audit::KEPT)).await?;
        if rows > 0 {
            tracing::info!(rows, "forgot what is older than alarm.retention");
        }
        Ok(())
    }
}

/// Offers the receivers what was held back for a reason.
pub(crate) async fn offer_held_back(
    common: &Common,
    dispatcher: &Dispatcher,
    reason: Reason,
) -> anyhow::Result<()> {
    let keys = common.plans.borrow().keys();
    for key in keys {
        let mut after = Fingerprint(0);
        loop {
            let table = common.db.alerts();
            let held = table.held_back(&key, reason.as_str(), after, ALERTS_PER_QUERY).await?;
            let Some((last, ..)) = held.last() else { break };
            after = *last;
            let fingerprints = held.into_iter().map(|(fingerprint, ..)| fingerprint).collect();
            let offer = Message::Offer { fingerprints, is_repeat: false };
            dispatcher.tell(offer).await;
        }
    }
    Ok(())
}
