//! The rollout of an agent version: what is rolled out, to whom, in which waves, and how far it has
//! come. Pure: the time and the hosts in numbers come in, a changed plan goes out.
//!
//! A plan opens one wave after the other. A wave may have started so many hosts, the former waves
//! included; it ends when all of them have come to an end, and the next one opens after a pause.
//! Hosts that speak against the version halt the rollout, and a halted one offers nothing.

mod fit;
mod request;
#[cfg(test)]
mod simulation;
mod step;
mod version;

use std::collections::{BTreeMap, BTreeSet};

use db::{HostPhase, UpgradeTally};
use model::Timestamp;
use serde::{Deserialize, Serialize};
use wire::heartbeat::{UpgradeArgs, UpgradeKind};

pub(crate) use fit::{HostView, Unfit};
pub(crate) use request::{Request, RequestError};
pub(crate) use step::{Census, Moment, Step};
pub(crate) use version::is_valid as is_version;

/// Offers that one host gets of one rollout.
pub(crate) const ATTEMPTS_MAX: u32 = 2;

/// A rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Its identity.
    pub(crate) rollout: String,
    pub(crate) task: Task,
    pub(crate) targets: Targets,
    pub(crate) policy: Policy,
    pub(crate) phase: Phase,
    /// When the phase began.
    pub(crate) phase_since: Timestamp,
    /// Waves that were opened so far; the last of them is the current one.
    pub(crate) opened: u32,
    /// Hosts that the opened waves may have started; nothing for all.
    pub(crate) started_max: Option<u64>,
    /// Hosts that should get the version, as counted when the current wave was opened.
    pub(crate) candidates: u64,
    /// Hosts that were heard when the current wave was opened.
    pub(crate) heard_before: u64,
    /// Hosts by group, as counted when the current wave was opened.
    #[serde(default)]
    pub(crate) group_sizes: BTreeMap<String, u64>,
    /// Failures by wave that an operator has looked at: they do not halt the rollout again.
    pub(crate) forgiven: BTreeMap<u32, u64>,
    /// Why it is rolled out, in the operator's words.
    pub(crate) reason: String,
    pub(crate) created_at: Timestamp,
}

/// What is rolled out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Task {
    #[serde(rename = "type")]
    pub(crate) kind: UpgradeKind,
    pub(crate) wgeturl: String,
    pub(crate) version: String,
    pub(crate) binfile_md5: String,
    pub(crate) cfgfile_md5: String,
    pub(crate) sha256: String,
    pub(crate) signature: String,
    pub(crate) cfg_sha256: String,
    pub(crate) cfg_signature: String,
    /// The architecture that the file is for; empty for any.
    pub(crate) arch: String,
}

/// Which hosts it is for; all when everything is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Targets {
    /// Names of hosts.
    pub(crate) hosts: BTreeSet<String>,
    /// Groups of the service tree, with those below them.
    pub(crate) groups: BTreeSet<String>,
    /// Values of the host's label `dc` or `idc`.
    pub(crate) dcs: BTreeSet<String>,
    /// The host runs this version or a newer one.
    pub(crate) min_from: String,
}

/// How it is rolled out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Policy {
    /// In order; each counts the hosts of the former ones too.
    pub(crate) waves: Vec<Wave>,
    /// Failures that halt it.
    pub(crate) fail_max: Share,
    pub(crate) in_flight_max: u32,
    /// Bytes a second for all hosts together; 0 for no limit.
    pub(crate) bandwidth: u64,
    pub(crate) allow_downgrade: bool,
}

/// Which hosts a wave reaches, and the pause after it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Wave {
    pub(crate) reach: Share,
    pub(crate) is_canary: bool,
    pub(crate) soak_seconds: u32,
}

/// A number of hosts, or a share of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Share {
    Hosts(u64),
    Percent(f64),
}

/// Where a rollout stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    Running(Stage),
    Paused(Stage),
    Halted {
        why: String,
        stage: Stage,
    },
    /// All waves have ended; hosts that come later are still offered the version.
    Done,
    Cancelled,
}

/// What goes on while a rollout runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// The next wave opens then.
    Waiting { until: Timestamp },
    /// Hosts of the current wave are offered the version.
    Offering,
}

impl Plan {
    /// A new rollout: its first wave opens at once.
    pub(crate) fn new(request: Request, rollout: String, now: Timestamp) -> Self {
        Self {
            rollout,
            task: request.task,
            targets: request.targets,
            policy: request.policy,
            phase: Phase::Running(Stage::Waiting { until: now }),
            phase_since: now,
            opened: 0,
            started_max: Some(0),
            candidates: 0,
            heard_before: 0,
            group_sizes: BTreeMap::new(),
            forgiven: BTreeMap::new(),
            reason: request.reason,
            created_at: now,
        }
    }

    /// Whether hosts may be offered the version now.
    pub(crate) fn is_offering(&self) -> bool {
        matches!(self.phase, Phase::Running(Stage::Offering) | Phase::Done)
    }

    /// Whether another rollout would cut this one off.
    pub(crate) fn is_unfinished(&self) -> bool {
        !matches!(self.phase, Phase::Done | Phase::Cancelled)
    }

    /// Whether it asks for the same.
    pub(crate) fn is_same(&self, request: &Request) -> bool {
        (&self.task, &self.targets, &self.policy)
            == (&request.task, &request.targets, &request.policy)
    }

    /// The current wave, from 0; nothing before the first one was opened.
    pub(crate) fn wave(&self) -> Option<u32> {
        self.opened.checked_sub(1)
    }

    pub(crate) fn wave_at(&self, wave: u32) -> Option<&Wave> {
        self.policy.waves.get(usize::try_from(wave).ok()?)
    }

    /// Bytes a second for one host; 0 for no limit.
    pub(crate) fn rate_bytes(&self) -> u64 {
        match self.policy.bandwidth {
            0 => 0,
            bandwidth => (bandwidth / u64::from(self.policy.in_flight_max.max(1))).max(1),
        }
    }

    /// The task as Open-Falcon shows it; empty when it is cancelled.
    pub(crate) fn args(&self) -> UpgradeArgs {
        if self.phase == Phase::Cancelled {
            return UpgradeArgs::default();
        }
        let task = self.task.clone();
        UpgradeArgs {
            kind: task.kind,
            wgeturl: task.wgeturl,
            version: task.version,
            binfile_md5: task.binfile_md5,
            cfgfile_md5: task.cfgfile_md5,
        }
    }

    /// Stopped by an operator until [`Plan::resumed`]; nothing when it does not run.
    pub(crate) fn paused(&self, now: Timestamp) -> Option<Self> {
        let Phase::Running(stage) = self.phase else { return None };
        Some(self.turned(Phase::Paused(stage), now))
    }

    /// Going on, with the failures so far forgiven; nothing when it was neither paused nor halted.
    pub(crate) fn resumed(&self, tally: &UpgradeTally, now: Timestamp) -> Option<Self> {
        let (Phase::Paused(stage) | Phase::Halted { stage, .. }) = &self.phase else { return None };
        let mut plan = self.turned(Phase::Running(*stage), now);
        plan.forgiven = failures_by_wave(tally);
        // Who has fallen silent was looked at too; the next wave counts anew.
        plan.heard_before = 0;
        Some(plan)
    }

    /// Ended; hosts that hold a place finish or roll back.
    pub(crate) fn cancelled(&self, now: Timestamp) -> Self {
        self.turned(Phase::Cancelled, now)
    }

    fn turned(&self, phase: Phase, now: Timestamp) -> Self {
        Self { phase, phase_since: now, ..self.clone() }
    }
}

impl Share {
    /// How many hosts of `all` it is, at least one.
    fn of(self, all: u64) -> u64 {
        match self {
            Self::Hosts(hosts) => hosts,
            Self::Percent(percent) => ((all as f64 * percent / 100.0).ceil() as u64).max(1),
        }
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hosts(1) => f.write_str("1 host"),
            Self::Hosts(hosts) => write!(f, "{hosts} hosts"),
            Self::Percent(percent) => write!(f, "{percent} %"),
        }
    }
}

fn failures_by_wave(tally: &UpgradeTally) -> BTreeMap<u32, u64> {
    let mut failures = BTreeMap::new();
    for &(wave, phase, hosts) in &tally.counts {
        if phase.is_failure() {
            *failures.entry(wave).or_default() += hosts;
        }
    }
    failures
}

fn count(tally: &UpgradeTally, is_meant: impl Fn(u32, HostPhase) -> bool) -> u64 {
    let meant = tally.counts.iter().filter(|&&(wave, phase, _)| is_meant(wave, phase));
    meant.map(|&(_, _, hosts)| hosts).sum()
}
