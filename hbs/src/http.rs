//! The HTTP interface of hbs: what the handlers share. The routes are in a file a subject below.

mod heartbeats;
mod hosts;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use daemon::Clock;
use db::Db;

use crate::Config;
use crate::fleet::Fleet;
use crate::metrics::Metrics;
use crate::upgrades::Upgrades;

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) db: Db,
    pub(crate) fleet: Arc<Mutex<Fleet>>,
    pub(crate) metrics: Metrics,
    pub(crate) upgrades: Upgrades,
}

impl App {
    fn fleet(&self) -> MutexGuard<'_, Fleet> {
        self.fleet.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The routes of hbs.
pub(crate) fn routes(app: Arc<App>) -> Router {
    Router::new().merge(heartbeats::routes()).merge(hosts::routes()).with_state(app)
}
