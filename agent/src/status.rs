//! What a running agent says of itself: `GET /v1/status`, for `saker-agent status`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use daemon::Context;
use model::Timestamp;
use serde::{Deserialize, Serialize};
use wire::heartbeat::UpgradeReport;

use crate::config::Config;
use crate::config::layers::without_users;
use crate::desired::Plans;
use crate::metrics::Metrics;
use crate::plan::Plan;
use crate::upgrade::Upgrader;
use crate::version::version;

/// Where it is asked.
pub const PATH: &str = "/v1/status";

/// The state of an agent. Fields are only ever added.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Number of its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// The host's name in its samples.
    pub endpoint: String,
    /// When it was started.
    pub started: String,
    /// Addresses of transfer.
    pub transfer: Vec<String>,
    /// Addresses of hbs.
    pub hbs: Vec<String>,
    /// What it lacks now, and why: `transfer`, `hbs`, `spool`.
    pub lacks: BTreeMap<String, String>,
    /// The last thing it lacked, with the time, also when it is well again.
    pub last_error: Option<String>,
    /// Bytes that wait for transfer.
    pub queue_bytes: u64,
    /// Samples that transfer has taken since the start.
    pub sent_samples: u64,
    /// Samples lost since the start.
    pub dropped_samples: u64,
    /// The state that hbs wants, as far as it is applied.
    pub applied: Applied,
    /// How the upgrade that the host was last offered goes on.
    pub upgrade: Option<UpgradeReport>,
}

/// What is done of the state that hbs wants, and of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Applied {
    /// Its hash; empty when hbs has said nothing yet.
    pub hash: String,
    /// What of it cannot be done.
    pub faults: Vec<String>,
    /// Labels on every sample.
    pub labels: BTreeMap<String, String>,
    /// Checks that are made.
    pub checks: usize,
    /// Plugins that are run.
    pub plugins: Vec<String>,
    /// Exporters that are scraped.
    pub scrapes: Vec<String>,
    /// The bundles in use.
    pub plugin_version: String,
}

/// What the answer is made from.
#[derive(Debug)]
pub struct Reporter {
    /// Knows what the agent lacks.
    pub ctx: Context,
    /// The configuration.
    pub config: Arc<Config>,
    /// The host's name.
    pub endpoint: String,
    /// Knows what was sent and what waits.
    pub metrics: Arc<Metrics>,
    /// Knows what is done.
    pub plans: Plans,
    /// Knows how the last upgrade goes on.
    pub upgrader: Upgrader,
    /// When the agent was started.
    pub started: Timestamp,
}

impl Reporter {
    /// The state now.
    pub fn status(&self) -> Status {
        let Plan { hash, labels, checks, plugins, targets, faults, plugin_version, .. } =
            self.plans.borrow().as_ref().clone();
        let lacks = self.ctx.lacking().into_iter();
        let lacks = lacks.map(|(what, why)| (what.to_owned(), without_users(&why)));
        let plain = |urls: &[String]| urls.iter().map(|url| without_users(url)).collect();
        let last = self.ctx.last_lack();
        Status {
            pid: std::process::id(),
            version: version().to_owned(),
            endpoint: self.endpoint.clone(),
            started: self.started.rfc3339(),
            transfer: plain(&self.config.transfer.addresses),
            hbs: plain(&self.config.hbs.addresses),
            lacks: lacks.collect(),
            last_error: last.map(|(at, why)| format!("{} {}", at.rfc3339(), without_users(&why))),
            queue_bytes: self.metrics.spool_bytes(),
            sent_samples: self.metrics.sent_total(),
            dropped_samples: self.metrics.dropped_total(),
            applied: Applied {
                hash,
                faults: faults.iter().map(|fault| without_users(fault)).collect(),
                labels,
                checks: checks.len(),
                plugins: plugins.into_iter().map(|plugin| plugin.name).collect(),
                scrapes: targets.into_iter().map(|target| target.name).collect(),
                plugin_version,
            },
            upgrade: self.upgrader.report(),
        }
    }
}

/// The route.
pub fn routes(reporter: Reporter) -> Router {
    let answer = async |State(reporter): State<Arc<Reporter>>| axum::Json(reporter.status());
    Router::new().route(PATH, get(answer)).with_state(Arc::new(reporter))
}
