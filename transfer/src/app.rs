//! The wiring of transfer, in the order of its start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use daemon::{Context, Stop, TcpSettings};
use model::Relabel;
use storage::Storage;

use crate::config::Config;
use crate::destination::{self, Destination};
use crate::destination_metrics::AllMetrics;
use crate::forward::{Away, Drain, Forwarder};
use crate::gate::Gate;
use crate::http;
use crate::ingest::Ingest;
use crate::metrics::Metrics;
use crate::names::OriginalNames;
use crate::outlet::Outlet;
use crate::receive::{json_rpc, line};
use crate::store_metrics;
use crate::tokens::Tokens;

/// What transfer needs from others.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Where samples go, and where the owners of metric names are known from after a restart; not
    /// needed when [`Config::is_storing`] says no.
    pub storage: Option<Storage>,
    /// Where the queues of destinations are kept.
    pub queue_dir: PathBuf,
}

/// Where transfer listens.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// HTTP.
    pub http: SocketAddr,
    /// Open-Falcon's JSON-RPC.
    pub rpc: SocketAddr,
    /// Open-Falcon's and OpenTSDB's lines.
    pub line: SocketAddr,
}

/// Starts transfer; returns the addresses it listens on.
pub async fn start(config: Config, deps: Deps, context: &Context) -> anyhow::Result<Addresses> {
    let metrics = Metrics::register(context);
    let names = match &deps.storage {
        Some(storage) => {
            store_metrics::register(storage, context);
            let stored = storage.reader().metadata(None, 0).await;
            let stored = stored.context("read the metadata of the store")?;
            OriginalNames::restore(&stored, config.falcon_names_max)
        }
        None => OriginalNames::restore(&[], config.falcon_names_max),
    };
    let relabel = Relabel::new(&config.relabel)
        .map_err(anyhow::Error::msg)
        .context("compile transfer.relabel")?;
    let tokens = Tokens::load(&config, context.clock.now())?;
    tokens.names().for_each(|name| metrics.received_with(name, 0));
    let destinations = destination::open_all(&config, &deps.queue_dir).await?;
    start_forwarders(&config, &destinations, context)?;
    let writer = deps.storage.as_ref().map(Storage::writer);
    let outlet = Outlet::new(&config, writer, &destinations)?;
    let clock = context.clock.clone();
    let ingest =
        Ingest::new(config.clone(), clock, outlet, names, relabel, tokens, metrics.clone());
    let gate = Arc::new(Gate::new(config, context.clone(), ingest, metrics));
    let http = context.listen(gate.config.listen, http::routes(Arc::clone(&gate))).await?;
    let rpc = listen_rpc(&gate, context).await?;
    let line = listen_line(&gate, context).await?;
    Ok(Addresses { http, rpc, line })
}

/// A task a destination, and before the listeners, so that it is stopped after them.
fn start_forwarders(
    config: &Config,
    destinations: &[Option<Arc<Destination>>],
    context: &Context,
) -> anyhow::Result<()> {
    let remote: Vec<Arc<Destination>> = destinations.iter().flatten().cloned().collect();
    if remote.is_empty() {
        return Ok(());
    }
    let (away, drain) = (Arc::new(Away::new(context)), Drain::new());
    let metrics = AllMetrics::register(&remote, Arc::clone(&away), context);
    for one in remote {
        let metrics = metrics.of(&one);
        let forwarder = Forwarder::new(one, context, metrics, Arc::clone(&away), &drain)?;
        context.spawn("forward", forwarder.run());
    }
    // Started last and stopped first: when it ends, the forwarders have nothing to do any more.
    let timeout = config.drain_timeout;
    context.spawn_graceful("drain", move |stop: Stop| async move {
        stop.requested().await;
        if tokio::time::timeout(timeout, drain.run()).await.is_err() {
            tracing::info!(
                "not all queues could be emptied; the rest is sent after the next start"
            );
        }
    });
    Ok(())
}

async fn listen_rpc(gate: &Arc<Gate>, context: &Context) -> anyhow::Result<SocketAddr> {
    let settings = TcpSettings {
        name: "json-rpc",
        key: "rpc_listen",
        addr: gate.config.rpc_listen,
        connections_max: gate.config.rpc_connections_max,
    };
    let gate = Arc::clone(gate);
    let serve =
        move |connection, peer, stop| json_rpc::serve(Arc::clone(&gate), connection, peer, stop);
    context.listen_tcp(settings, serve).await
}

async fn listen_line(gate: &Arc<Gate>, context: &Context) -> anyhow::Result<SocketAddr> {
    let settings = TcpSettings {
        name: "line",
        key: "line_listen",
        addr: gate.config.line_listen,
        connections_max: gate.config.line_connections_max,
    };
    let gate = Arc::clone(gate);
    let serve =
        move |connection, peer, stop| line::serve(Arc::clone(&gate), connection, peer, stop);
    context.listen_tcp(settings, serve).await
}
