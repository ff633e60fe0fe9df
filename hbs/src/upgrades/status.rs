//! The rollout as operators see it.

use std::collections::BTreeMap;

use db::{HostPhase, UpgradeHostRow, UpgradeTally};
use serde_json::{Value, json};

use super::{Refusal, Upgrades};
use crate::rollout::{Phase, Plan, Stage};

/// Hosts that are named in the status, of those that failed and of those that are underway.
const HOSTS_MAX: u32 = 100;
const ERRORS_MAX: usize = 10;
const FAILURES: [HostPhase; 4] =
    [HostPhase::Failed, HostPhase::RolledBack, HostPhase::Lost, HostPhase::Refused];
const UNDERWAY: [HostPhase; 6] = [
    HostPhase::Offered,
    HostPhase::Accepted,
    HostPhase::Downloading,
    HostPhase::Verifying,
    HostPhase::Restarting,
    HostPhase::Probation,
];

impl Upgrades {
    /// The rollout, its waves, and the hosts that failed.
    pub(crate) async fn status(&self) -> Result<Value, Refusal> {
        let Some(current) = self.current().await? else { return Ok(json!({ "phase": "idle" })) };
        let (state, now) = (&self.shared.state, self.shared.context.clock.now());
        let tally = self.in_time(self.tally(now)).await;
        let failed = self.in_time(state.upgrade_hosts(&FAILURES, HOSTS_MAX)).await;
        let underway = self.in_time(state.upgrade_hosts(&UNDERWAY, HOSTS_MAX)).await;
        let (Some(tally), Some(failed), Some(underway)) = (tally, failed, underway) else {
            return Err(self.is_away());
        };
        let plan = &current.plan;
        let minutes = (now.since(plan.created_at).as_secs_f64() / 60.0).max(1.0 / 60.0);
        let confirmed = hosts(&tally, |_, phase| phase == HostPhase::Confirmed);
        let mut status = json!({
            "phase": phase_word(plan),
            "why": why(plan),
            "rollout": plan.rollout,
            "revision": current.revision,
            "reason": plan.reason,
            "created_at": plan.created_at.rfc3339(),
            "phase_since": plan.phase_since.rfc3339(),
            "task": plan.task,
            "targets": plan.targets,
            "wave": plan.opened,
            "waves": waves(plan, &tally),
            "soak_ends_at": soak_ends_at(plan),
            "candidates": plan.candidates,
            "in_flight": tally.in_flight,
            "in_flight_max": plan.policy.in_flight_max.min(self.config().in_flight_max),
            "counts": counts(&tally),
            "confirmed_per_minute": confirmed as f64 / minutes,
            "bandwidth": plan.policy.bandwidth,
            "rate_bytes": plan.rate_bytes(),
            "max_fail": plan.policy.fail_max.to_string(),
            "allow_downgrade": plan.policy.allow_downgrade,
        });
        status["last_errors"] = last_errors(&failed);
        status["failed"] = failed.iter().map(host).collect();
        status["underway"] = underway.iter().map(host).collect();
        Ok(status)
    }
}

fn phase_word(plan: &Plan) -> &'static str {
    match plan.phase {
        Phase::Running(Stage::Waiting { .. }) if plan.opened > 0 => "soaking",
        Phase::Running(_) => "running",
        Phase::Paused(_) => "paused",
        Phase::Halted { .. } => "halted",
        Phase::Done => "done",
        Phase::Cancelled => "cancelled",
    }
}

fn why(plan: &Plan) -> &str {
    match &plan.phase {
        Phase::Halted { why, .. } => why,
        _ => "",
    }
}

fn soak_ends_at(plan: &Plan) -> Option<String> {
    match plan.phase {
        Phase::Running(Stage::Waiting { until }) if plan.opened > 0 => Some(until.rfc3339()),
        _ => None,
    }
}

fn waves(plan: &Plan, tally: &UpgradeTally) -> Value {
    let waves = (0_u32..).zip(&plan.policy.waves).map(|(wave, rules)| {
        json!({
            "wave": wave + 1,
            "reach": rules.reach.to_string(),
            "canary": rules.is_canary,
            "soak_seconds": rules.soak_seconds,
            "opened": wave < plan.opened,
            "started": hosts(tally, |of, _| of == wave),
            "confirmed": hosts(tally, |of, phase| of == wave && phase == HostPhase::Confirmed),
            "failed": hosts(tally, |of, phase| of == wave && phase.is_failure()),
        })
    });
    waves.collect()
}

fn counts(tally: &UpgradeTally) -> BTreeMap<&'static str, u64> {
    let count = |phase: HostPhase| (phase.as_str(), hosts(tally, |_, of| of == phase));
    HostPhase::ALL.into_iter().map(count).collect()
}

fn hosts(tally: &UpgradeTally, is_meant: impl Fn(u32, HostPhase) -> bool) -> u64 {
    let meant = tally.counts.iter().filter(|&&(wave, phase, _)| is_meant(wave, phase));
    meant.map(|&(_, _, hosts)| hosts).sum()
}

/// The reasons of the latest failures, each with how many hosts have it.
fn last_errors(failed: &[UpgradeHostRow]) -> Value {
    let mut reasons: Vec<(String, u64)> = Vec::new();
    for host in failed {
        let text = if host.reason.is_empty() { host.phase.as_str() } else { &host.reason };
        match reasons.iter_mut().find(|(reason, _)| reason == text) {
            Some((_, hosts)) => *hosts += 1,
            None => reasons.push((text.to_owned(), 1)),
        }
    }
    let reasons = reasons.into_iter().take(ERRORS_MAX);
    reasons.map(|(reason, hosts)| json!({ "reason": reason, "hosts": hosts })).collect()
}

fn host(row: &UpgradeHostRow) -> Value {
    json!({
        "host": row.host,
        "phase": row.phase.as_str(),
        "reason": row.reason,
        "wave": row.wave + 1,
        "offers": row.attempts,
        "since": row.changed_at.rfc3339(),
    })
}
