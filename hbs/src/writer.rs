//! Writes what changed of the fleet to the database, in batches.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use daemon::{Clock, Context, Stop};
use db::Db;

use crate::fleet::Fleet;
use crate::metrics::Metrics;

const BATCH_EVERY: Duration = Duration::from_secs(1);

/// Stores until it is told to stop, then stores once more what is left.
pub(crate) async fn store(
    db: Db,
    fleet: Arc<Mutex<Fleet>>,
    metrics: Metrics,
    context: Context,
    stop: Stop,
) {
    let system = Clock::System;
    while stop.sleep(&system, BATCH_EVERY).await {
        store_once(&db, &fleet, &metrics, &context).await;
    }
    store_once(&db, &fleet, &metrics, &context).await;
}

async fn store_once(db: &Db, fleet: &Mutex<Fleet>, metrics: &Metrics, context: &Context) {
    let rows = lock(fleet).take_to_store();
    if rows.is_empty() {
        return;
    }
    match db.hosts().record(&rows).await {
        Ok(()) => {
            metrics.hosts_stored.inc_by(rows.len() as u64);
            context.has("database");
        }
        Err(error) => {
            metrics.store_failures.inc();
            tracing::warn!(
                hosts = rows.len(),
                error = &error as &dyn std::error::Error,
                "hosts wait to be stored"
            );
            context.lacks("database", error.to_string());
            lock(fleet).store_again(rows);
        }
    }
}

fn lock(fleet: &Mutex<Fleet>) -> MutexGuard<'_, Fleet> {
    fleet.lock().unwrap_or_else(PoisonError::into_inner)
}
