//! What a job does in a slot.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use model::Timestamp;
use reqwest::Client;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};
use wire::heartbeat::Check;

use crate::catalogue::on_demand;
use crate::check::tables::Tables;
use crate::check::{Finding, directory, url};
use crate::config::Config;
use crate::identity::{Host, Output};
use crate::metrics::{JobKind, Metrics};
use crate::plan::{PluginJob, Target, url_timeout};
use crate::plugin::Plugin;
use crate::scrape::Scrape;
use crate::worker::{on_thread, start_on_thread};

/// What jobs work with.
#[derive(Debug)]
pub struct Tools {
    config: Arc<Config>,
    http: Client,
    metrics: Arc<Metrics>,
    checks: Semaphore,
    plugins: Semaphore,
    scrapes: Semaphore,
}

impl Tools {
    /// Tools with the limits of the configuration.
    pub fn new(config: Arc<Config>, http: Client, metrics: Arc<Metrics>) -> Self {
        let limits = &config.limits;
        Self {
            checks: Semaphore::new(limits.checks_at_once),
            plugins: Semaphore::new(config.plugins.at_once),
            scrapes: Semaphore::new(limits.scrapes_at_once),
            http,
            metrics,
            config,
        }
    }
}

/// A job's work; clones are the same job.
#[derive(Debug, Clone)]
pub(super) enum Work {
    Tables(Arc<TablesWork>),
    Directory(Arc<DirectoryWork>),
    Url(Check),
    Plugin(Arc<Plugin>),
    Scrape(Arc<Scrape>),
}

#[derive(Debug)]
pub(super) struct TablesWork {
    checks: Vec<Check>,
    tables: Arc<Mutex<Tables>>,
}

/// A walk that is not back at its deadline keeps its thread: no other is begun until it is.
#[derive(Debug)]
pub(super) struct DirectoryWork {
    check: Check,
    path: PathBuf,
    away: Mutex<Option<oneshot::Receiver<f64>>>,
}

impl Work {
    pub(super) fn of_tables(checks: Vec<Check>) -> Self {
        Self::Tables(Arc::new(TablesWork { checks, tables: Arc::default() }))
    }

    pub(super) fn of_check(check: &Check) -> Self {
        match check {
            Check::DirectorySize { path } => Self::Directory(Arc::new(DirectoryWork {
                check: check.clone(),
                path: PathBuf::from(path),
                away: Mutex::new(None),
            })),
            Check::UrlHealth { .. } => Self::Url(check.clone()),
            tables => Self::of_tables(vec![tables.clone()]),
        }
    }

    pub(super) fn of_plugin(job: &PluginJob) -> Self {
        Self::Plugin(Arc::new(Plugin::new(job.clone())))
    }

    pub(super) fn of_target(target: &Target) -> Self {
        Self::Scrape(Arc::new(Scrape::new(target.clone())))
    }

    /// Whether another job does the same, so that this one and what it remembers can stay.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tables(a), Self::Tables(b)) => a.checks == b.checks,
            (Self::Directory(a), Self::Directory(b)) => a.check == b.check,
            (Self::Url(a), Self::Url(b)) => a == b,
            (Self::Plugin(a), Self::Plugin(b)) => a.job() == b.job(),
            (Self::Scrape(a), Self::Scrape(b)) => a.target() == b.target(),
            _ => false,
        }
    }

    /// Does it once, for the slot that begins now.
    pub(super) async fn run(self, slot: Timestamp, host: Arc<Host>, tools: Arc<Tools>) -> Output {
        let (output, result) = match &self {
            Self::Tables(work) => findings(work.run(&tools).await, slot, &host),
            Self::Directory(work) => {
                let _turn = tools.checks.acquire().await;
                let found = vec![work.run(&tools).await];
                findings((found, Ok(())), slot, &host)
            }
            Self::Url(check) => {
                let _turn = tools.checks.acquire().await;
                let found = look_at_url(check, &host, &tools.http).await;
                findings((found, Ok(())), slot, &host)
            }
            Self::Plugin(plugin) => {
                let _turn = tools.plugins.acquire().await;
                plugin.run(slot, &host, &tools.config.plugins).await
            }
            Self::Scrape(scrape) => {
                let _turn = tools.scrapes.acquire().await;
                let bytes_max = tools.config.limits.scrape_bytes_max;
                scrape.run(slot, &host, &tools.http, bytes_max).await
            }
        };
        if let Err(reason) = result {
            tools.metrics.job_failed(self.kind(), reason);
        }
        output
    }
}

type Found = (Vec<Finding>, Result<(), &'static str>);

fn findings(
    (found, result): Found,
    slot: Timestamp,
    host: &Host,
) -> (Output, Result<(), &'static str>) {
    let series = found.iter().map(|one| host.series(one.metric, &one.tags, slot, one.value));
    let metadata = found.iter().filter_map(|one| on_demand::metadata(one.metric));
    (Output { series: series.collect(), metadata: metadata.collect() }, result)
}

async fn look_at_url(check: &Check, host: &Host, http: &Client) -> Vec<Finding> {
    let Check::UrlHealth { url, timeout } = check else { return Vec::new() };
    vec![url::look(check, url, url_timeout(*timeout), &host.endpoint, http).await]
}

impl TablesWork {
    // The tables of a host with many sockets take a while, in which the agent has other things to do.
    async fn run(&self, tools: &Tools) -> Found {
        let (tables, checks) = (Arc::clone(&self.tables), self.checks.clone());
        let root = tools.config.root.clone();
        let look = move || {
            let mut tables = tables.lock().unwrap_or_else(PoisonError::into_inner);
            tables.look(&checks, &root)
        };
        match on_thread(look).await {
            Some((found, None)) => (found, Ok(())),
            Some((found, Some(error))) => {
                let why = daemon::error_chain(&error);
                tracing::debug!("a check gives less than it should: {why}");
                (found, Err("failed"))
            }
            None => (Vec::new(), Err("failed")),
        }
    }
}

impl DirectoryWork {
    async fn run(&self, tools: &Tools) -> Finding {
        let value = self.walk(Instant::now() + tools.config.limits.directory_deadline).await;
        if value.is_none() {
            tools.metrics.job_failed(JobKind::Check, "failed");
        }
        Finding::new(&self.check, value.unwrap_or(FAILED))
    }

    async fn walk(&self, deadline: Instant) -> Option<f64> {
        let away = || self.away.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut walk = match away() {
            Some(walk) => walk,
            None => {
                let path = self.path.clone();
                start_on_thread(move || {
                    directory::bytes(&path, deadline).map_or(FAILED, |n| n as f64)
                })?
            }
        };
        match timeout_at(deadline, &mut walk).await {
            Ok(found) => found.ok().filter(|bytes| *bytes >= 0.0),
            Err(_) => {
                *self.away.lock().unwrap_or_else(PoisonError::into_inner) = Some(walk);
                None
            }
        }
    }
}

/// What `du.bs` is when the folder cannot be read, as with Open-Falcon.
const FAILED: f64 = -1.0;
