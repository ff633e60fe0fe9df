//! The wiring of transfer, in the order of its start.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use daemon::{Context, TcpSettings};
use model::Relabel;
use storage::Storage;

use crate::config::Config;
use crate::gate::Gate;
use crate::http;
use crate::ingest::Ingest;
use crate::metrics::Metrics;
use crate::names::OriginalNames;
use crate::receive::{json_rpc, line};
use crate::store_metrics;

/// What transfer needs from others.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Where samples go, and where the owners of metric names are known from after a restart.
    pub storage: Storage,
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
    store_metrics::register(&deps.storage, context);
    let stored =
        deps.storage.reader().metadata(None, 0).await.context("read the metadata of the store")?;
    let names = OriginalNames::restore(&stored, config.falcon_names_max);
    let relabel = Relabel::new(&config.relabel)
        .map_err(anyhow::Error::msg)
        .context("compile transfer.relabel")?;
    let writer = deps.storage.writer();
    let ingest =
        Ingest::new(config.clone(), context.clock.clone(), writer, names, relabel, metrics.clone());
    let gate = Arc::new(Gate::new(config, context.clone(), ingest, metrics));
    let http = context.listen(gate.config.listen, http::routes(gate.clone())).await?;
    let rpc = listen_rpc(&gate, context).await?;
    let line = listen_line(&gate, context).await?;
    Ok(Addresses { http, rpc, line })
}

async fn listen_rpc(gate: &Arc<Gate>, context: &Context) -> anyhow::Result<SocketAddr> {
    let settings = TcpSettings {
        name: "json-rpc",
        key: "rpc_listen",
        addr: gate.config.rpc_listen,
        connections_max: gate.config.rpc_connections_max,
    };
    let gate = gate.clone();
    let serve = move |connection, peer, stop| json_rpc::serve(gate.clone(), connection, peer, stop);
    context.listen_tcp(settings, serve).await
}

async fn listen_line(gate: &Arc<Gate>, context: &Context) -> anyhow::Result<SocketAddr> {
    let settings = TcpSettings {
        name: "line",
        key: "line_listen",
        addr: gate.config.line_listen,
        connections_max: gate.config.line_connections_max,
    };
    let gate = gate.clone();
    let serve = move |connection, peer, stop| line::serve(gate.clone(), connection, peer, stop);
    context.listen_tcp(settings, serve).await
}
