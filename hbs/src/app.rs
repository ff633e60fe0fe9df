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
use crate::upgrades::Upgrades;
use crate::{age, install, upgrade_http, writer};

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

    let upgrades = start_upgrades(&config, &deps, context)?;
    let upgrade_routes =
        upgrade_http::routes(upgrades.clone()).merge(install::routes(config.upgrade.files.clone()));
    let app = App { clock: context.clock.clone(), db: deps.db, fleet, metrics, upgrades, config };
    let listen = app.config.listen;
    context.listen(listen, http::routes(Arc::new(app)).merge(upgrade_routes)).await
}

fn start_upgrades(config: &Config, deps: &Deps, context: &Context) -> anyhow::Result<Upgrades> {
    let (db, state) = (deps.db.clone(), deps.state.clone());
    let upgrades = Upgrades::new(config.upgrade.clone(), db, state, context);
    let (conducting, interval) = (upgrades.clone(), config.heartbeat_interval);
    context.spawn_graceful("rollout", move |stop| conducting.conduct(interval, stop));
    upgrade_http::listen_socket(&upgrades, context)?;
    Ok(upgrades)
}
