//! A heartbeat as far as upgrades go: who sent it, and what it says of an offer.

use std::collections::BTreeMap;

use db::HostPhase;
use wire::heartbeat::{UpgradeKind, UpgradePhase, UpgradeReport};

use crate::rollout::{HostView, Plan, Unfit};

/// A host that sent a heartbeat.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beat<'a> {
    pub(crate) host: &'a str,
    /// Version of its agent.
    pub(crate) version: &'a str,
    /// Its architecture; may be empty.
    pub(crate) arch: &'a str,
    pub(crate) labels: &'a BTreeMap<String, String>,
    /// Names of its groups and of those above them. hbs knows them; who passes a heartbeat on does not.
    pub(crate) groups: &'a [String],
    pub(crate) speaks: Speaks<'a>,
}

/// What the agent understands.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Speaks<'a> {
    /// Open-Falcon's `ReportStatus`, with the fork's `InUpgrading`.
    Falcon { in_upgrading: bool },
    /// Our heartbeat.
    Saker { report: Option<&'a UpgradeReport>, upgradable: bool },
}

/// What a heartbeat says of an offer.
pub(super) struct Said<'a> {
    pub(super) rollout: &'a str,
    pub(super) phase: HostPhase,
    pub(super) reason: &'a str,
}

impl<'a> Beat<'a> {
    pub(super) fn view(&self) -> HostView<'a> {
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

    pub(super) fn says(&self, plan: &'a Plan) -> Option<Said<'a>> {
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
    pub(super) fn is_free(&self, plan: &Plan) -> bool {
        match self.speaks {
            Speaks::Falcon { in_upgrading } => !in_upgrading,
            Speaks::Saker { upgradable: false, .. } => false,
            Speaks::Saker { report, .. } => report.is_none_or(|report| {
                let is_other = report.rollout != plan.rollout;
                report.phase.is_end() && (is_other || phase_of(report.phase).may_retry())
            }),
        }
    }

    pub(super) fn has_failed(&self, plan: &Plan) -> bool {
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
