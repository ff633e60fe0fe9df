//! What a group tells when its time has come, and what it holds back.

use std::collections::BTreeSet;
use std::hash::{Hash as _, Hasher as _};
use std::time::Duration;

use db::alerts::AlertStatus;
use model::{Fingerprint, FingerprintMap, Timestamp};

use super::{Due, Flush, Group, Groups, Held, Known, News};
use crate::inhibit::Inhibitor;
use crate::pipeline::Reason;

impl Groups {
    pub(super) fn flush(&mut self, id: usize, now: Timestamp, due: &mut Due) {
        let Some(group) = self.groups[id].as_mut() else { return };
        let leaf = &self.plan.tree.leaves()[group.leaf];
        let is_repeat = group.repeat_at.is_some_and(|at| at <= now);
        let is_young = |member: &Fingerprint| {
            let news = self.alerts.get(member).map(|known| &known.news);
            leaf.escalates_after.is_some_and(|after| {
                news.is_some_and(|news| {
                    news.status != AlertStatus::Resolved && news.starts_at.plus(after) > now
                })
            })
        };
        let (young, mut wanted) = std::mem::take(&mut group.news).into_iter().partition(is_young);
        group.news = young;
        let is_full = is_repeat || (leaf.options.whole_group && !wanted.is_empty());
        if is_full {
            wanted.extend(group.firing.iter().copied());
        }
        let muted = self.plan.muted(leaf, now);
        let reason_of = |member: &Fingerprint| {
            let known = self.alerts.get(member);
            muted.or_else(|| inhibited(&self.inhibitor, &known?.news))
        };
        let told = sort_out(group, wanted, reason_of, &mut due.held);
        if group.held.is_empty() {
            self.holding.remove(&id);
        } else {
            self.holding.insert(id);
        }
        if !told.is_empty() {
            let is_repeat = is_full || std::mem::take(&mut group.tells_again);
            let mut flush = describe(group, &self.alerts, &told, is_repeat);
            flush.repeat_interval = leaf.options.repeat.next(flush.since, now).since(now);
            due.flushes.push(flush);
            group.told_at = Some(now);
        }
        if is_full || group.full_at.is_none() {
            group.full_at = Some(now);
            self.plan_repeat(id);
        } else if let Some(repeat_at) = group.repeat_at {
            self.set_timer(id, repeat_at);
        }
        self.let_go(id, &told);
        self.arm_all_news(id);
        self.forget_if_empty(id);
    }

    /// Forgets the ends that are told.
    fn let_go(&mut self, id: usize, told: &[Fingerprint]) {
        for fingerprint in told {
            let Some(known) = self.alerts.get_mut(fingerprint) else { continue };
            if known.news.status == AlertStatus::Resolved {
                known.groups.keep(|other| other != id);
                if known.groups.is_empty() {
                    self.alerts.remove(fingerprint);
                }
            }
        }
    }

    pub(super) fn forget_if_empty(&mut self, id: usize) {
        let Some(group) = self.groups[id].as_ref() else { return };
        if !(group.firing.is_empty() && group.news.is_empty() && group.held.is_empty()) {
            return;
        }
        if let Some(due) = group.due {
            self.timers.remove(&(due, id));
        }
        self.by_labels.remove(&(group.leaf, group.labels.clone()));
        self.groups[id] = None;
        self.free.push(id);
        self.holding.remove(&id);
    }

    /// Looks again at what was held back by inhibition or the time.
    pub(super) fn recheck_held(&mut self, now: Timestamp) {
        self.recheck = false;
        let holding: Vec<usize> = self.holding.iter().copied().collect();
        for id in holding {
            let Some(group) = self.groups[id].as_mut() else { continue };
            let leaf = &self.plan.tree.leaves()[group.leaf];
            let muted = self.plan.muted(leaf, now);
            let free: Vec<Fingerprint> = group
                .held
                .keys()
                .filter(|member| {
                    let known = self.alerts.get(*member);
                    let held = known.and_then(|known| inhibited(&self.inhibitor, &known.news));
                    muted.or(held).is_none()
                })
                .copied()
                .collect();
            for member in &free {
                group.held.remove(member);
                group.news.insert(*member);
            }
            if group.held.is_empty() {
                self.holding.remove(&id);
            }
            for member in free {
                self.arm(id, member, now);
            }
        }
    }
}

/// Notes what is held back, each reason once; answers with the others.
fn sort_out(
    group: &mut Group,
    wanted: BTreeSet<Fingerprint>,
    reason_of: impl Fn(&Fingerprint) -> Option<Reason>,
    noted: &mut Vec<Held>,
) -> Vec<Fingerprint> {
    let mut told = Vec::new();
    for fingerprint in wanted {
        let Some(reason) = reason_of(&fingerprint) else {
            group.held.remove(&fingerprint);
            told.push(fingerprint);
            continue;
        };
        if group.held.insert(fingerprint, reason) != Some(reason) {
            noted.push(Held { leaf: group.leaf, fingerprint, reason });
        }
    }
    told
}

/// An end is not held back by inhibition: who was told that the alert fires would wait for it for ever.
fn inhibited(inhibitor: &Inhibitor, news: &News) -> Option<Reason> {
    let may_be = news.status == AlertStatus::Firing;
    (may_be && inhibitor.inhibits(&news.labels)).then_some(Reason::Inhibited)
}

fn describe(
    group: &Group,
    alerts: &FingerprintMap<Known>,
    told: &[Fingerprint],
    is_repeat: bool,
) -> Flush {
    let mut mark = std::hash::DefaultHasher::new();
    let (mut priority, mut firing) = (u8::MAX, 0_u64);
    let (mut event_at, mut since) = (Timestamp(i64::MAX), Timestamp(i64::MAX));
    mark.write_u64(group.labels.hash());
    for fingerprint in told {
        let Some(Known { news, .. }) = alerts.get(fingerprint) else { continue };
        (fingerprint.0, news.status.as_str(), news.at.0).hash(&mut mark);
        priority = priority.min(news.priority);
        event_at = event_at.min(news.at);
        since = since.min(news.starts_at);
        firing += u64::from(news.status != AlertStatus::Resolved);
    }
    if is_repeat {
        group.told_at.map(|at| at.0).hash(&mut mark);
    }
    Flush {
        leaf: group.leaf,
        labels: group.labels.clone(),
        alerts: told.to_vec(),
        left_out: (group.firing.len() as u64).saturating_sub(firing),
        is_repeat,
        repeat_interval: Duration::ZERO,
        priority,
        event_at,
        since,
        mark: mark.finish(),
    }
}
