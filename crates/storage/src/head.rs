//! Series and metadata in memory: what both stores write to and read from.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use model::{Labels, Metadata, Sample, Series, Timestamp};
use parking_lot::RwLock;

use crate::arrivals::Arrivals;
use crate::batch::{Batch, Refusal, WriteOutcome};
use crate::blocks::Blocks;
use crate::config::Limits;
use crate::cut::Leaving;
use crate::index::SeriesId;
use crate::registry::Registry;
use crate::samples::{Admission, Past, Verdict};

// A series without a sample for this long is sealed and its spare memory given back.
const SILENT_MILLIS: i64 = 3_600_000;

// A sweep looks at every series; nothing it does is urgent.
const SWEEP_MILLIS: i64 = 60_000;

/// The series in memory. Writers take turns (the stores see to that); readers never wait for a
/// whole batch.
#[derive(Debug)]
pub(crate) struct Head {
    limits: Limits,
    pub(crate) registry: RwLock<Registry>,
    pub(crate) metadata: RwLock<BTreeMap<String, Metadata>>,
    horizon: AtomicI64,
    swept: AtomicI64,
    newest: AtomicI64,
    samples: AtomicU64,
    pub(crate) arrivals: Arrivals,
}

/// A batch that has been judged and is to be applied: every sample in it will be stored.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Accepted series with their numbers, ascending.
    pub(crate) series: Vec<(SeriesId, Series)>,
    /// Accepted metadata that differs from what is known.
    pub(crate) metadata: Vec<(String, Metadata)>,
    /// What the caller will be told.
    pub(crate) outcome: WriteOutcome,
    fresh: Vec<SeriesId>,
}

impl Plan {
    /// Whether there is nothing to store.
    pub(crate) fn is_empty(&self) -> bool {
        self.series.is_empty() && self.metadata.is_empty()
    }
}

impl Head {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            registry: RwLock::default(),
            metadata: RwLock::default(),
            horizon: AtomicI64::new(i64::MIN),
            swept: AtomicI64::new(i64::MIN),
            newest: AtomicI64::new(i64::MIN),
            samples: AtomicU64::new(0),
            arrivals: Arrivals::default(),
        }
    }

    pub(crate) fn series_count(&self) -> usize {
        self.registry.read().len()
    }

    pub(crate) fn sample_count(&self) -> u64 {
        self.samples.load(Ordering::Relaxed)
    }

    /// Samples before this millisecond have outlived the retention.
    pub(crate) fn horizon(&self) -> i64 {
        self.horizon.load(Ordering::Relaxed)
    }

    /// Milliseconds of the newest sample that was ever stored here.
    pub(crate) fn newest(&self) -> i64 {
        self.newest.load(Ordering::Relaxed)
    }

    pub(crate) fn move_horizon(&self, now: Timestamp) {
        // Also backwards: a clock that was wrong for a while must not refuse samples for good.
        self.horizon.store(now.minus(self.limits.retention).millis(), Ordering::Relaxed);
    }

    /// Judges a batch, by what the blocks hold as well. New series are entered; [`Head::apply`] or
    /// [`Head::abandon`] must follow.
    pub(crate) fn plan(&self, batch: Batch, blocks: Option<&Blocks>) -> Plan {
        let mut plan = Plan {
            series: Vec::new(),
            metadata: Vec::new(),
            outcome: WriteOutcome::default(),
            fresh: Vec::new(),
        };
        self.plan_metadata(batch.metadata, &mut plan);
        self.number(batch.series, &mut plan);
        join_repeated(&mut plan.series);
        self.judge(&mut plan, blocks);
        let is_used = |id: &SeriesId| plan.series.binary_search_by_key(id, |(id, _)| *id).is_ok();
        let mut unused = plan.fresh.extract_if(.., |id| !is_used(id)).collect();
        self.remove_empty(&mut unused);
        plan
    }

    /// Stores what was planned.
    pub(crate) fn apply(&self, plan: Plan) -> WriteOutcome {
        if !plan.metadata.is_empty() {
            self.metadata.write().extend(plan.metadata);
        }
        let registry = self.registry.read();
        let mut newest = i64::MIN;
        for (id, series) in &plan.series {
            let Some(stored) = registry.get(*id) else { continue };
            let mut samples = stored.samples.lock();
            series.samples.iter().for_each(|sample| samples.store(*sample));
            newest = newest.max(series.samples.last().map_or(newest, |s| s.timestamp.millis()));
        }
        drop(registry);
        self.newest.fetch_max(newest, Ordering::Relaxed);
        self.samples.fetch_add(plan.outcome.stored as u64, Ordering::Relaxed);
        self.arrivals.note(plan.series.iter().map(|(id, series)| (*id as usize, &series.labels)));
        plan.outcome
    }

    /// Takes back what planning entered.
    pub(crate) fn abandon(&self, mut plan: Plan) {
        self.remove_empty(&mut plan.fresh);
    }

    /// Finds or makes series that replay has come upon. `None` stands for one that no number was
    /// left for.
    pub(crate) fn declare(&self, labels: &[Labels]) -> Vec<Option<SeriesId>> {
        if labels.is_empty() {
            return Vec::new();
        }
        let mut registry = self.registry.write();
        labels.iter().map(|labels| Some(registry.find_or_insert(labels)?.0)).collect()
    }

    /// Stores what was accepted once, as the write-ahead log has it. Samples that have expired
    /// meanwhile stay out.
    pub(crate) fn restore(
        &self,
        rows: &[(SeriesId, Sample)],
        metadata: impl Iterator<Item = (String, Metadata)>,
    ) {
        self.metadata.write().extend(metadata);
        let horizon = self.horizon();
        let registry = self.registry.read();
        let (mut count, mut newest) = (0, i64::MIN);
        for (id, sample) in rows.iter().filter(|(_, sample)| sample.timestamp.millis() >= horizon) {
            let Some(series) = registry.get(*id) else { continue };
            series.samples.lock().store(*sample);
            newest = newest.max(sample.timestamp.millis());
            count += 1;
        }
        self.newest.fetch_max(newest, Ordering::Relaxed);
        self.samples.fetch_add(count, Ordering::Relaxed);
    }

    /// The chunks of all series that lie before a millisecond; they stay for now.
    pub(crate) fn split(&self, before: i64) -> Vec<Leaving> {
        let ids = self.registry.read().ids();
        let mut leaving = Vec::new();
        for id in ids {
            let Some(series) = self.registry.read().get(id).cloned() else { continue };
            let chunks = series.samples.lock().split(before);
            if !chunks.is_empty() {
                leaving.push(Leaving { series, chunks });
            }
        }
        leaving
    }

    /// Drops chunks that [`Head::split`] answered.
    pub(crate) fn remove_chunks(&self, leaving: &[Leaving]) {
        let removed: usize =
            leaving.iter().map(|one| one.series.samples.lock().remove(&one.chunks)).sum();
        self.samples.fetch_sub(removed as u64, Ordering::Relaxed);
    }

    /// Whether the last sweep is long enough ago for another one.
    pub(crate) fn is_sweep_due(&self, now: Timestamp) -> bool {
        now.millis().saturating_sub(self.swept.load(Ordering::Relaxed)) >= SWEEP_MILLIS
    }

    /// Drops chunks before the horizon and seals silent series. Answers the series that may have
    /// become empty, for [`Head::remove_series`].
    pub(crate) fn sweep(&self, now: Timestamp) -> Vec<SeriesId> {
        self.swept.store(now.millis(), Ordering::Relaxed);
        let horizon = self.horizon();
        let silent_since = now.minus(Duration::from_millis(SILENT_MILLIS.unsigned_abs())).millis();
        let ids = self.registry.read().ids();
        let mut empty = Vec::new();
        let mut dropped = 0;
        for id in ids {
            // Taken anew for each series, so that a writer with a new series never waits for the
            // whole sweep.
            let Some(series) = self.registry.read().get(id).cloned() else { continue };
            let mut samples = series.samples.lock();
            dropped += samples.drop_before(horizon);
            samples.seal_silent(silent_since);
            if samples.is_empty() {
                empty.push(id);
            }
        }
        self.samples.fetch_sub(dropped as u64, Ordering::Relaxed);
        empty
    }

    /// Removes those of the series that are empty; answers which. No write may be under way.
    pub(crate) fn remove_series(&self, mut ids: Vec<SeriesId>) -> Vec<SeriesId> {
        self.remove_empty(&mut ids)
    }

    fn plan_metadata(&self, metadata: Vec<(String, Metadata)>, plan: &mut Plan) {
        if metadata.is_empty() {
            return;
        }
        let latest: BTreeMap<String, Metadata> = metadata.into_iter().collect();
        let known = self.metadata.read();
        for (name, metadata) in latest {
            if known.get(&name) == Some(&metadata) {
                continue;
            }
            if !known.contains_key(&name)
                && known.len() + plan.metadata.len() >= self.limits.metadata_max
            {
                let example = Labels::from_pairs([(model::METRIC_NAME, name)]);
                plan.outcome.refuse(Refusal::MetadataLimit, 1, &example);
                continue;
            }
            plan.metadata.push((name, metadata));
        }
    }

    /// Finds the number of every series and makes those that are missing.
    fn number(&self, series: Vec<Series>, plan: &mut Plan) {
        let mut unknown = Vec::new();
        let registry = self.registry.read();
        plan.series.reserve(series.len());
        for series in series {
            if series.samples.is_empty() {
                continue;
            }
            match registry.find(&series.labels) {
                Some(id) => plan.series.push((id, series)),
                None if series.labels.is_empty() => {
                    plan.outcome.refuse(Refusal::NoLabels, series.samples.len(), &series.labels);
                }
                None => unknown.push(series),
            }
        }
        drop(registry);
        if unknown.is_empty() {
            return;
        }
        let mut registry = self.registry.write();
        for series in unknown {
            let room =
                registry.len() < self.limits.series_max || registry.find(&series.labels).is_some();
            match room.then(|| registry.find_or_insert(&series.labels)).flatten() {
                Some((id, is_new)) => {
                    plan.fresh.extend(is_new.then_some(id));
                    plan.series.push((id, series));
                }
                None => {
                    plan.outcome.refuse(Refusal::SeriesLimit, series.samples.len(), &series.labels)
                }
            }
        }
    }

    /// Keeps the samples that are to be stored and counts the others.
    fn judge(&self, plan: &mut Plan, blocks: Option<&Blocks>) {
        let window = i64::try_from(self.limits.out_of_order_window.as_millis()).unwrap_or(i64::MAX);
        let admission = Admission { window, horizon: self.horizon() };
        let registry = self.registry.read();
        let outcome = &mut plan.outcome;
        plan.series.retain_mut(|(id, series)| {
            let Some(stored) = registry.get(*id) else { return false };
            let labels = &stored.labels;
            let count = |verdict| match verdict {
                Verdict::Unchanged => outcome.unchanged += 1,
                Verdict::Refuse(reason) => outcome.refuse(reason, 1, labels),
                Verdict::Store => {}
            };
            if !series.samples.is_sorted_by_key(|sample| sample.timestamp) {
                series.samples.sort_by_key(|sample| sample.timestamp);
            }
            let past = blocks.map_or_else(Past::default, |blocks| past_of(blocks, series));
            stored.samples.lock().admit(&mut series.samples, &admission, &past, count);
            outcome.stored += series.samples.len();
            !series.samples.is_empty()
        });
    }

    /// Removes those of the series that hold no sample, and leaves in `ids` those that do.
    fn remove_empty(&self, ids: &mut Vec<SeriesId>) -> Vec<SeriesId> {
        if ids.is_empty() {
            return Vec::new();
        }
        let mut registry = self.registry.write();
        ids.extract_if(.., |id| {
            let is_empty = registry.get(*id).is_some_and(|series| series.samples.lock().is_empty());
            if is_empty {
                registry.remove(*id);
            }
            is_empty
        })
        .collect()
    }
}

/// What the blocks hold of a series, whose samples are in order of time.
fn past_of(blocks: &Blocks, series: &Series) -> Past {
    match (series.samples.first(), series.samples.last()) {
        (Some(first), Some(last)) => {
            blocks.past(&series.labels, first.timestamp.millis(), last.timestamp.millis())
        }
        _ => Past::default(),
    }
}

/// Sorts by number, and joins the samples of series that occur more than once in a batch, so that
/// they are judged together.
fn join_repeated(series: &mut Vec<(SeriesId, Series)>) {
    // The usual sender keeps its order, and numbers were given in that order.
    if series.is_sorted_by(|(left, _), (right, _)| left < right) {
        return;
    }
    series.sort_by_key(|(id, _)| *id);
    series.dedup_by(|(later_id, later), (id, first)| {
        let repeated = later_id == id;
        if repeated {
            first.samples.append(&mut later.samples);
        }
        repeated
    });
}
