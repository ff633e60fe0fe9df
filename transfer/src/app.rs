//! The wiring of transfer, in the order of its start.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use daemon::Context;
use storage::{Reader, Writer};

use crate::config::Config;
use crate::http::{self, App};
use crate::ingest::Ingest;
use crate::metrics::Metrics;
use crate::names::OriginalNames;

/// What transfer needs from others.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Where samples go.
    pub writer: Writer,
    /// Where the owners of metric names are known from after a restart.
    pub reader: Reader,
}

/// Starts transfer; returns the address it listens on.
pub async fn start(config: Config, deps: Deps, context: &Context) -> anyhow::Result<SocketAddr> {
    let metrics = Metrics::register(context);
    let stored = deps.reader.metadata(None, 0).await.context("read the metadata of the store")?;
    let names = OriginalNames::restore(&stored, config.falcon_names_max);
    let listen = config.listen;
    let clock = context.clock.clone();
    let ingest = Ingest::new(config.clone(), clock.clone(), deps.writer, names, metrics.clone());
    let app = App::new(config, clock, ingest, metrics);
    context.listen(listen, http::routes(Arc::new(app))).await
}
