//! The wiring of apiproxy, in the order of its start.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use daemon::Context;
use storage::Reader;

use crate::catalogue::SITES_MAX;
use crate::config::Config;
use crate::http::{self, App};
use crate::learn;
use crate::metrics::Metrics;
use crate::rules::Judges;
use crate::site::{DataCentre, Sites};

/// What apiproxy needs from others.
#[derive(Debug, Clone)]
pub struct Deps {
    /// The data centres; at most 64. One that adds no labels is the plain query API in front of its store.
    pub centres: Vec<DataCentre>,
}

impl Deps {
    /// One store and nothing else.
    pub fn plain(reader: Reader) -> Self {
        let (labels, timeout) = (BTreeMap::new(), Duration::MAX);
        let (name, replicas) = ("local".to_owned(), Vec::new());
        Self { centres: vec![DataCentre { name, reader, labels, timeout, replicas }] }
    }
}

/// Starts apiproxy; returns the address it listens on.
pub async fn start(config: Config, deps: Deps, context: &Context) -> anyhow::Result<SocketAddr> {
    let metrics = Metrics::register(context);
    let listen = config.listen;
    let judges = Judges::new(&config, context.http.clone());
    let centres: Vec<DataCentre> = deps.centres.into_iter().take(SITES_MAX).collect();
    let sites = Arc::new(Sites::new(centres, context.clock.clone(), metrics.clone()));
    if sites.list().len() > 1 {
        context.spawn("host catalogue", learn::learn_hosts(sites.clone(), context.clock.clone()));
    }
    let app = App::new(config, context.clock.clone(), sites, metrics, judges);
    context.listen(listen, http::routes(Arc::new(app))).await
}
