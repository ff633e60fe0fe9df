//! Upgrades as hbs runs them: who gets an offer with a heartbeat, and what operators ask for. What
//! is decided is decided in `rollout`; the plan and the places are in the shared state, so any hbs
//! serves them and a restart keeps them.

mod beat;
mod conduct;
mod config;
mod metrics;
mod operate;
mod status;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use daemon::Context;
use db::{Db, HostPhase};
use model::Timestamp;
use state::{Admission, Admitted, GroupLimit, HostReport, State, StateError};
use wire::heartbeat::UpgradeOffer;

pub(crate) use beat::{Beat, Speaks};
pub use config::UpgradeConfig;
pub(crate) use operate::Refusal;

use crate::rollout::{ATTEMPTS_MAX, Plan};
use crate::share::Share;
use crate::snapshot::{Snapshot, is_or_is_below};
use crate::trail::Trail;
use beat::Said;
use metrics::{Answer, Metrics};

/// A heartbeat waits no longer for the shared state.
const PATIENCE: Duration = Duration::from_secs(4);
/// Of two canaries none has a group with the other in common; groups are remembered for so long.
const CANARY_HOLD: Duration = Duration::from_secs(7 * 86_400);
const REASON_CHARS_MAX: usize = 200;

/// The upgrades. Clones share everything.
#[derive(Debug, Clone)]
pub(crate) struct Upgrades {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: UpgradeConfig,
    context: Context,
    db: Db,
    state: State,
    share: Arc<Share>,
    trail: Trail,
    metrics: Metrics,
    /// Tells this hbs from the others.
    owner: String,
    up_since: Timestamp,
    known: RwLock<Known>,
    /// Ends that the shared state has noted, by host, so that it need not be told every time.
    settled: Mutex<HashMap<String, Settled>>,
    /// By this revision of the plan no further host may be started.
    wave_full: AtomicI64,
}

/// The plan as it was last read.
#[derive(Debug, Clone)]
enum Known {
    /// The shared state is away, or was not read yet: no host is offered anything.
    Away(String),
    Read(Option<Current>),
}

#[derive(Debug, Clone)]
pub(crate) struct Current {
    pub(crate) revision: i64,
    pub(crate) plan: Arc<Plan>,
}

#[derive(Debug, PartialEq)]
struct Settled {
    rollout: String,
    phase: HostPhase,
    at: Timestamp,
}

impl Upgrades {
    pub(crate) fn new(
        config: UpgradeConfig,
        db: Db,
        state: State,
        share: Arc<Share>,
        context: &Context,
    ) -> Self {
        let now = context.clock.now();
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let shared = Shared {
            metrics: Metrics::register(context),
            owner: format!("{}-{}-{}", host.trim(), std::process::id(), now.millis()),
            config,
            context: context.clone(),
            db,
            state,
            share,
            trail: Trail::new(),
            up_since: now,
            known: RwLock::new(Known::Away("it was not read yet".to_owned())),
            settled: Mutex::default(),
            wave_full: AtomicI64::new(-1),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Counts a download that was begun.
    pub(crate) fn count_file(&self) {
        self.shared.metrics.files_served.inc();
    }

    pub(crate) fn config(&self) -> &UpgradeConfig {
        &self.shared.config
    }

    /// Notes what the host says of its last offer, and answers with a new one when it is its turn.
    /// While the shared state is away nobody's turn is.
    pub(crate) async fn offer_for(&self, beat: &Beat<'_>, now: Timestamp) -> Option<UpgradeOffer> {
        let Known::Read(Some(current)) = self.known() else { return None };
        let plan = &current.plan;
        let groups = groups_of(&self.shared.share.current(), beat.host, beat.labels);
        let beat = &Beat { groups: &groups, ..*beat };
        self.take_report(plan, beat, now).await;
        if !plan.is_offering() || !beat.is_free(plan) || plan.fit(&beat.view()).is_err() {
            return None;
        }
        let is_closed = self.shared.wave_full.load(Ordering::Relaxed) == current.revision;
        if is_closed && !beat.has_failed(plan) {
            return None;
        }
        let answer = self.admit(&current, beat, now).await;
        self.shared.metrics.count(answer);
        if answer == Answer::WaveFull {
            self.shared.wave_full.store(current.revision, Ordering::Relaxed);
        }
        (answer == Answer::Offered).then(|| {
            tracing::info!(
                host.name = beat.host,
                rollout.id = plan.rollout,
                version = plan.task.version,
                "the host is offered an upgrade"
            );
            self.offer(plan)
        })
    }

    async fn admit(&self, current: &Current, beat: &Beat<'_>, now: Timestamp) -> Answer {
        let (plan, config) = (&current.plan, &self.shared.config);
        let Some(wave) = plan.wave() else { return Answer::Stale };
        let groups = self.limits(plan, wave, beat);
        let admission = Admission {
            host: beat.host,
            revision: current.revision,
            wave,
            in_flight_max: plan.policy.in_flight_max.min(config.in_flight_max),
            started_max: plan.started_max,
            attempts_max: ATTEMPTS_MAX,
            lease_millis: millis(config.lease),
            rest_millis: millis(config.lease),
            is_idle: true,
            groups: &groups,
        };
        match self.in_time(self.shared.state.admit_upgrade(&admission, now)).await {
            Some(Admitted::Given(_)) => {
                self.settled().remove(beat.host);
                Answer::Offered
            }
            Some(refusal) => refusal.into(),
            None => Answer::Away,
        }
    }

    /// At most a tenth of a group at once, and of the canaries no two in one group.
    fn limits(&self, plan: &Plan, wave: u32, beat: &Beat<'_>) -> Vec<GroupLimit> {
        let hold_millis = millis(self.shared.config.underway_max);
        let tenth = |name: &String| {
            let size = *plan.group_sizes.get(name)?;
            let max = u32::try_from(size / 10).unwrap_or(u32::MAX).max(1);
            Some(GroupLimit { name: name.to_owned(), max, hold_millis })
        };
        let mut limits: Vec<GroupLimit> = beat.groups.iter().filter_map(tenth).collect();
        if plan.wave_at(wave).is_some_and(|wave| wave.is_canary) {
            // The groups above them hold hosts of many kinds.
            let is_above = |name: &str| {
                beat.groups.iter().any(|other| other != name && is_or_is_below(other, name))
            };
            let own = beat.groups.iter().filter(|name| !is_above(name));
            limits.extend(own.map(|name| GroupLimit {
                name: format!("canary {} {name}", plan.rollout),
                max: 1,
                hold_millis: millis(CANARY_HOLD),
            }));
        }
        limits
    }

    async fn take_report(&self, plan: &Plan, beat: &Beat<'_>, now: Timestamp) {
        let Some(said) = beat.says(plan) else { return };
        let is_end = !said.phase.is_underway();
        if is_end && self.is_settled(beat.host, &said, now) {
            return;
        }
        let config = &self.shared.config;
        let reason: String = said.reason.chars().take(REASON_CHARS_MAX).collect();
        let groups: Vec<GroupLimit> = beat
            .groups
            .iter()
            .map(|name| GroupLimit { name: name.to_owned(), max: 0, hold_millis: 0 })
            .collect();
        let report = HostReport {
            host: beat.host,
            rollout: said.rollout,
            phase: said.phase,
            reason: &reason.replace(char::is_control, " "),
            lease_millis: millis(config.lease),
            underway_millis_max: millis(config.underway_max),
            groups: &groups,
        };
        let noted = self.in_time(self.shared.state.report_upgrade(&report, now)).await;
        if noted == Some(true) {
            self.shared.metrics.reports(said.phase);
            tracing::info!(
                host.name = beat.host,
                rollout.id = said.rollout,
                phase = said.phase.as_str(),
                reason = report.reason,
                "an upgrade goes on"
            );
        }
        if noted.is_some() && is_end {
            let settled = Settled { rollout: said.rollout.to_owned(), phase: said.phase, at: now };
            self.settled().insert(beat.host.to_owned(), settled);
        }
    }

    /// Whether the shared state was told a short while ago. It is told again after a lease, in case
    /// it forgot or the host was offered something by another hbs.
    fn is_settled(&self, host: &str, said: &Said<'_>, now: Timestamp) -> bool {
        self.settled().get(host).is_some_and(|settled| {
            settled.rollout == said.rollout
                && settled.phase == said.phase
                && now.since(settled.at) < self.shared.config.lease
        })
    }

    fn settled(&self) -> std::sync::MutexGuard<'_, HashMap<String, Settled>> {
        self.shared.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> Known {
        self.shared.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The answer of the shared state, or nothing when it is away; until it is back nobody asks it.
    async fn in_time<T>(&self, asking: impl Future<Output = Result<T, StateError>>) -> Option<T> {
        let why = match tokio::time::timeout(PATIENCE, asking).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => daemon::error_chain(&error),
            Err(_) => format!("the shared state does not answer within {PATIENCE:?}"),
        };
        self.away(why);
        None
    }

    fn away(&self, why: String) {
        self.shared.metrics.state_failures.inc();
        self.shared.context.lacks("shared state", why.as_str());
        let mut known = self.shared.known.write().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*known, Known::Away(_)) {
            tracing::warn!(error = why, "no host is offered an upgrade until this is over");
        }
        *known = Known::Away(why);
    }

    fn offer(&self, plan: &Plan) -> UpgradeOffer {
        let (task, config) = (plan.task.clone(), &self.shared.config);
        let is_canary =
            plan.wave().and_then(|wave| plan.wave_at(wave)).is_some_and(|wave| wave.is_canary);
        let spread = if is_canary { Duration::ZERO } else { config.spread };
        UpgradeOffer {
            rollout: plan.rollout.to_owned(),
            kind: task.kind,
            wgeturl: task.wgeturl,
            version: task.version,
            binfile_md5: task.binfile_md5,
            cfgfile_md5: task.cfgfile_md5,
            sha256: task.sha256,
            signature: task.signature,
            cfg_sha256: task.cfg_sha256,
            cfg_signature: task.cfg_signature,
            arch: task.arch,
            rate_bytes: plan.rate_bytes(),
            spread_seconds: u32::try_from(spread.as_secs()).unwrap_or(u32::MAX),
            lease_seconds: u32::try_from(config.lease.as_secs()).unwrap_or(u32::MAX),
            allow_downgrade: plan.policy.allow_downgrade,
        }
    }
}

/// The names of a host's groups and of those above them.
fn groups_of(snapshot: &Snapshot, host: &str, labels: &BTreeMap<String, String>) -> Vec<String> {
    if snapshot.groups().is_empty() {
        return Vec::new();
    }
    let groups = snapshot.memberships(host, labels);
    groups.into_iter().map(|membership| membership.group.name.to_owned()).collect()
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
