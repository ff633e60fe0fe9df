//! The life of a group in one slot: claim it, find its state, evaluate it, store what happened, tell the
//! alarms. In this order, so that whatever was told is stored, and whoever lost the claim stores and tells
//! nothing.

use std::sync::Arc;
use std::time::Duration;

use daemon::Context;
use futures_util::future::join_all;
use model::{Labels, Timestamp};
use state::StateError;
use tokio::time::Instant;

use crate::arrival::{Turn, Wave};
use crate::board::Board;
use crate::config::Links;
use crate::deliver::{Delivery, Undelivered};
use crate::documents::Documents;
use crate::eval::Evaluator;
use crate::group::{Claim, GroupRun, with_external};
use crate::metrics::Metrics;
use crate::shard::{Leave, Shard};
use crate::slot::Due;
use crate::wave::Visit;

/// What `/-/ready` calls shared state.
const STATE: &str = "shared state";
/// What `/-/ready` calls a judge's place among the others.
const CIRCLE: &str = "place among the judges";

/// Everything a slot needs.
#[derive(Debug)]
pub(crate) struct Ticker {
    pub(crate) context: Context,
    pub(crate) evaluator: Evaluator,
    pub(crate) documents: Documents,
    pub(crate) shard: Arc<Shard>,
    pub(crate) delivery: Delivery,
    pub(crate) board: Board,
    pub(crate) metrics: Metrics,
    pub(crate) external_labels: Labels,
    pub(crate) links: Links,
}

impl Ticker {
    /// Runs one slot of a group.
    pub(crate) async fn tick(&self, run: &mut GroupRun, due: Due) {
        match self.claim(run, due.slot).await {
            Ok(is_ours) => {
                self.context.has(STATE);
                self.show_hindrance();
                if !is_ours {
                    return;
                }
            }
            Err(error) => return self.state_is_away(run, &error),
        }
        let took = self.evaluate(run, due).await;
        self.shard.finish(&run.group.key, Some((took, run.group.interval)));
        self.metrics.groups_held.set(i64::try_from(self.shard.len()).unwrap_or(i64::MAX));
        self.board.put(run);
    }

    /// Evaluates a slot, stores what happened and tells it; answers how long the evaluation took.
    async fn evaluate(&self, run: &mut GroupRun, due: Due) -> Duration {
        let figures = self.evaluator.evaluate(run, due.slot).await;
        let told_as: Arc<str> = Arc::from(run.group.key.to_string());
        let undelivered = match run.has_told {
            true => self.delivery.undelivered(&told_as),
            false => Undelivered::default(),
        };
        run.forget(due.slot, |labels| {
            undelivered.contains(&with_external(labels, &self.external_labels))
        });
        self.store_and_tell(run, due.slot, &told_as).await;
        if !run.is_removed {
            self.metrics.evaluated(&run.group.key, due.missed, &figures);
        }
        figures.duration
    }

    /// Lets rules of a group ask what arrived. Their recorded series and those of their alerts are written at the
    /// slots only.
    pub(crate) async fn look_on_arrival(&self, run: &mut GroupRun, turn: &Turn) {
        // The next slot takes the group, or tells why it cannot.
        let Some(fencing) = self.shard.begin_between(&run.group.key) else { return };
        if run.claim == Claim::Held(fencing) {
            let is_changed = self.evaluator.look(run, &turn.rules, &turn.wave).await;
            self.conclude(run, is_changed, turn.wave.at).await;
        }
        self.shard.finish(&run.group.key, None);
    }

    /// As [`Ticker::look_on_arrival`] for rules of many groups, to which the wave has brought what they want to know.
    /// The groups come back.
    pub(crate) async fn look_together(&self, visits: Vec<Visit>, wave: &Wave) -> Vec<GroupRun> {
        let look = async |Visit { mut run, rules }: Visit| {
            let Some(fencing) = self.shard.begin_between(&run.group.key) else { return run };
            if run.claim == Claim::Held(fencing) {
                let is_changed = self.evaluator.visit(&mut run, rules, wave).await;
                self.conclude(&mut run, is_changed, wave.at).await;
            }
            self.shard.finish(&run.group.key, None);
            run
        };
        join_all(visits.into_iter().map(look)).await
    }

    /// Stores and tells what a look between the slots found.
    async fn conclude(&self, run: &mut GroupRun, is_changed: bool, now: Timestamp) {
        if is_changed {
            let told_as: Arc<str> = Arc::from(run.group.key.to_string());
            self.store_and_tell(run, now, &told_as).await;
            self.board.put(run);
        }
    }

    async fn store_and_tell(&self, run: &mut GroupRun, now: Timestamp, told_as: &Arc<str>) {
        match self.save(run, now).await {
            Ok(()) => {
                let told = run.told(now, &self.external_labels, &self.links);
                // Most groups have nothing to say, slot after slot.
                if run.has_told || !told.is_empty() {
                    self.delivery.publish(told_as, &told, self.context.clock.now());
                }
                run.has_told = !told.is_empty();
            }
            Err(StateError::Fenced { .. }) => {
                self.shard.lost(&run.group.key);
                self.delivery.drop_departed();
                self.lose(run);
            }
            // Nothing is told that is not stored. The next slot stores both, and the alarms meanwhile hear
            // what was told before.
            Err(error) => self.state_is_away(run, &error),
        }
    }

    /// Ends what is kept of a group that is no more.
    pub(crate) async fn bury(&self, run: &GroupRun) {
        let key = &run.group.key;
        self.evaluator.passes.leave(key);
        self.delivery.forget(&Arc::from(key.to_string()));
        if run.claim != Claim::None {
            let removed = self.documents.remove(key).await;
            if let Err(error) = removed.and(self.shard.remove(key).await) {
                self.state_is_away(run, &error);
            }
        }
    }

    /// Looks which groups are this judge's to evaluate.
    pub(crate) async fn look(&self) {
        match self.shard.look().await {
            Ok(()) => {
                self.context.has(STATE);
                self.show_hindrance();
                self.delivery.drop_departed();
            }
            Err(error) => self.note_state_failure(&error),
        }
        self.metrics.groups_held.set(i64::try_from(self.shard.len()).unwrap_or(i64::MAX));
    }

    /// Gives all groups to other judges.
    pub(crate) async fn leave(&self) {
        if let Err(error) = self.shard.leave().await {
            self.note_state_failure(&error);
        }
    }

    fn show_hindrance(&self) {
        match self.shard.hindrance() {
            Some(reason) => self.context.lacks(CIRCLE, reason),
            None => self.context.has(CIRCLE),
        }
    }

    /// Makes sure that this judge speaks for the group in this slot and has its state; `false` when another judge
    /// does.
    async fn claim(&self, run: &mut GroupRun, slot: Timestamp) -> Result<bool, StateError> {
        let leave = self.shard.begin(&run.group.key, slot, run.last_success()).await?;
        let Some(leave) = leave else {
            self.lose(run);
            return Ok(false);
        };
        if run.claim != Claim::Held(leave.fencing)
            && let Err(error) = self.restore(run, leave, self.context.clock.now()).await
        {
            self.shard.finish(&run.group.key, None);
            return Err(error);
        }
        Ok(true)
    }

    async fn restore(
        &self,
        run: &mut GroupRun,
        leave: Leave,
        now: Timestamp,
    ) -> Result<(), StateError> {
        let begun = Instant::now();
        let document = self.documents.load(&run.group.key).await?;
        self.metrics.aliases.group_restored(&run.group.key, begun.elapsed());
        if let Err(reason) = run.restore(document.as_deref(), leave, now) {
            tracing::error!(group = %run.group.key, reason, "stored alerts cannot be read; starting without");
        }
        // The alarms hear of the alerts at once, not only when the first query has succeeded.
        let told = run.told(now, &self.external_labels, &self.links);
        self.delivery.publish(&Arc::from(run.group.key.to_string()), &told, now);
        Ok(())
    }

    async fn save(&self, run: &mut GroupRun, slot: Timestamp) -> Result<(), StateError> {
        let Claim::Held(fencing) = run.claim else { return Ok(()) };
        if let Some(document) = run.document(slot, fencing) {
            self.documents.save(&run.group.key, document, fencing).await?;
            run.note_saved(slot, fencing);
        }
        Ok(())
    }

    fn lose(&self, run: &mut GroupRun) {
        if run.claim == Claim::None {
            return;
        }
        tracing::info!(group = %run.group.key, "another judge speaks for this group now");
        self.evaluator.passes.leave(&run.group.key);
        run.lose();
        self.board.put(run);
    }

    fn state_is_away(&self, run: &GroupRun, error: &StateError) {
        tracing::error!(group = %run.group.key, "shared state failed, so nothing new is told of the group");
        self.note_state_failure(error);
    }

    fn note_state_failure(&self, error: &StateError) {
        self.metrics.state_failures.inc();
        let mut reason = error.to_string();
        if let Some(cause) = std::error::Error::source(error) {
            reason.push_str(&format!(": {cause}"));
        }
        tracing::error!(reason, "shared state failed");
        self.context.lacks(STATE, reason);
    }
}
