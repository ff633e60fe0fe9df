//! How the parts meet.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use daemon::{Clock, Context, StartError};
use model::Timestamp;
use nix::sys::signal::{Signal, raise};

use crate::batch::Batcher;
use crate::collect::{Source, collector};
use crate::config::Config;
use crate::heartbeat::Heartbeat;
use crate::host::system::Identity;
use crate::metrics::Metrics;
use crate::outbox::Outbox;
use crate::receive::{self, Receiver};
use crate::rounds::{Found, Make, Rounds};
use crate::send::Sender;
use crate::slots::{self, Verdict};
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
    let sender = Sender::new(&config.transfer, &endpoint, outbox.clone(), ctx, metrics.clone());
    ctx.spawn("send", sender.run());

    let receiver = Receiver {
        outbox: outbox.clone(),
        limits: config.push.clone(),
        labels: config.labels.clone(),
        clock: ctx.clock.clone(),
        metrics: metrics.clone(),
    };
    ctx.listen(config.listen, receive::routes(receiver)).await?;

    let (upgrader, offers) = Upgrader::new(&config.upgrade, &endpoint, started, ctx);
    let upgrades = upgrader.clone();
    ctx.spawn("upgrade", async move {
        upgrades.run(offers).await;
        // The orderly end: systemd starts the launcher again, and that chooses.
        if let Err(error) = raise(Signal::SIGTERM) {
            tracing::error!(%error, "the agent cannot end itself; restart it for the upgrade");
        }
    });
    if !config.hbs.addresses.is_empty() {
        let (labels, root) = (config.labels.clone(), config.root.clone());
        let upgrader = upgrader.clone();
        let heartbeat =
            Heartbeat::new(&config.hbs, &endpoint, labels, root, ctx, metrics.clone(), upgrader);
        ctx.spawn("heartbeat", heartbeat.run());
    }

    let offset = slots::send_offset(&endpoint, config.transfer.spread);
    let rounds = rounds(&config, &endpoint, metrics.clone());
    tracing::info!(
        host.name = endpoint,
        transfer.url = config.transfer.addresses[0],
        "measuring this host"
    );
    let clock = ctx.clock.clone();
    ctx.spawn("collect", async move {
        let mut loops =
            CollectLoop { rounds, batcher: Batcher::default(), outbox, clock, metrics, last: None };
        loops.rounds.run_all().await;
        upgrader.collected();
        while loops.one_slot().await {
            loops.clock.sleep(offset).await;
            loops.outbox.wake();
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
    let mut common: Vec<_> = config.labels.clone().into_iter().collect();
    common.push((model::ENDPOINT.to_owned(), endpoint.to_owned()));
    let source =
        Source { root: config.root.clone(), config: config.clone(), metrics: metrics.clone() };
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
    let (outbox, error) = Outbox::open(&folder, &config.spool, metrics.clone()).await;
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
    rounds: Rounds,
    batcher: Batcher,
    outbox: Outbox,
    clock: Clock,
    metrics: Arc<Metrics>,
    last: Option<Timestamp>,
}

impl CollectLoop {
    // Waits for the next slot and takes it; `false` when nothing is to be measured at all.
    async fn one_slot(&mut self) -> bool {
        let Some(shortest) = self.rounds.intervals().min() else { return false };
        let Some(slot) = slots::next(self.clock.now(), self.rounds.intervals()) else {
            return false;
        };
        self.clock.sleep_until(slot).await;
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

    async fn put(&mut self, slot: Timestamp, found: Vec<Found>) {
        if !found.is_empty() {
            self.outbox.put(self.batcher.encode(slot, found)).await;
        }
    }
}

/// Reads the arguments' configuration file, puts the settings of an upgrade over it, and the flags over both.
///
/// # Errors
/// When the file has faults: all of them, with their keys.
pub fn load(
    file: Option<&Path>,
    overlay: Option<&Path>,
    change: impl FnOnce(&mut Config),
) -> anyhow::Result<Config> {
    // A host that has opted out of upgrades cannot be opted in by one.
    let mut config = match overlay {
        Some(overlay) => daemon::load_config_under(file, overlay, &["upgrade"], Config::validate)?,
        None => daemon::load_config(file, Config::validate)?,
    };
    change(&mut config);
    let mut faults = daemon::Faults::default();
    config.validate(&mut faults);
    if faults.list().is_empty() {
        return Ok(config);
    }
    Err(StartError::usage(faults.list().join("\n")))
        .context("the flags do not fit the configuration")
}
