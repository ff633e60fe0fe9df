//! The wiring of apiproxy, in the order of its start.

use std::net::SocketAddr;
use std::sync::Arc;

use daemon::Context;
use storage::Reader;

use crate::config::Config;
use crate::http::{self, App};
use crate::metrics::Metrics;
use crate::rules::Judge;

/// What apiproxy needs from others.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Where the samples are.
    pub reader: Reader,
}

/// Starts apiproxy; returns the address it listens on.
pub async fn start(config: Config, deps: Deps, context: &Context) -> anyhow::Result<SocketAddr> {
    let metrics = Metrics::register(context);
    let listen = config.listen;
    let judge = Judge::new(&config.judge_url, context.http.clone());
    let app = App::new(config, context.clock.clone(), deps.reader, metrics, judge);
    context.listen(listen, http::routes(Arc::new(app))).await
}
