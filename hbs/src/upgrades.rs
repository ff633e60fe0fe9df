//! Upgrades as hbs runs them: who gets an offer with a heartbeat, and what operators ask for. What
//! is decided is decided in `rollout`; the plan and the places are in the shared state, so any hbs
//! serves them and a restart keeps them.

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
use wire::heartbeat::{UpgradeKind, UpgradeOffer, UpgradePhase, UpgradeReport};

pub use config::UpgradeConfig;
pub(crate) use operate::Refusal;

use crate::rollout::{ATTEMPTS_MAX, HostView, Plan, Unfit};
use metrics::{Answer, Metrics};

/// A heartbeat waits no longer for the shared state.
const PATIENCE: Duration = Duration::from_secs(2);
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

/// A host that sent a heartbeat.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub(crate) host: &'a str,
    /// Version of its agent.
    pub(crate) version: &'a str,
    /// Its architecture; may be empty.
    pub(crate) arch: &'a str,
    pub(crate) labels: &'a BTreeMap<String, String>,
    /// Names of its groups.
    pub(crate) groups: &'a [String],
    /// Hosts of each group, in the same order; 0 when it is not known.
    pub(crate) group_sizes: &'a [u64],
    pub(crate) speaks: Speaks<'a>,
}

/// What the agent understands.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Speaks<'a> {
    /// Open-Falcon's `ReportStatus`, with the fork's `InUpgrading`.
    #[cfg_attr(not(test), expect(dead_code, reason = "JSON-RPC calls it once it is merged"))]
    Falcon { in_upgrading: bool },
    /// Our heartbeat.
    Saker { report: Option<&'a UpgradeReport>, upgradable: bool },
}

impl Upgrades {
    pub(crate) fn new(config: UpgradeConfig, db: Db, state: State, context: &Context) -> Self {
        let now = context.clock.now();
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let shared = Shared {
            metrics: Metrics::register(context),
            owner: format!("{}-{}-{}", host.trim(), std::process::id(), now.millis()),
            config,
            context: context.clone(),
            db,
            state,
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
    pub(crate) async fn offer_for(
        &self,
        caller: &Caller<'_>,
        now: Timestamp,
    ) -> Option<UpgradeOffer> {
        let Known::Read(Some(current)) = self.known() else { return None };
        let plan = &current.plan;
        self.take_report(plan, caller, now).await;
        if !plan.is_offering() || !caller.is_free(plan) || plan.fit(&caller.view()).is_err() {
            return None;
        }
        let is_closed = self.shared.wave_full.load(Ordering::Relaxed) == current.revision;
        if is_closed && !caller.has_failed(plan) {
            return None;
        }
        let answer = self.admit(&current, caller, now).await;
        self.shared.metrics.count(answer);
        if answer == Answer::WaveFull {
            self.shared.wave_full.store(current.revision, Ordering::Relaxed);
        }
        (answer == Answer::Offered).then(|| {
            tracing::info!(
                host.name = caller.host,
                rollout.id = plan.rollout,
                version = plan.task.version,
                "the host is offered an upgrade"
            );
            self.offer(plan)
        })
    }

    async fn admit(&self, current: &Current, caller: &Caller<'_>, now: Timestamp) -> Answer {
        let (plan, config) = (&current.plan, &self.shared.config);
        let Some(wave) = plan.wave() else { return Answer::Stale };
        let groups = self.limits(plan, wave, caller);
        let admission = Admission {
            host: caller.host,
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
                self.settled().remove(caller.host);
                Answer::Offered
            }
            Some(refusal) => refusal.into(),
            None => Answer::Away,
        }
    }

    /// At most a tenth of a group at once, and of the canaries no two in one group.
    fn limits(&self, plan: &Plan, wave: u32, caller: &Caller<'_>) -> Vec<GroupLimit> {
        let hold_millis = millis(self.shared.config.underway_max);
        let sized = caller.groups.iter().zip(caller.group_sizes).filter(|&(_, &size)| size > 0);
        let mut limits: Vec<GroupLimit> = sized
            .map(|(name, &size)| GroupLimit {
                name: name.to_owned(),
                max: u32::try_from(size / 10).unwrap_or(u32::MAX).max(1),
                hold_millis,
            })
            .collect();
        if plan.wave_at(wave).is_some_and(|wave| wave.is_canary) {
            limits.extend(caller.groups.iter().map(|name| GroupLimit {
                name: format!("canary {} {name}", plan.rollout),
                max: 1,
                hold_millis: millis(CANARY_HOLD),
            }));
        }
        limits
    }

    async fn take_report(&self, plan: &Plan, caller: &Caller<'_>, now: Timestamp) {
        let Some(said) = caller.says(plan) else { return };
        let is_end = !said.phase.is_underway();
        if is_end && self.is_settled(caller.host, &said, now) {
            return;
        }
        let config = &self.shared.config;
        let reason: String = said.reason.chars().take(REASON_CHARS_MAX).collect();
        let groups: Vec<GroupLimit> = caller
            .groups
            .iter()
            .map(|name| GroupLimit { name: name.to_owned(), max: 0, hold_millis: 0 })
            .collect();
        let report = HostReport {
            host: caller.host,
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
                host.name = caller.host,
                rollout.id = said.rollout,
                phase = said.phase.as_str(),
                reason = report.reason,
                "an upgrade goes on"
            );
        }
        if noted.is_some() && is_end {
            let settled = Settled { rollout: said.rollout.to_owned(), phase: said.phase, at: now };
            self.settled().insert(caller.host.to_owned(), settled);
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

/// What a heartbeat says of an offer.
struct Said<'a> {
    rollout: &'a str,
    phase: HostPhase,
    reason: &'a str,
}

impl<'a> Caller<'a> {
    fn view(&self) -> HostView<'a> {
        HostView {
            name: self.host,
            version: self.version,
            arch: self.arch,
            labels: self.labels,
            groups: self.groups,
            is_falcon: matches!(self.speaks, Speaks::Falcon { .. }),
        }
    }

    fn report(&self) -> Option<&'a UpgradeReport> {
        match self.speaks {
            Speaks::Saker { report, .. } => report,
            Speaks::Falcon { .. } => None,
        }
    }

    fn says(&self, plan: &'a Plan) -> Option<Said<'a>> {
        if let Some(report) = self.report().filter(|report| report.rollout == plan.rollout) {
            let phase = phase_of(report.phase);
            return Some(Said { rollout: &report.rollout, phase, reason: &report.reason });
        }
        // Who says nothing is judged by its version.
        let shows = plan.task.kind != UpgradeKind::Config;
        if shows && plan.fit(&self.view()) == Err(Unfit::AtVersion) {
            return Some(Said { rollout: &plan.rollout, phase: HostPhase::Confirmed, reason: "" });
        }
        if let Speaks::Falcon { in_upgrading: true } = self.speaks {
            return Some(Said { rollout: &plan.rollout, phase: HostPhase::Accepted, reason: "" });
        }
        // The end of an earlier rollout gives its place back.
        let report = self.report().filter(|report| report.phase.is_end())?;
        let phase = phase_of(report.phase);
        Some(Said { rollout: &report.rollout, phase, reason: &report.reason })
    }

    /// Whether an offer would be followed: the host lets itself be upgraded, works on none, and has
    /// not come to an end with this one.
    fn is_free(&self, plan: &Plan) -> bool {
        match self.speaks {
            Speaks::Falcon { in_upgrading } => !in_upgrading,
            Speaks::Saker { upgradable: false, .. } => false,
            Speaks::Saker { report, .. } => report.is_none_or(|report| {
                let is_other = report.rollout != plan.rollout;
                report.phase.is_end() && (is_other || phase_of(report.phase).may_retry())
            }),
        }
    }

    fn has_failed(&self, plan: &Plan) -> bool {
        let report = self.report();
        report.is_some_and(|report| {
            report.rollout == plan.rollout && phase_of(report.phase).is_failure()
        })
    }
}

fn phase_of(phase: UpgradePhase) -> HostPhase {
    match phase {
        UpgradePhase::Accepted => HostPhase::Accepted,
        UpgradePhase::Downloading => HostPhase::Downloading,
        UpgradePhase::Verifying => HostPhase::Verifying,
        UpgradePhase::Restarting => HostPhase::Restarting,
        UpgradePhase::Probation => HostPhase::Probation,
        UpgradePhase::Confirmed => HostPhase::Confirmed,
        UpgradePhase::Refused => HostPhase::Refused,
        UpgradePhase::Failed => HostPhase::Failed,
        UpgradePhase::RolledBack => HostPhase::RolledBack,
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp(1_760_000_460_000);

    struct World {
        upgrades: Upgrades,
        context: Context,
        _folder: tempfile::TempDir,
    }

    impl World {
        /// With a rollout to all at once.
        async fn start(more: serde_json::Value) -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let db = Db::open(&folder.path().join("saker.db")).await.expect("a database");
            let context = testkit::context_at(NOW);
            let (config, state) = (UpgradeConfig::default(), State::embedded(db.clone()));
            let upgrades = Upgrades::new(config, db, state, &context);
            let mut body = json!({
                "wgeturl": "http://a/f", "version": "7.1", "binfile_md5": "0".repeat(32),
                "canary": 0, "waves": [100], "max_fail": 9,
            });
            let more = more.as_object().expect("an object").to_owned();
            body.as_object_mut().expect("an object").extend(more);
            upgrades.start(body.to_string().as_bytes()).await.expect("it is valid");
            let conducting = upgrades.clone();
            let task = move |stop| conducting.conduct(Duration::from_secs(30), stop);
            context.spawn_graceful("rollout", task);
            testkit::eventually("the wave is open", Duration::from_secs(20), async || {
                let status = upgrades.status().await.ok()?;
                (status["wave"] == 1).then_some(())
            })
            .await;
            Self { upgrades, context, _folder: folder }
        }

        async fn ask(&self, host: &str, version: &str, in_upgrading: bool) -> Option<UpgradeOffer> {
            let caller = Caller {
                host,
                version,
                arch: "",
                labels: &BTreeMap::new(),
                groups: &["corp.web".to_owned()],
                group_sizes: &[20],
                speaks: Speaks::Falcon { in_upgrading },
            };
            self.upgrades.offer_for(&caller, self.context.clock.now()).await
        }

        /// Lets time pass while hbs looks: after a long look away leases are longer.
        async fn pass(&self, span: Duration) {
            for _ in 0..span.as_secs() / 5 {
                self.context.clock.advance(Duration::from_secs(5));
                self.counts().await;
            }
        }

        async fn counts(&self) -> serde_json::Value {
            self.upgrades.status().await.expect("it is there")["counts"].take()
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_agent_of_open_falcon_is_judged_by_its_version() {
        let world = World::start(json!({})).await;
        let offer = world.ask("a", "6.0.1", false).await.expect("it is older");
        assert_eq!(wire::heartbeat::UpgradeArgs::from(offer).version, "7.1");
        assert_eq!(world.ask("a", "6.0.1", true).await, None, "it works on it");
        assert_eq!(world.counts().await["accepted"], 1);
        assert_eq!(world.ask("a", "7.1", false).await, None);
        assert_eq!(world.counts().await["confirmed"], 1);
        assert_eq!(world.ask("b", "7.1", false).await, None, "it had it before");
        assert_eq!(world.counts().await["confirmed"], 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_host_that_is_underway_keeps_its_place_and_a_silent_one_does_not() {
        let world = World::start(json!({})).await;
        world.ask("busy", "6.0.1", false).await.expect("an offer");
        world.ask("silent", "6.0.1", false).await.expect("an offer");
        for _ in 0..5 {
            world.pass(Duration::from_secs(60)).await;
            assert_eq!(world.ask("busy", "6.0.1", true).await, None);
        }
        let counts = world.counts().await;
        assert_eq!((&counts["accepted"], &counts["lost"]), (&json!(1), &json!(1)));
        world.pass(Duration::from_secs(200)).await;
        assert!(world.ask("silent", "6.0.1", false).await.is_some(), "a second offer");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_a_group_a_tenth_is_upgraded_at_once_and_one_canary() {
        let world = World::start(json!({})).await;
        let mut offers = 0;
        for host in ["a", "b", "c", "d"] {
            offers += usize::from(world.ask(host, "6.0.1", false).await.is_some());
        }
        assert_eq!(offers, 2, "a tenth of twenty");
        world.ask("a", "7.1", false).await;
        assert!(world.ask("c", "6.0.1", false).await.is_some(), "a has its version");
        let world = World::start(json!({ "canary": 3 })).await;
        assert!(world.ask("a", "6.0.1", false).await.is_some());
        world.ask("a", "7.1", false).await;
        assert_eq!(world.ask("b", "6.0.1", false).await, None, "no second canary of the group");
    }
}
