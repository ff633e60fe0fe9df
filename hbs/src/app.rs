//! The wiring of hbs, in the order of its start.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use daemon::Context;
use db::Db;
use state::State;

use crate::Config;
use crate::fleet::Fleet;
use crate::http::{self, App};
use crate::metrics::Metrics;
use crate::{age, writer};

/// What hbs needs from others.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Where hosts are kept.
    pub db: Db,
    /// What all hbs share: leases and the snapshot of the groups.
    pub state: State,
}

/// Starts hbs; returns the address it listens on.
pub async fn start(config: Config, deps: Deps, context: &Context) -> anyhow::Result<SocketAddr> {
    let metrics = Metrics::register(context);
    let stored = deps.db.hosts().all().await.context("load the hosts")?;
    metrics.hosts.set(i64::try_from(stored.len()).unwrap_or(i64::MAX));
    let fleet = Arc::new(Mutex::new(Fleet::new(stored, config.hosts_max, context.clock.now())));

    let (db, in_writer, counted, ctx) =
        (deps.db.clone(), fleet.clone(), metrics.clone(), context.clone());
    context.spawn_graceful("host writer", move |stop| {
        writer::store(db, in_writer, counted, ctx, stop)
    });
    context.spawn(
        "heartbeat ages",
        age::export(config.clone(), fleet.clone(), metrics.clone(), context.clone()),
    );

    let app = App { clock: context.clock.clone(), db: deps.db, fleet, metrics, config };
    let listen = app.config.listen;
    context.listen(listen, http::routes(Arc::new(app))).await
}
