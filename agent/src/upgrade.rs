//! Self-upgrade: takes offers of hbs, fetches and checks a release, and proves itself after the restart.
//!
//! Nothing that runs is touched. A new release gets a folder of its own and is written down as on trial; the agent
//! then ends, and the launcher starts the trial. `docs/agent-upgrade.md` has the whole story.

pub mod bucket;
pub mod command;
pub mod fetch;
pub mod install;
pub mod offer;
pub mod preflight;
mod prepare;
pub mod report;
pub mod trial;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use daemon::Context;
use launcher::crash;
use launcher::keys::Keys;
use launcher::layout::Layout;
use launcher::moment::Moment;
use launcher::release::Manifest;
use launcher::state::{End, Outcome, State};
use tokio::sync::{Notify, mpsc};
use wire::heartbeat::{UpgradeOffer, UpgradePhase, UpgradeReport};

use crate::config::Upgrade;
use crate::upgrade::offer::{Local, refusal};
use crate::upgrade::trial::{Facts, Step};
use crate::version::version;

/// How often a trial is looked at.
const TICK: Duration = Duration::from_secs(1);
/// Between the last report and the end of the process.
const FAREWELL: Duration = Duration::from_secs(1);

/// How this process was started.
#[derive(Debug, Clone, Default)]
pub struct Started {
    /// The release that the launcher has chosen, empty for the package's agent; `None` without a launcher.
    pub release: Option<String>,
    /// The host's configuration file.
    pub config: Option<PathBuf>,
}

/// Handed to the parts that see hbs and the collectors. Clones share everything.
#[derive(Debug, Clone)]
pub struct Upgrader(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: Upgrade,
    started: Started,
    endpoint: String,
    ctx: Context,
    layout: Layout,
    has_collected: AtomicBool,
    has_contact: AtomicBool,
    progress: Mutex<Option<UpgradeReport>>,
    offers: mpsc::Sender<UpgradeOffer>,
    changed: Notify,
}

impl Upgrader {
    /// The upgrades of the host `endpoint`, and where its offers wait for [`Upgrader::run`].
    pub fn new(
        config: &Upgrade,
        endpoint: &str,
        started: Started,
        ctx: &Context,
    ) -> (Self, mpsc::Receiver<UpgradeOffer>) {
        let (offers, queue) = mpsc::channel(1);
        let layout = Layout { base: config.dir.clone(), ..Layout::default() };
        let shared = Shared {
            config: config.clone(),
            started,
            endpoint: endpoint.to_owned(),
            ctx: ctx.clone(),
            layout,
            has_collected: AtomicBool::new(false),
            has_contact: AtomicBool::new(false),
            progress: Mutex::default(),
            offers,
            changed: Notify::new(),
        };
        (Self(Arc::new(shared)), queue)
    }

    /// Every collector has run once.
    pub fn collected(&self) {
        self.0.has_collected.store(true, Ordering::Relaxed);
    }

    /// An hbs has answered, be it with an error: the way to it is open.
    pub fn contact(&self) {
        self.0.has_contact.store(true, Ordering::Relaxed);
    }

    /// Hands over an offer; it is dropped when one is being followed.
    pub fn offer(&self, offer: UpgradeOffer) {
        if self.0.offers.try_send(offer).is_err() {
            tracing::debug!("an offer came while another upgrade goes on");
        }
    }

    /// What the next heartbeat says of upgrades.
    pub fn report(&self) -> Option<UpgradeReport> {
        let progress = self.0.progress.lock().unwrap_or_else(PoisonError::into_inner).clone();
        progress.or_else(|| {
            let state = State::load(&self.0.layout).ok()?;
            report::of_state(&state, self.0.started.release.as_deref()?)
        })
    }

    /// Whether offers would be followed at all.
    pub fn is_upgradable(&self) -> bool {
        let is_free = || State::load(&self.0.layout).is_ok_and(|state| state.pinned.is_none());
        self.0.config.enabled && self.0.started.release.is_some() && is_free()
    }

    /// Resolves when hbs should hear something at once.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// Ends the trial of this release, if it is on one, and then follows offers. Returns when the process is to end
    /// so that the launcher can choose anew.
    pub async fn run(&self, mut queue: mpsc::Receiver<UpgradeOffer>) {
        if self.0.started.release.is_some() && !self.0.prove().await {
            return;
        }
        while let Some(offer) = queue.recv().await {
            if self.0.follow(&offer).await {
                self.0.changed.notify_one();
                self.0.ctx.clock.sleep(FAREWELL).await;
                return;
            }
        }
    }
}

impl Shared {
    // False when the process is to end.
    async fn prove(&self) -> bool {
        let up_since_ms = Moment::now().up_ms;
        loop {
            let facts = self.facts(up_since_ms);
            let step = match State::load(&self.layout) {
                Ok(state) => trial::step(&state, &facts),
                Err(error) => {
                    tracing::warn!("upgrades: {}", daemon::error_chain(&error));
                    Step::Idle
                }
            };
            match step {
                Step::Idle => {
                    self.tidy();
                    return true;
                }
                Step::End => {
                    tracing::warn!(
                        "this release did not prove itself in time; ending, so that the launcher goes back"
                    );
                    return false;
                }
                Step::Wait => {}
                step => self.write_step(step, &facts),
            }
            self.ctx.clock.sleep(TICK).await;
        }
    }

    fn write_step(&self, step: Step, facts: &Facts) {
        if step == Step::Commit {
            crash::point(&self.layout, "before-commit");
            if let Err(error) = install::mark_committed(&self.layout, &facts.release) {
                tracing::warn!(%error, "the release cannot be marked as proved");
            }
        }
        crash::point(
            &self.layout,
            if step == Step::LocalOk { "before-local-ok" } else { "marked" },
        );
        match State::update(&self.layout, |state| trial::apply(step, state, facts)) {
            Ok(_) => {
                crash::point(
                    &self.layout,
                    if step == Step::LocalOk { "after-local-ok" } else { "after-commit" },
                );
                tracing::info!(release = facts.release, "trial of this release: {step:?}");
            }
            // The disk may be full for a while; the next tick tries again, until the deadline.
            Err(error) => tracing::warn!("upgrades: {}", daemon::error_chain(&error)),
        }
        self.changed.notify_one();
    }

    fn facts(&self, up_since_ms: u64) -> Facts {
        Facts {
            release: self.started.release.clone().unwrap_or_default(),
            now: Moment::now(),
            up_since_ms,
            soak_ms: millis(self.config.soak),
            has_collected: self.has_collected.load(Ordering::Relaxed),
            has_contact: self.has_contact.load(Ordering::Relaxed),
            at_ms: self.ctx.clock.now().millis(),
        }
    }

    // True when a release is on trial and the process is to end.
    async fn follow(&self, offer: &UpgradeOffer) -> bool {
        let Ok((state, keys, active)) = self.situation().inspect_err(|error| {
            tracing::warn!("an upgrade is refused: {error:#}");
            self.tell(report::of_offer(offer, UpgradePhase::Refused, &format!("{error:#}")));
        }) else {
            return false;
        };
        let local = Local {
            is_enabled: self.config.enabled,
            is_launched: self.started.release.is_some(),
            needs_signature: !keys.is_empty(),
            version: version(),
            arch: std::env::consts::ARCH,
            state: &state,
            active: active.as_ref(),
        };
        if let Some(reason) = refusal(offer, &local) {
            tracing::warn!(version = offer.version, "an upgrade is refused: {reason}");
            self.tell(report::of_offer(offer, UpgradePhase::Refused, &reason));
            return false;
        }
        self.tell(report::of_offer(offer, UpgradePhase::Accepted, ""));
        match self.prepare(offer, &state, &keys, active.as_ref()).await {
            Ok(()) => {
                let report = report::of_offer(offer, UpgradePhase::Restarting, "");
                tracing::info!(version = offer.version, "the new release is installed; restarting");
                self.tell(report);
                true
            }
            Err(error) => {
                tracing::warn!(version = offer.version, "an upgrade failed: {error:#}");
                self.fail(offer, &format!("{error:#}"));
                false
            }
        }
    }

    fn situation(&self) -> anyhow::Result<(State, Keys, Option<Manifest>)> {
        let state = State::load(&self.layout)?;
        let keys = Keys::read(&self.config.keys)?;
        let active = state
            .active
            .as_deref()
            .map(|active| Manifest::read(&self.layout, active))
            .transpose()?;
        Ok((state, keys, active))
    }

    fn fail(&self, offer: &UpgradeOffer, reason: &str) {
        let bytes = self.bytes();
        let reason = report::short(reason);
        let outcome = Outcome {
            at_ms: self.ctx.clock.now().millis(),
            rollout: report::short(&offer.rollout),
            version: report::short(&offer.version),
            end: End::Failed,
            reason: reason.clone(),
            boots: 0,
            bytes,
        };
        if let Err(error) = State::update(&self.layout, |state| state.remember(outcome)) {
            tracing::warn!("upgrades: {}", daemon::error_chain(&error));
        }
        let report = report::of_offer(offer, UpgradePhase::Failed, &reason);
        self.tell(UpgradeReport { bytes, ..report });
    }

    fn progress(&self, offer: &UpgradeOffer, phase: UpgradePhase, bytes: u64) {
        let report = UpgradeReport { bytes, ..report::of_offer(offer, phase, "") };
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
    }

    fn bytes(&self) -> u64 {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.as_ref().map_or(0, |report| report.bytes)
    }

    fn tell(&self, report: UpgradeReport) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
        self.changed.notify_one();
    }

    fn tidy(&self) {
        match State::load(&self.layout) {
            Ok(state) => install::tidy(&self.layout, &state, is_part),
            Err(error) => tracing::warn!("upgrades: {}", daemon::error_chain(&error)),
        }
    }
}

fn is_part(name: &str) -> bool {
    name.ends_with(".part") || name.ends_with(".etag")
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
