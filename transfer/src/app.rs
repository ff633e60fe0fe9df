//! The wiring of transfer, in the order of its start.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use daemon::Context;
use storage::Storage;

use crate::config::Config;
use crate::http::{self, App};
use crate::ingest::Ingest;
use crate::metrics::Metrics;
use crate::names::OriginalNames;
use crate::store_metrics;

/// What transfer needs from others.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Where samples go, and where the owners of metric names are known from after a restart.
    pub storage: Storage,
}

/// Starts transfer; returns the address it listens on.
pub async fn start(config: Config, deps: Deps, context: &Context) -> anyhow::Result<SocketAddr> {
    let metrics = Metrics::register(context);
    store_metrics::register(&deps.storage, context);
    let stored = deps.storage.reader().metadata(None, 0).await.context("read the metadata of the store")?;
    let names = OriginalNames::restore(&stored, config.falcon_names_max);
    let listen = config.listen;
    let clock = context.clock.clone();
    let ingest = Ingest::new(config.clone(), clock.clone(), deps.storage.writer(), names, metrics.clone());
    let app = App::new(config, clock, ingest, metrics);
    context.listen(listen, http::routes(Arc::new(app))).await
}
