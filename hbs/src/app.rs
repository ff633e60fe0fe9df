//! The wiring of hbs, in the order of its start.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use daemon::{Clock, Context, TcpSettings};
use db::Db;
use state::State;

use crate::config::Config;
use crate::door::Door;
use crate::files::FileCache;
use crate::fleet::Fleet;
use crate::metrics::Metrics;
use crate::share::Share;
use crate::trail::Trail;
use crate::upgrades::Upgrades;
use crate::{http, install, rpc, series, upgrade_http, upkeep, writer};

/// What hbs needs from others.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Where hosts and groups are kept.
    pub db: Db,
    /// What all hbs share: leases and the snapshot of the groups.
    pub state: State,
}

/// Where hbs listens.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// HTTP.
    pub http: SocketAddr,
    /// Open-Falcon's JSON-RPC.
    pub rpc: SocketAddr,
}

/// What the parts of hbs share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) config: Config,
    /// The name of this hbs, which no other one has.
    pub(crate) instance: String,
    pub(crate) clock: Clock,
    pub(crate) db: Db,
    pub(crate) state: State,
    pub(crate) fleet: Mutex<Fleet>,
    pub(crate) share: Arc<Share>,
    pub(crate) door: Door,
    pub(crate) files: FileCache,
    pub(crate) trail: Trail,
    pub(crate) upgrades: Upgrades,
    pub(crate) metrics: Metrics,
}

impl App {
    pub(crate) fn fleet(&self) -> MutexGuard<'_, Fleet> {
        self.fleet.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts hbs; returns the addresses it listens on.
pub async fn start(config: Config, deps: Deps, context: &Context) -> anyhow::Result<Addresses> {
    let metrics = Metrics::register(context, &deps.db);
    let door = Door::open("hbs.token_file", &config.token_file)?;
    let stored = deps.db.hosts().all().await.context("load the hosts")?;
    metrics.hosts.set(i64::try_from(stored.len()).unwrap_or(i64::MAX));
    let fleet = Mutex::new(Fleet::new(stored, config.hosts_max));

    let Deps { db, state } = deps;
    let share = Share::new(db.clone(), state.clone(), config.share(), metrics.clone());
    let share = Arc::new(share);
    share.round(context).await;

    let upgrades = config.upgrade.clone();
    let upgrades = Upgrades::new(upgrades, db.clone(), state.clone(), Arc::clone(&share), context);
    let instance = config.owner();
    let app = Arc::new(App {
        trail: Trail::new(),
        files: FileCache::new(config.file_cache_bytes),
        clock: context.clock.clone(),
        instance,
        db,
        state,
        fleet,
        share,
        door,
        upgrades,
        metrics,
        config,
    });
    start_tasks(&app, context);
    upgrade_http::listen_socket(&app.upgrades, context)?;
    let routes = http::routes(Arc::clone(&app))
        .merge(upgrade_http::routes(app.upgrades.clone()))
        .merge(install::routes(app.config.upgrade.files.clone()));
    let http = context.listen(app.config.listen, routes).await?;
    let rpc = listen_rpc(&app, context).await?;
    Ok(Addresses { http, rpc })
}

fn start_tasks(app: &Arc<App>, context: &Context) {
    let (shared, ctx) = (Arc::clone(&app.share), context.clone());
    context.spawn_graceful("groups", move |stop| shared.run(ctx, stop));
    let (writing, ctx) = (Arc::clone(app), context.clone());
    context.spawn_graceful("host writer", move |stop| writer::store(writing, ctx, stop));
    let (upgrades, interval) = (app.upgrades.clone(), app.config.heartbeat_interval);
    context.spawn_graceful("rollout", move |stop| upgrades.conduct(interval, stop));
    context.spawn("upkeep", upkeep::keep(Arc::clone(app), context.clone()));
    context.spawn("host series", series::export(Arc::clone(app), context.clone()));
    context.spawn("tokens", reload_tokens(Arc::clone(app), context.clone()));
}

async fn listen_rpc(app: &Arc<App>, context: &Context) -> anyhow::Result<SocketAddr> {
    let settings = TcpSettings {
        name: "json-rpc",
        key: "rpc_listen",
        addr: app.config.rpc_listen,
        connections_max: app.config.rpc_connections_max,
    };
    let app = Arc::clone(app);
    let serve = move |connection, peer, stop| rpc::serve(Arc::clone(&app), connection, peer, stop);
    context.listen_tcp(settings, serve).await
}

async fn reload_tokens(app: Arc<App>, context: Context) {
    let mut reloads = context.reloads();
    while reloads.changed().await.is_ok() {
        match app.door.reload(&app.config.token_file) {
            Ok(()) => tracing::info!("the tokens were read again"),
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "the tokens stay as they were")
            }
        }
    }
}
