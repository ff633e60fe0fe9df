//! Reads the plan again and again, and lets it step on: by the one hbs that holds the lease.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use daemon::{Clock, Stop};
use db::HostRow;
use model::Timestamp;
use serde::Deserialize;
use state::{HostPhase, StateError, UpgradeTally};
use wire::heartbeat::UpgradeKind;

use super::{Current, Known, Upgrades, groups_of};
use crate::rollout::{Census, HostView, Moment, Plan, Step};
use crate::snapshot::Snapshot;

const LEASE_NAME: &str = "upgrade_rollout";
const LEASE: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(500);
/// The whole fleet is read at most so often, and while a wave is open at least so often.
const CENSUS_PAUSE: Duration = Duration::from_secs(3);
const CENSUS_EVERY: Duration = Duration::from_secs(30);
/// Hosts' rows are written at least once a minute; older than this and some heartbeats, a host is
/// not there.
const SIGHT_WITHIN: Duration = Duration::from_secs(90);
const HEARTBEATS_WITHIN: u32 = 3;

/// When the fleet was last counted, by the clock of the machine.
#[derive(Debug, Default)]
struct Counted {
    at: Option<Timestamp>,
    revision: i64,
}

impl Upgrades {
    /// Runs until it is told to stop.
    pub(crate) async fn conduct(self, heartbeat_interval: Duration, stop: Stop) {
        let sight = SIGHT_WITHIN + heartbeat_interval * HEARTBEATS_WITHIN;
        let (system, mut counted) = (Clock::System, Counted::default());
        loop {
            self.refresh().await;
            if let Known::Read(Some(current)) = self.known() {
                self.lead(&current, sight, &mut counted).await;
            }
            if !stop.sleep(&system, TICK).await {
                break;
            }
        }
        // The next one need not wait for the lease to end.
        let _ = self.shared.state.release_lease(LEASE_NAME, &self.shared.owner).await;
    }

    /// Reads the plan as it is now.
    pub(super) async fn refresh(&self) {
        let read = tokio::time::timeout(super::PATIENCE, self.shared.state.upgrade_plan()).await;
        let row = match read {
            Ok(Ok(row)) => row,
            Ok(Err(error)) => return self.away(daemon::error_chain(&error)),
            Err(_) => return self.away("the shared state does not answer".to_owned()),
        };
        let known = self.known();
        let before = match &known {
            Known::Read(Some(current)) => Some(current),
            _ => None,
        };
        let current = match row {
            None => None,
            Some(row) if before.is_some_and(|before| before.revision == row.revision) => {
                before.cloned()
            }
            Some(row) => match serde_json::from_slice::<Plan>(&row.body) {
                Ok(plan) => Some(Current { revision: row.revision, plan: Arc::new(plan) }),
                Err(error) => return self.away(format!("the plan cannot be read: {error}")),
            },
        };
        let rollout = |current: Option<&Current>| current.map(|now| now.plan.rollout.to_owned());
        if rollout(before) != rollout(current.as_ref()) {
            self.settled().clear();
        }
        self.shared.context.has("shared state");
        *self.shared.known.write().unwrap_or_else(PoisonError::into_inner) = Known::Read(current);
    }

    async fn lead(&self, current: &Current, sight: Duration, counted: &mut Counted) {
        let (shared, now) = (&self.shared, self.shared.context.clock.now());
        let Some(tally) = self.in_time(self.tally(now)).await else { return };
        shared.metrics.hosts_in_flight.set(i64::try_from(tally.in_flight).unwrap_or(i64::MAX));
        // Every hbs counts, so that leases last while the leader is replaced; one leads.
        let lease = shared.state.take_lease(LEASE_NAME, &shared.owner, LEASE, now);
        let is_leader = matches!(self.in_time(lease).await, Some(Some(_)));
        if !is_leader || tally.revision != current.revision {
            return;
        }
        let plan = &current.plan;
        let moment = Moment { now, up_since: shared.up_since, quiet: self.config().lease * 2 };
        let since = counted.at.map(|at| Clock::System.now().since(at));
        let is_new = counted.revision != current.revision;
        let is_due = plan.is_offering() && since.is_none_or(|since| since >= CENSUS_EVERY);
        let mut step = if is_due && plan.is_unfinished() {
            Step::Count
        } else {
            plan.step(&tally, None, &moment)
        };
        if step == Step::Count {
            if !is_new && since.is_some_and(|since| since < CENSUS_PAUSE) {
                return;
            }
            *counted = Counted { at: Some(Clock::System.now()), revision: current.revision };
            let Some(census) = self.census(plan, &tally, sight).await else { return };
            step = plan.step(&tally, Some(&census), &moment);
        }
        if let Step::Change(changed) = step {
            self.turn(current, &changed).await;
        }
    }

    /// The hosts in numbers.
    pub(super) async fn tally(&self, now: Timestamp) -> Result<UpgradeTally, StateError> {
        self.shared.state.upgrade_tally(super::millis(self.config().lease), now).await
    }

    async fn turn(&self, current: &Current, changed: &Plan) {
        tracing::info!(
            rollout.id = changed.rollout,
            version = changed.task.version,
            wave = changed.opened,
            candidates = changed.candidates,
            phase = ?changed.phase,
            "the rollout goes on"
        );
        self.save(current.revision, changed).await;
        self.refresh().await;
    }

    /// Writes the plan unless somebody else changed it; nothing when that is not known.
    pub(super) async fn save(&self, expected: i64, plan: &Plan) -> Option<bool> {
        let body = serde_json::to_vec(plan).expect("a plan is plain data");
        self.in_time(self.shared.state.save_upgrade_plan(expected, &plan.rollout, &body)).await
    }

    async fn census(&self, plan: &Plan, tally: &UpgradeTally, sight: Duration) -> Option<Census> {
        match self.shared.db.hosts().all().await {
            Ok(rows) => {
                let since = self.shared.context.clock.now().minus(sight);
                Some(count(plan, tally, &rows, &self.shared.share.current(), since))
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the fleet cannot be counted; the rollout waits"
                );
                None
            }
        }
    }
}

/// What the stored host says of itself, as far as it matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Facts {
    arch: String,
    labels: BTreeMap<String, String>,
}

fn count(
    plan: &Plan,
    tally: &UpgradeTally,
    rows: &[HostRow],
    snapshot: &Snapshot,
    heard_since: Timestamp,
) -> Census {
    let heard = rows.iter().filter(|row| row.seen_at >= heard_since.millis());
    let group_sizes = BTreeMap::new();
    let mut census = Census { left: 0, heard: 0, newest: Timestamp::MIN, group_sizes };
    for row in heard {
        census.heard += 1;
        census.newest = census.newest.max(Timestamp(row.seen_at));
        let facts: Facts = serde_json::from_str(&row.facts).unwrap_or_default();
        let groups = groups_of(snapshot, &row.name, &facts.labels);
        let view = HostView {
            name: &row.name,
            version: &row.agent_version,
            arch: &facts.arch,
            labels: &facts.labels,
            groups: &groups,
            is_falcon: false,
        };
        let is_left = plan.fit(&view).is_ok();
        census.left += u64::from(is_left);
        for group in groups {
            *census.group_sizes.entry(group).or_default() += 1;
        }
    }
    // A host that was offered the version and has it not yet still shows the former one.
    let shows = plan.task.kind != UpgradeKind::Config;
    let offered =
        tally.counts.iter().filter(|&&(_, phase, _)| phase != HostPhase::Confirmed || !shows);
    census.left = census.left.saturating_sub(offered.map(|&(_, _, hosts)| hosts).sum());
    census
}
