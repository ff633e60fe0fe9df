//! Who is told what, as it changes: what the settings or the file say, and the objects of the database
//! beside it.

use std::sync::{Arc, Mutex, PoisonError};

use daemon::Caller;
use db::{Db, DbError, RoutingChange, RoutingRow, Trail};
use model::Timestamp;
use serde_json::Value;
use thiserror::Error;
use tokio::sync::watch;

use super::edit::{Change, EditFault, Edited, Wish, called, edit};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::plan::Plan;

/// So often a change is checked again because somebody else was sooner.
const TRIES_MAX: usize = 8;

/// Why a change was not made.
#[derive(Debug, Error)]
pub(crate) enum ChangeFault {
    /// It is refused.
    #[error(transparent)]
    Refused(#[from] EditFault),
    /// Others change objects all the time.
    #[error("others change routes and receivers all the time; send again")]
    Busy,
    /// The store failed, so nothing changed.
    #[error("routes and receivers cannot be stored now; send again")]
    Store(#[from] DbError),
}

/// What was made of wishes.
pub(crate) struct Outcome {
    /// The version of what changed; `None` for a dry run, and when nothing changed.
    pub(crate) version: Option<i64>,
    /// What changed, or would.
    pub(crate) changes: Vec<Change>,
    /// The plan that holds then.
    pub(crate) plan: Plan,
}

/// What plans are made of.
#[derive(Debug)]
struct Known {
    /// What the settings or the file say.
    base: Arc<Plan>,
    rows: Arc<Vec<RoutingRow>>,
}

/// Routes and receivers as they change; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct RoutingStore {
    db: Db,
    config: Arc<Config>,
    metrics: Metrics,
    trail: Arc<Trail>,
    known: Arc<Mutex<Known>>,
    plans: watch::Sender<Arc<Plan>>,
    loading: Arc<tokio::sync::Mutex<()>>,
}

impl RoutingStore {
    /// Only `base`, the plan of the settings, is known before the first [`RoutingStore::load`].
    pub(crate) fn new(db: Db, config: Arc<Config>, metrics: Metrics, base: Plan) -> Self {
        let base = Arc::new(base);
        let plans = watch::Sender::new(Arc::clone(&base));
        let known = Arc::new(Mutex::new(Known { base, rows: Arc::default() }));
        let (trail, loading) = (Arc::default(), Arc::default());
        Self { db, config, metrics, trail, known, plans, loading }
    }

    /// The plan that holds, as it changes.
    pub(crate) fn plans(&self) -> watch::Receiver<Arc<Plan>> {
        self.plans.subscribe()
    }

    /// The rows of the database.
    pub(crate) fn rows(&self) -> Arc<Vec<RoutingRow>> {
        Arc::clone(&self.known.lock().unwrap_or_else(PoisonError::into_inner).rows)
    }

    /// The plan of the settings or the file alone.
    pub(crate) fn base(&self) -> Arc<Plan> {
        Arc::clone(&self.known.lock().unwrap_or_else(PoisonError::into_inner).base)
    }

    /// Changes with every change of what is stored.
    pub(crate) async fn stamp(&self) -> Result<(u64, i64, i64), DbError> {
        self.db.routing().stamp().await
    }

    /// Reads all objects from the database.
    pub(crate) async fn load(&self) -> Result<(), DbError> {
        // What was read first must not hold last.
        let _turn = self.loading.lock().await;
        let (_, rows) = self.db.routing().all().await?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // A plan that is no news would have every group looked through.
        if *known.rows != rows {
            known.rows = Arc::new(rows);
            self.announce(known.base.joined(&known.rows));
        }
        Ok(())
    }

    /// Reads the settings' receivers or the file again. All or nothing: with a fault everything stays as
    /// it was.
    pub(crate) fn reload(&self, now: Timestamp) -> anyhow::Result<()> {
        let loaded = Plan::load(&self.config);
        self.metrics.reloaded(loaded.is_ok(), now);
        match loaded {
            Ok(base) => {
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                known.base = Arc::new(base);
                self.announce(known.base.joined(&known.rows));
                Ok(())
            }
            Err(error) => {
                let text = format!("{error:#}");
                tracing::error!(error = text, "the routes and receivers stay as they are");
                Err(error)
            }
        }
    }

    fn announce(&self, plan: Plan) {
        self.metrics.touch(&plan.keys());
        self.metrics.set_routing_objects(&plan.stored);
        let bad = plan.stored.iter().filter(|stored| !stored.fault.is_empty());
        for stored in bad {
            let (object, fault) = (called(&stored.kind, &stored.name), stored.fault.as_str());
            tracing::error!(fault, "{object} of the database is left out");
        }
        let (receivers, objects) = (plan.receivers.len(), plan.stored.len());
        tracing::info!(receivers, objects, "routes and receivers are loaded");
        self.plans.send_replace(Arc::new(plan));
    }

    /// Grants these wishes, all or none.
    pub(crate) async fn change(
        &self,
        caller: &Caller,
        wishes: &[Wish],
        is_dry_run: bool,
        now: Timestamp,
    ) -> Result<Outcome, ChangeFault> {
        for _ in 0..TRIES_MAX {
            // Checked against what is stored at this moment: another instance may have removed a receiver
            // just now.
            let (revision, rows) = self.db.routing().all().await?;
            let Edited { changes, plan } = edit(&self.base(), &rows, wishes.to_vec())?;
            if is_dry_run || changes.is_empty() {
                return Ok(Outcome { version: None, changes, plan });
            }
            let to_store: Vec<RoutingChange> = changes
                .iter()
                .map(|change| self.row_change(caller, change, revision + 1, now))
                .collect();
            let Some(version) = self.db.routing().change(revision, &to_store).await? else {
                continue;
            };
            for change in &changes {
                let object = called(change.kind.as_str(), &change.name);
                let verb = if change.body.is_some() { "stored" } else { "removed" };
                tracing::info!(actor = caller.actor, version, "{object} is {verb}");
            }
            self.load().await?;
            return Ok(Outcome { version: Some(version), changes, plan });
        }
        Err(ChangeFault::Busy)
    }

    /// What these wishes would come to by what is known here.
    pub(crate) fn trial(&self, wishes: Vec<Wish>) -> Result<Edited, EditFault> {
        edit(&self.base(), &self.rows(), wishes)
    }

    fn row_change(
        &self,
        caller: &Caller,
        change: &Change,
        version: i64,
        now: Timestamp,
    ) -> RoutingChange {
        let verb = if change.body.is_some() { "put" } else { "remove" };
        let kind = change.kind.as_str();
        let (action, target) = (format!("{kind}.{verb}"), format!("{kind}/{}", change.name));
        let by = (caller.actor.as_str(), &*caller.peer.to_string());
        let mut entry = self.trail.entry(by, &action, &target, now);
        let mut detail: Value = serde_json::from_str(&change.detail).unwrap_or_default();
        detail["version"] = Value::from(version);
        entry.detail = detail.to_string();
        RoutingChange { kind, name: change.name.clone(), body: change.body.clone(), entry }
    }
}
