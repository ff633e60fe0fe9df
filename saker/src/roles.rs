//! Which parts a process starts, in order. The first started are the last stopped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use daemon::{Clock, CommonArgs, Context, RuntimeKind, StartError, Stop};
use db::Db;
use storage::{Limits, LocalConfig, RemoteConfig, Storage};
use tokio::sync::watch;

use crate::cli::RunCommand;
use crate::config::Config;
use crate::{data_dir, stores};

const MAINTAIN_EVERY: Duration = Duration::from_secs(1);
/// How often the store is asked whether something is to go into blocks.
const COMPACT_EVERY: Duration = Duration::from_secs(30);

/// Runs the roles until a signal comes.
pub(crate) fn run(common: &CommonArgs, command: RunCommand) -> ExitCode {
    daemon::run("saker", RuntimeKind::MultiThread, common, async |context: &Context| {
        let config = Config::load(common, Some(command.args()))?;
        data_dir::prepare(&config.data_dir)?;
        match command {
            RunCommand::Standalone(_) => standalone(config, context).await,
            RunCommand::Transfer(_) => {
                // With all samples handed on to others, the store is left to those who use it.
                let storage = match config.transfer.is_storing() {
                    true => Some(open_storage(&config, context).await?),
                    false => None,
                };
                transfer_role(&config, storage, context).await
            }
            RunCommand::Hbs(_) => {
                hbs_role(&config, open_db(&config, context).await?, context).await.map(drop)
            }
            RunCommand::Judge(_) => {
                let (storage, db) =
                    (queried_storage(&config, context).await?, open_db(&config, context).await?);
                judge_role(&config, &storage, db, context).await
            }
            RunCommand::Alarm(_) => {
                alarm_role(&config, open_db(&config, context).await?, context).await
            }
            RunCommand::Apiproxy(_) => {
                let storage = match config.apiproxy.needs_store() {
                    true => Some(queried_storage(&config, context).await?),
                    false => None,
                };
                let db = coming_db(&config, context);
                apiproxy_role(apiproxy_config(&config), storage.as_ref(), db, context).await
            }
        }
    })
}

async fn standalone(config: Config, context: &Context) -> anyhow::Result<()> {
    let storage = open_storage(&config, context).await?;
    // Samples are taken while a database server is still away.
    transfer_role(&config, Some(storage.clone()), context).await?;

    let db = open_db(&config, context).await?;
    let hbs = hbs_role(&config, db.clone(), context).await?;
    alarm_role(&config, db.clone(), context).await?;
    let queried = remote_storage(&config, context)?.unwrap_or(storage);
    judge_role(&config, &queried, db.clone(), context).await?;
    let mut apiproxy = apiproxy_config(&config);
    if apiproxy.hbs_urls.is_empty() {
        apiproxy.hbs_urls.push(format!("http://{}", reachable(hbs.http)));
    }
    let (_, db) = watch::channel(Some(db));
    apiproxy_role(apiproxy, Some(&queried), Some(db), context).await
}

/// Where this process reaches an address that it listens on.
fn reachable(address: SocketAddr) -> SocketAddr {
    let here = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other,
    };
    SocketAddr::new(here, address.port())
}

/// The database that `[db]` names, for who can begin without it. An apiproxy by itself has none of its own.
fn coming_db(config: &Config, context: &Context) -> Option<apiproxy::ComingDb> {
    if config.db.url.is_empty() {
        return None;
    }
    let (db, coming) = watch::channel(None);
    let (settings, data_dir) = (config.db.clone(), config.data_dir.clone());
    let opening = context.clone();
    context.spawn("database of apiproxy", async move {
        match settings.open(&data_dir, &opening).await {
            Ok(opened) => drop(db.send(Some(opened))),
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "data centres cannot be set by API");
            }
        }
    });
    Some(coming)
}

/// What judge and apiproxy read: the store that is named, or the one in the data directory.
async fn queried_storage(config: &Config, context: &Context) -> anyhow::Result<Storage> {
    match remote_storage(config, context)? {
        Some(storage) => Ok(storage),
        None => open_storage(config, context).await,
    }
}

fn remote_storage(config: &Config, context: &Context) -> anyhow::Result<Option<Storage>> {
    let Some(remote) = config.storage.remote() else { return Ok(None) };
    let remote = RemoteConfig { token: stores::password(&config.storage.token_file)?, ..remote };
    Ok(Some(Storage::remote(&remote, context.http.clone())?))
}

async fn transfer_role(
    config: &Config,
    storage: Option<Storage>,
    context: &Context,
) -> anyhow::Result<()> {
    let deps = transfer::Deps { storage, queue_dir: config.data_dir.join("queue") };
    transfer::start(config.transfer.clone(), deps, &context.for_role("transfer")).await?;
    Ok(())
}

async fn hbs_role(config: &Config, db: Db, context: &Context) -> anyhow::Result<hbs::Addresses> {
    let deps = hbs::Deps { state: config.state.open(&db)?, db };
    hbs::start(config.hbs.clone(), deps, &context.for_role("hbs")).await
}

async fn alarm_role(config: &Config, db: Db, context: &Context) -> anyhow::Result<()> {
    let deps = alarm::Deps { state: config.state.open(&db)?, db };
    alarm::start(config.alarm.clone(), deps, &context.for_role("alarm")).await?;
    Ok(())
}

async fn judge_role(
    config: &Config,
    storage: &Storage,
    db: Db,
    context: &Context,
) -> anyhow::Result<()> {
    let deps = judge::Deps {
        reader: storage.reader(),
        writer: storage.writer(),
        state: config.state.open(&db)?,
        db,
    };
    judge::start(config.judge.clone(), deps, &context.for_role("judge")).await?;
    Ok(())
}

/// Kept answers are no newer than what the own store still takes.
fn apiproxy_config(config: &Config) -> apiproxy::Config {
    let mut own = config.apiproxy.clone();
    own.cache_fresh = own.cache_fresh.max(config.storage.out_of_order_window);
    own
}

async fn apiproxy_role(
    config: apiproxy::Config,
    storage: Option<&Storage>,
    db: Option<apiproxy::ComingDb>,
    context: &Context,
) -> anyhow::Result<()> {
    let own = storage.map(Storage::reader);
    let deps = apiproxy::Deps { own, db, ..apiproxy::Deps::default() };
    apiproxy::start(config, deps, &context.for_role("apiproxy")).await?;
    Ok(())
}

async fn open_db(config: &Config, context: &Context) -> anyhow::Result<Db> {
    config.db.open(&config.data_dir, context).await.map_err(not_openable)
}

async fn open_storage(config: &Config, context: &Context) -> anyhow::Result<Storage> {
    let limits = Limits {
        retention: config.storage.retention,
        out_of_order_window: config.storage.out_of_order_window,
        series_max: config.storage.series_max,
        ..Limits::default()
    };
    let local = LocalConfig {
        limits,
        block_span: config.storage.block_span,
        block_bytes_max: config.storage.retention_bytes,
        block_cache_bytes_max: config.storage.block_cache_bytes_max,
        ..LocalConfig::new(config.data_dir.join("samples"))
    };
    let storage = Storage::open(local, context.clock.now())
        .await
        .map_err(|error| not_openable(error.into()))?;
    let (maintained, clock) = (storage.clone(), context.clock.clone());
    context.spawn_graceful("storage", move |stop: Stop| maintain(maintained, clock, stop));
    let (compacted, clock) = (storage.clone(), context.clock.clone());
    context.spawn("storage blocks", compact(compacted, clock));
    Ok(storage)
}

/// What is in the data directory cannot be used: its surroundings are at fault, not the process.
fn not_openable(error: anyhow::Error) -> anyhow::Error {
    StartError::environment(format!("{error:#}")).into()
}

/// Apart from the other upkeep: writing a large block must not hold up the syncing of the log. The
/// stop does not wait for it: closing the store ends what is under way.
async fn compact(storage: Storage, clock: Clock) {
    loop {
        clock.sleep(COMPACT_EVERY).await;
        if let Err(error) = storage.compact(clock.now()).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "upkeep of the blocks of the store failed; it is tried again"
            );
        }
    }
}

async fn maintain(storage: Storage, clock: Clock, stop: Stop) {
    while stop.sleep(&clock, MAINTAIN_EVERY).await {
        if let Err(error) = storage.maintain(clock.now()).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "upkeep of the store failed; it is tried again"
            );
        }
    }
    if let Err(error) = storage.close().await {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "the store could not be closed in order"
        );
    }
}
