//! How the parts meet.

use std::collections::BTreeMap;
use std::future::pending;
use std::path::Path;
use std::sync::Arc;

use daemon::{Clock, Context, StartError};
use model::Timestamp;
use nix::sys::signal::{Signal, raise};

use crate::batch::Batcher;
use crate::collect::{Source, collector};
use crate::config::Config;
use crate::desired::{Desired, Plans};
use crate::heartbeat::Heartbeat;
use crate::host::system::Identity;
use crate::jobs::{Jobs, Tools};
use crate::metrics::Metrics;
use crate::outbox::Outbox;
use crate::receive::{self, Receiver};
use crate::rounds::{Found, Make, Rounds};
use crate::send::Sender;
use crate::slots::{self, Verdict};
use crate::status::{self, Reporter};
use crate::upgrade::{Started, Upgrader};

/// Starts the agent: spool, sender, local listener, heartbeats, collectors.
///
/// # Errors
/// A [`StartError`] when the listener's port is taken, the data directory is not the agent's, or the host has
/// no name.
pub async fn start(config: Config, started: Started, ctx: &Context) -> anyhow::Result<()> {
    let endpoint = endpoint(&config)?;
    let config = Arc::new(config);
    let metrics = Arc::new(Metrics::new(&mut ctx.registry()));

    let outbox = open_outbox(&config, &metrics, ctx).await?;
    let sender =
        Sender::new(&config.transfer, &endpoint, outbox.clone(), ctx, Arc::clone(&metrics));
    ctx.spawn("send", sender.run());

    let (desired, link) = Desired::new(Arc::clone(&config), &endpoint, ctx, Arc::clone(&metrics));
    let plans = link.plans.clone();
    ctx.spawn("desired", desired.run());

    let receiver = Receiver {
        outbox: outbox.clone(),
        limits: config.push.clone(),
        endpoint: endpoint.clone(),
        plans: plans.clone(),
        clock: ctx.clock.clone(),
        metrics: Arc::clone(&metrics),
    };
    let (upgrader, offers) = Upgrader::new(&config.upgrade, &endpoint, started, ctx);
    let reporter = Reporter {
        ctx: ctx.clone(),
        config: Arc::clone(&config),
        endpoint: endpoint.clone(),
        metrics: Arc::clone(&metrics),
        plans: plans.clone(),
        upgrader: upgrader.clone(),
        started: ctx.clock.now(),
    };
    ctx.listen(config.listen, receive::routes(receiver).merge(status::routes(reporter))).await?;

    let upgrades = upgrader.clone();
    ctx.spawn("upgrade", async move {
        upgrades.run(offers).await;
        // The orderly end: systemd starts the launcher again, and that chooses.
        if let Err(error) = raise(Signal::SIGTERM) {
            tracing::error!(%error, "the agent cannot end itself; restart it for the upgrade");
        }
    });
    if !config.hbs.addresses.is_empty() {
        let (metrics, upgrader) = (Arc::clone(&metrics), upgrader.clone());
        let heartbeat = Heartbeat::new(&config, &endpoint, ctx, metrics, link, upgrader);
        ctx.spawn("heartbeat", heartbeat.run());
    }

    let offset = slots::send_offset(&endpoint, config.transfer.spread);
    let tools = Tools::new(Arc::clone(&config), ctx.http.clone(), Arc::clone(&metrics));
    let jobs = Jobs::new(
        tools,
        &endpoint,
        plans.clone(),
        outbox.clone(),
        ctx.clock.clone(),
        Arc::clone(&metrics),
        offset,
    );
    ctx.spawn_graceful("jobs", |stop| jobs.run(stop));

    let rounds = rounds(&config, &endpoint, Arc::clone(&metrics));
    tracing::info!(
        host.name = endpoint,
        transfer.url = config.transfer.addresses[0],
        "measuring this host"
    );
    let clock = ctx.clock.clone();
    ctx.spawn("collect", async move {
        let batcher = Batcher::default();
        let mut loops =
            CollectLoop { endpoint, plans, rounds, batcher, outbox, clock, metrics, last: None };
        loops.follow_plan();
        loops.rounds.run_all().await;
        upgrader.collected();
        loop {
            if loops.one_slot().await {
                loops.clock.sleep(offset).await;
                loops.outbox.wake();
            }
        }
    });
    Ok(())
}

/// The host's name: that of the configuration, else the kernel's.
///
/// # Errors
/// When neither has one.
pub fn endpoint(config: &Config) -> anyhow::Result<String> {
    if let Some(endpoint) = &config.endpoint {
        return Ok(endpoint.trim().to_owned());
    }
    let hostname = Identity::read(&config.root).hostname;
    if hostname.is_empty() || hostname == "(none)" {
        let message =
            "this host has no name: set `endpoint` in the configuration, or --endpoint NAME";
        return Err(StartError::usage(message).into());
    }
    Ok(hostname)
}

/// The collectors that the configuration asks for.
pub fn rounds(config: &Arc<Config>, endpoint: &str, metrics: Arc<Metrics>) -> Rounds {
    let common = common_labels(&config.labels, endpoint);
    let source = Source {
        root: config.root.clone(),
        config: Arc::clone(config),
        metrics: Arc::clone(&metrics),
    };
    let make: Make = Arc::new(move |group| collector(group, &source));
    Rounds::new(&config.enabled_groups(), common, make, config.collect.deadline, metrics)
}

// A disk that is full, read-only or hanging is what the agent has to report, so it runs without a spool then.
// Anything else is a mistake in the set-up, which is told at once.
async fn open_outbox(
    config: &Config,
    metrics: &Arc<Metrics>,
    ctx: &Context,
) -> anyhow::Result<Outbox> {
    let folder = config.data_dir.join("spool");
    let (outbox, error) = Outbox::open(&folder, &config.spool, Arc::clone(metrics)).await;
    let Some(error) = error else { return Ok(outbox) };
    use std::io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull, TimedOut};
    if !matches!(error.kind(), StorageFull | ReadOnlyFilesystem | QuotaExceeded | TimedOut) {
        return Err(unusable(&folder, &error).into());
    }
    tracing::warn!(folder = %folder.display(), %error, "no spool: samples are kept in memory only");
    ctx.lacks("spool", format!("{}: {error}", folder.display()));
    Ok(outbox)
}

fn unusable(folder: &Path, error: &std::io::Error) -> StartError {
    StartError::environment(format!(
        "cannot keep the spool in {}: {error}; make the folder writable for this user, or name another with \
         `data_dir` or --data-dir DIR",
        folder.display()
    ))
}

struct CollectLoop {
    endpoint: String,
    plans: Plans,
    rounds: Rounds,
    batcher: Batcher,
    outbox: Outbox,
    clock: Clock,
    metrics: Arc<Metrics>,
    last: Option<Timestamp>,
}

impl CollectLoop {
    // Waits for the next slot and takes it; `false` when the plan changed before.
    async fn one_slot(&mut self) -> bool {
        let slot = slots::next(self.clock.now(), self.rounds.intervals());
        let clock = &self.clock;
        let come = async {
            match slot {
                Some(slot) => clock.sleep_until(slot).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = come => {}
            changed = self.plans.changed() => {
                if changed.is_err() {
                    // Nobody makes plans any more: the agent is about to stop.
                    pending::<()>().await;
                }
                self.follow_plan();
                return false;
            }
        }
        let (Some(slot), Some(shortest)) = (slot, self.rounds.intervals().min()) else {
            return false;
        };
        if self.clock.now() < slot {
            return true;
        }
        match slots::judge(slot, self.clock.now(), self.last, shortest) {
            Verdict::Missed | Verdict::Repeat => {}
            Verdict::Take => {
                self.metrics.slots_missed(slots::missed_between(self.last, slot, shortest));
                self.last = Some(slot);
                let (found, late) = self.rounds.run_slot(slot).await;
                self.put(slot, found).await;
                let found = self.rounds.wait_for(late).await;
                self.put(slot, found).await;
            }
        }
        true
    }

    fn follow_plan(&mut self) {
        let plan = self.plans.borrow_and_update().clone();
        self.rounds.change(&plan.groups, common_labels(&plan.labels, &self.endpoint));
    }

    async fn put(&mut self, slot: Timestamp, found: Vec<Found>) {
        if !found.is_empty() {
            self.outbox.put(self.batcher.encode(slot, found)).await;
        }
    }
}

fn common_labels(labels: &BTreeMap<String, String>, endpoint: &str) -> Vec<(String, String)> {
    let mut common: Vec<_> = labels.clone().into_iter().collect();
    common.push((model::ENDPOINT.to_owned(), endpoint.to_owned()));
    common
}
