//! The wiring of apiproxy, in the order of its start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use daemon::{Context, Door};
use storage::Reader;

use crate::centres::{Ages, Centres, ComingDb};
use crate::config::Config;
use crate::gate::Gate;
use crate::http::{self, App};
use crate::learn;
use crate::metrics::Metrics;
use crate::rules::Judges;
use crate::site::DataCentre;

/// What apiproxy needs from others.
#[derive(Debug, Clone, Default)]
pub struct Deps {
    /// Data centres that are open already; an entry of the configuration of the same name says the rest of them. One
    /// that adds no labels is the plain query API in front of its store.
    pub centres: Vec<DataCentre>,
    /// The store of `[storage]`: asked when no data centre is named, and by data centres without address.
    pub own: Option<Reader>,
    /// Where data centres that are set by API are kept. None: there are those of the configuration.
    pub db: Option<ComingDb>,
}

impl Deps {
    /// One store and nothing else.
    pub fn plain(reader: Reader) -> Self {
        Self { own: Some(reader), ..Self::default() }
    }
}

/// Starts apiproxy; returns the address it listens on.
pub async fn start(config: Config, deps: Deps, context: &Context) -> anyhow::Result<SocketAddr> {
    let metrics = Metrics::register(context);
    let listen = config.listen;
    let door = Door::open("apiproxy.token_file", &config.token_file)?;
    let gate = Gate::new(door, config.token_required);
    let judges = Judges::new(config.judge_url.clone(), context.http.clone());
    let Deps { centres, own, db } = deps;
    let has_db = db.is_some();
    let tools = (context.http.clone(), context.clock.clone(), metrics.clone());
    let centres =
        Centres::open(&config, centres, (own, db), tools).context("open the data centres")?;
    let centres = Arc::new(centres);
    context.registry().register_collector(Box::new(Ages(Arc::clone(&centres))));

    let token_file = config.token_file.clone();
    let app =
        App::new(config, context.clock.clone(), Arc::clone(&centres), metrics, (judges, gate));
    let app = Arc::new(app);
    context
        .spawn("host catalogue", learn::learn_hosts(Arc::clone(&centres), context.clock.clone()));
    if has_db {
        context.spawn("data centres", centres.follow_database());
    }
    context.spawn("tokens", reload_tokens(Arc::clone(&app), token_file, context.clone()));
    context.listen(listen, http::routes(app)).await
}

async fn reload_tokens(app: Arc<App>, file: PathBuf, context: Context) {
    let mut reloads = context.reloads();
    while reloads.changed().await.is_ok() {
        match app.gate.door().reload(&file) {
            Ok(()) => tracing::info!("the tokens were read again"),
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "the tokens stay as they were")
            }
        }
    }
}
