//! Runs what has slots of its own besides the collectors: checks, plugins, scrapes.
//!
//! Each job runs at its slots, never twice at a time, and waits for its turn when too many of its kind run.
//! What it finds has the time of the slot in which it began, however long it took.

mod work;

use std::collections::{BTreeMap, HashMap};
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use daemon::{Clock, Stop};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use model::{Metadata, Series, Timestamp};
use wire::heartbeat::Check;

use crate::batch;
use crate::desired::Plans;
use crate::identity::{Host, Output};
use crate::metrics::{JobKind, Metrics};
use crate::outbox::Outbox;
use crate::plan::{CheckJob, Plan, check_name};
use crate::slots::{self, Verdict};
pub use work::Tools;
use work::Work;

/// How often the metadata of a metric goes along, as for the metrics of the collectors.
const METADATA_INTERVAL: Duration = Duration::from_secs(600);
/// Metrics whose metadata is remembered; beyond it, it is sent again.
const METADATA_MAX: usize = 10_000;
/// What was found is gathered for so long, so that jobs of one slot share a request.
const GATHER: Duration = Duration::from_secs(1);

type Running = Pin<Box<dyn Future<Output = (u64, Output)> + Send>>;

struct Job {
    name: String,
    // Names this very job among those that have been: one that was changed is another.
    key: u64,
    interval: Duration,
    work: Work,
    is_running: bool,
    last: Option<Timestamp>,
}

/// The jobs of the plan.
pub struct Jobs {
    tools: Arc<Tools>,
    plans: Plans,
    outbox: Outbox,
    clock: Clock,
    metrics: Arc<Metrics>,
    offset: Duration,
    host: Arc<Host>,
    jobs: Vec<Job>,
    next_key: u64,
    running: FuturesUnordered<Running>,
    slot: Option<Timestamp>,
    found: Vec<Series>,
    metadata: BTreeMap<String, Metadata>,
    metadata_sent: HashMap<String, Timestamp>,
    deliver_at: Option<Timestamp>,
}

impl Jobs {
    /// Jobs of the plan of the moment. What they find is sent `offset` after its slot at the earliest.
    pub fn new(
        tools: Tools,
        endpoint: &str,
        plans: Plans,
        outbox: Outbox,
        clock: Clock,
        metrics: Arc<Metrics>,
        offset: Duration,
    ) -> Self {
        Self {
            tools: Arc::new(tools),
            plans,
            outbox,
            clock,
            metrics,
            offset,
            host: Arc::new(Host { endpoint: endpoint.to_owned(), labels: BTreeMap::new() }),
            jobs: Vec::new(),
            next_key: 0,
            running: FuturesUnordered::new(),
            slot: None,
            found: Vec::new(),
            metadata: BTreeMap::new(),
            metadata_sent: HashMap::new(),
            deliver_at: None,
        }
    }

    /// Runs the jobs until the stop; what was found by then is kept.
    pub async fn run(mut self, stop: Stop) {
        let stopped = stop.requested();
        tokio::pin!(stopped);
        self.follow_plan();
        loop {
            let slot = self.next_slot();
            tokio::select! {
                () = &mut stopped => break,
                changed = self.plans.changed() => match changed {
                    Ok(()) => self.follow_plan(),
                    // Nobody makes plans any more: the agent is about to stop.
                    Err(_) => break,
                },
                () = wait_until(&self.clock, slot) => self.begin_slot(),
                () = wait_until(&self.clock, self.deliver_at) => self.deliver().await,
                Some((key, output)) = self.running.next() => self.end(key, output),
            }
        }
        self.deliver().await;
    }

    // A slot stays the next one until it has begun, also when something else comes first.
    fn next_slot(&mut self) -> Option<Timestamp> {
        if self.slot.is_none() {
            let intervals = self.jobs.iter().map(|job| job.interval);
            self.slot = slots::next(self.clock.now(), intervals);
        }
        self.slot
    }

    fn begin_slot(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        let now = self.clock.now();
        for at in 0..self.jobs.len() {
            let job = &mut self.jobs[at];
            let is_due = slots::is_due(slot, job.interval)
                && slots::judge(slot, now, job.last, job.interval) == Verdict::Take;
            if !is_due {
                continue;
            }
            if job.is_running {
                self.metrics.job_skipped(job.work.kind());
                continue;
            }
            (job.is_running, job.last) = (true, Some(slot));
            self.metrics.job_began(job.work.kind());
            let (key, work) = (job.key, job.work.clone());
            let (tools, host) = (Arc::clone(&self.tools), Arc::clone(&self.host));
            self.running.push(Box::pin(async move { (key, work.run(slot, host, tools).await) }));
        }
        self.deliver_at.get_or_insert(slot.plus(self.offset.max(GATHER)));
    }

    // What a job found that is no longer wanted is dropped.
    fn end(&mut self, key: u64, output: Output) {
        let Some(job) = self.jobs.iter_mut().find(|job| job.key == key) else { return };
        job.is_running = false;
        self.take(output);
    }

    fn take(&mut self, output: Output) {
        self.found.extend(output.series);
        self.metadata.extend(output.metadata);
        self.deliver_at.get_or_insert(self.clock.now().plus(GATHER));
    }

    async fn deliver(&mut self) {
        self.deliver_at = None;
        let now = self.clock.now();
        if self.metadata_sent.len() > METADATA_MAX {
            self.metadata_sent.clear();
        }
        let mut due = Vec::new();
        for (name, metadata) in std::mem::take(&mut self.metadata) {
            let sent = self.metadata_sent.get(&name);
            if sent.is_none_or(|sent| now.since(*sent) >= METADATA_INTERVAL) {
                self.metadata_sent.insert(name.clone(), now);
                due.push((name, metadata));
            }
        }
        let found = std::mem::take(&mut self.found);
        if !found.is_empty() {
            self.outbox.put(batch::encode(&found, &due)).await;
            self.outbox.wake();
        }
    }

    fn follow_plan(&mut self) {
        let plan = self.plans.borrow_and_update().clone();
        let endpoint = self.host.endpoint.clone();
        self.host = Arc::new(Host { endpoint, labels: plan.labels.clone() });
        let before = std::mem::take(&mut self.jobs);
        let mut wanted = wanted(&plan);
        for old in before {
            let Some(at) = wanted.iter().position(|(name, ..)| *name == old.name) else {
                if let Work::Scrape(scrape) = &old.work {
                    let series = scrape.farewell(self.clock.now(), &self.host);
                    self.take(Output { series, ..Output::default() });
                }
                continue;
            };
            if old.work.is_same(&wanted[at].2) && old.interval == wanted[at].1 {
                wanted.remove(at);
                self.jobs.push(old);
            } else if let (Work::Scrape(new), Work::Scrape(old)) = (&wanted[at].2, &old.work) {
                new.continue_from(old);
            }
        }
        for (name, interval, work) in wanted {
            self.next_key += 1;
            let key = self.next_key;
            self.jobs.push(Job { name, key, interval, work, is_running: false, last: None });
        }
        // New jobs may have slots before the one that is waited for.
        self.slot = self.slot.filter(|slot| *slot <= self.clock.now());
    }
}

async fn wait_until(clock: &Clock, moment: Option<Timestamp>) {
    match moment {
        Some(moment) => clock.sleep_until(moment).await,
        None => pending().await,
    }
}

// Checks of the tables that are due together are one job, so that the tables are read once.
fn wanted(plan: &Plan) -> Vec<(String, Duration, Work)> {
    let mut jobs = Vec::new();
    let mut tables: BTreeMap<Duration, Vec<Check>> = BTreeMap::new();
    for CheckJob { check, interval } in &plan.checks {
        match check {
            Check::PortListen { .. } | Check::ProcNum(_) | Check::ProcUsage(_) => {
                tables.entry(*interval).or_default().push(check.clone());
            }
            _ => jobs.push((check_name(check), *interval, Work::of_check(check))),
        }
    }
    for (interval, checks) in tables {
        let name = format!("tables every {}", model::format_duration(interval));
        jobs.push((name, interval, Work::of_tables(checks)));
    }
    for plugin in &plan.plugins {
        let name = format!("plugin {}", plugin.name);
        jobs.push((name, plugin.interval, Work::of_plugin(plugin)));
    }
    for target in &plan.targets {
        let name = format!("scrape {}", target.name);
        jobs.push((name, target.interval, Work::of_target(target)));
    }
    jobs
}

impl Work {
    pub(super) const fn kind(&self) -> JobKind {
        match self {
            Self::Tables(_) | Self::Directory(_) | Self::Url(_) => JobKind::Check,
            Self::Plugin(_) => JobKind::Plugin,
            Self::Scrape(_) => JobKind::Scrape,
        }
    }
}
