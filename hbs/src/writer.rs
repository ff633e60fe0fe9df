//! Writes what changed of the fleet to the database, in batches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use daemon::{Clock, Context, Stop};
use db::{DbError, HostRow};

use crate::app::App;
use crate::fleet::Batch;

const BATCH_EVERY: Duration = Duration::from_secs(1);

/// Stores until it is told to stop, then stores once more what is left.
pub(crate) async fn store(app: Arc<App>, context: Context, stop: Stop) {
    let system = Clock::System;
    while stop.sleep(&system, BATCH_EVERY).await {
        store_once(&app, &context).await;
    }
    store_once(&app, &context).await;
}

async fn store_once(app: &App, context: &Context) {
    let batch = app.fleet().take_to_store();
    let count = batch.rows.len() + batch.sights.len();
    if count == 0 {
        return;
    }
    match write(app, &batch).await {
        Ok(()) => {
            app.metrics.hosts_stored.inc_by(count as u64);
            context.has("database");
        }
        Err(error) => {
            app.metrics.store_failures.inc();
            tracing::warn!(
                hosts = count,
                error = &error as &dyn std::error::Error,
                "hosts wait to be stored"
            );
            context.lacks("database", daemon::error_chain(&error));
            app.fleet().store_again(batch);
        }
    }
    app.metrics.hosts_waiting.set(i64::try_from(app.fleet().waiting()).unwrap_or(i64::MAX));
}

// Writing a batch again that was written in part changes nothing.
async fn write(app: &App, batch: &Batch) -> Result<(), DbError> {
    app.db.hosts().record_sights(&batch.sights).await?;
    if batch.rows.is_empty() {
        return Ok(());
    }
    app.db.hosts().record(&batch.rows).await?;
    let snapshot = app.share.current();
    let matching = {
        let fleet = app.fleet();
        let of = |row: &HostRow| {
            let labels = fleet.host(&row.name).map(|host| &host.labels)?;
            Some((row.name.clone(), snapshot.matching(&row.name, labels)))
        };
        batch.rows.iter().filter_map(of).collect::<BTreeMap<_, _>>()
    };
    app.db.groups().set_matching(&matching).await
}
