//! The groups after a restart, from what is stored.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use db::alerts::{AlertStatus, DeliveryResult, StoredAlert, Told};
use model::{Fingerprint, FingerprintMap, Timestamp};

use super::{Groups, News};
use crate::inhibit::Inhibitor;
use crate::plan::Plan;

impl Groups {
    /// The groups as stored facts tell them: every alert that fires or whose end somebody waits for, and what was
    /// told about them. `has_ticket`: whether a ticket for the integration with this key still is on its queue.
    /// Nothing was told after `now`: if the log says so, the clock was set back since.
    pub(crate) fn rebuild(
        plan: Arc<Plan>,
        alerts: &[StoredAlert],
        told: &[Told],
        has_ticket: impl Fn(&str, Fingerprint) -> bool,
        now: Timestamp,
    ) -> Self {
        let inhibitor = Inhibitor::new(&plan.inhibit_rules);
        let mut groups = Self {
            plan,
            alerts: FingerprintMap::default(),
            groups: Vec::new(),
            free: Vec::new(),
            by_labels: HashMap::new(),
            timers: BTreeSet::new(),
            holding: BTreeSet::new(),
            inhibitor,
            recheck: false,
            refused: Vec::new(),
            minute: 0,
            overflowed: 0,
        };
        let mut of_alert: FingerprintMap<Vec<&Told>> = FingerprintMap::default();
        for entry in told {
            of_alert.entry(entry.fingerprint).or_default().push(entry);
        }
        for stored in alerts {
            let fingerprint = stored.alert.fingerprint();
            groups.join(fingerprint, News::of(stored, stored.alert.starts_at));
            let entries = of_alert.get(&fingerprint).map_or(&[][..], Vec::as_slice);
            groups.recall(stored, entries, &has_ticket, now);
        }
        for id in 0..groups.groups.len() {
            groups.plan_repeat(id);
            groups.arm_all_news(id);
            groups.forget_if_empty(id);
        }
        groups.forget_known_ends();
        groups
    }

    /// Takes over what was told about an alert before the restart.
    fn recall(
        &mut self,
        stored: &StoredAlert,
        told: &[&Told],
        has_ticket: &impl Fn(&str, Fingerprint) -> bool,
        now: Timestamp,
    ) {
        let fingerprint = stored.alert.fingerprint();
        let ids = self.groups_of(fingerprint);
        for id in ids.iter() {
            let Some(group) = self.groups[id].as_mut() else { continue };
            let receiver = &self.plan.tree.leaves()[group.leaf].receiver;
            let mut is_news = false;
            for integration in self.plan.integrations_of(receiver) {
                let entry = told.iter().find(|entry| entry.receiver == integration.name);
                let is_ticket_there = || has_ticket(&integration.name, fingerprint);
                is_news |= !knows(entry.copied(), stored, is_ticket_there);
                let Some(entry) = entry else { continue };
                let sent_at = entry.sent.map(|sent| sent.at.min(now));
                group.told_at = group.told_at.max(sent_at);
                let was_given_up = entry.result == DeliveryResult::Failed;
                let last_at = if was_given_up { Some(entry.tried_at.min(now)) } else { sent_at };
                let earliest = [group.full_at, last_at].into_iter().flatten().min();
                if stored.status != AlertStatus::Resolved {
                    group.full_at = earliest;
                }
            }
            if is_news {
                group.news.insert(fingerprint);
            }
        }
    }

    /// Forgets ends that nobody waits for. The group of one is gone if nothing else was in it, and another group may
    /// be in its place by the time the alert fires again.
    fn forget_known_ends(&mut self) {
        let groups = &self.groups;
        self.alerts.retain(|fingerprint, known| {
            if known.news.status != AlertStatus::Resolved {
                return true;
            }
            let waits = |id: usize| {
                groups[id].as_ref().is_some_and(|group| group.news.contains(fingerprint))
            };
            known.groups.keep(waits);
            !known.groups.is_empty()
        });
    }
}

/// Whether a receiver knows the state of an alert, or is about to be told by a ticket that waits.
fn knows(told: Option<&Told>, stored: &StoredAlert, has_ticket: impl Fn() -> bool) -> bool {
    let Some(told) = told else { return stored.status != AlertStatus::Firing };
    let is_under_way = told.result == DeliveryResult::Retrying && has_ticket();
    if is_under_way || stored.status == AlertStatus::Stale {
        return true;
    }
    let is_firing = stored.status == AlertStatus::Firing;
    match told.sent {
        Some(sent) => {
            (sent.status == AlertStatus::Firing) == is_firing
                && stored.alert.starts_at <= sent.starts_at
        }
        None => !is_firing || told.result == DeliveryResult::Failed,
    }
}
