//! The store in a directory: a write-ahead log before the head, and blocks of what is older.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use model::Timestamp;
use parking_lot::Mutex;

use crate::batch::{Batch, WriteOutcome};
use crate::block_meta::Cut;
use crate::blocks::Blocks;
use crate::compact::{self, Extent};
use crate::config::LocalConfig;
use crate::cut::{next_cut, write_block};
use crate::dir_lock::DirLock;
use crate::error::{MaintainError, OpenError, WriteError};
use crate::head::Head;
use crate::natives::Natives;
use crate::reading::Store;
use crate::replay::replay;
use crate::stats::{Counters, ReplayReport, Stats, WalStats};
use crate::step::step;
use crate::wal::{self, Unsynced, Wal};
use crate::worker::Worker;

#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) store: Store,
    config: LocalConfig,
    counters: Counters,
    write_errors: AtomicU64,
    last_sync_error: Mutex<Option<String>>,
    replay: ReplayReport,
    wal: Mutex<Wal>,
    // Kept apart, so that whoever asks for figures never waits for a slow disk.
    wal_size: Mutex<(usize, u64)>,
    /// Up to where the head was cut the last time, also when there was nothing to cut; held while
    /// blocks are worked on.
    cut_before: Mutex<i64>,
    closing: AtomicBool,
    pub(crate) worker: Worker,
    lock: Mutex<Option<DirLock>>,
}

impl Local {
    pub(crate) fn open(config: &LocalConfig, now: Timestamp) -> Result<Self, OpenError> {
        let failed = |path, source| OpenError::Directory { dir: config.dir.clone(), path, source };
        let wal_dir = config.dir.join("wal");
        fs::create_dir_all(&wal_dir).map_err(|source| failed(wal_dir.clone(), source))?;
        let lock = DirLock::take(&config.dir)?;
        let blocks_dir = config.dir.join("blocks");
        let blocks = Blocks::open(blocks_dir.clone(), config.block_cache_bytes_max)
            .map_err(|source| failed(blocks_dir, source))?;
        let sync_dir = || fs::File::open(&config.dir)?.sync_all();
        sync_dir().map_err(|source| failed(config.dir.clone(), source))?;
        let paths = wal::list(&wal_dir).map_err(|source| failed(wal_dir.clone(), source))?;
        let head = Head::new(config.limits.clone());
        head.move_horizon(now);
        let cut = blocks.cut();
        let (segments, report) =
            replay(paths, &head, cut, now).map_err(|(path, source)| failed(path, source))?;
        let next_segment = cut.map_or(1, |cut| cut.segment + 1);
        let wal = Wal::new(config, wal_dir, segments, next_segment, now);
        // Series whose samples have all expired, or are in blocks, were declared nevertheless.
        head.remove_series(head.sweep(now));
        tracing::info!(
            storage.dir = %config.dir.display(),
            storage.blocks = blocks.all().len(),
            wal.segments = report.segments,
            wal.bytes = report.bytes,
            wal.faults = report.faults.len(),
            "read {} samples of {} series back from the write-ahead log",
            head.sample_count(),
            head.series_count(),
        );
        Ok(Self {
            store: Store { head, blocks: Some(blocks), natives: Natives::default() },
            config: config.clone(),
            counters: Counters::default(),
            write_errors: AtomicU64::new(0),
            last_sync_error: Mutex::new(None),
            replay: report,
            wal_size: Mutex::new(wal.size()),
            wal: Mutex::new(wal),
            cut_before: Mutex::new(cut.map_or(i64::MIN, |cut| cut.before)),
            closing: AtomicBool::new(false),
            worker: Worker::start().map_err(|source| failed(config.dir.clone(), source))?,
            lock: Mutex::new(Some(lock)),
        })
    }

    /// Judges, logs and applies a batch. The log is held all the while, so that it has the batches
    /// in the order in which they were judged.
    pub(crate) fn write(&self, batch: Batch) -> Result<WriteOutcome, WriteError> {
        let Store { head, blocks, .. } = &self.store;
        let mut wal = self.wal.lock();
        if wal.is_closed() {
            return Err(WriteError::Closed);
        }
        let plan = head.plan(batch, blocks.as_ref());
        if !plan.is_empty() {
            let known = || head.metadata(None, 0);
            let appended = wal.append(&plan.series, &plan.metadata, known);
            *self.wal_size.lock() = wal.size();
            if let Err(error) = appended {
                self.write_errors.fetch_add(1, Ordering::Relaxed);
                head.abandon(plan);
                return Err(error);
            }
        }
        let outcome = head.apply(plan);
        self.counters.count(&outcome);
        Ok(outcome)
    }

    pub(crate) fn maintain(&self, now: Timestamp) -> Result<(), MaintainError> {
        let head = &self.store.head;
        let unsynced = self.wal.lock().take_unsynced(now);
        let synced = self.sync(unsynced);
        head.move_horizon(now);
        if !head.is_sweep_due(now) {
            return synced;
        }
        let empty = head.sweep(now);
        let mut wal = self.wal.lock();
        wal.forget(&head.remove_series(empty));
        if wal.is_closed() {
            // The directory may be another process' by now.
            return synced;
        }
        let removed = wal.remove_served(head.horizon(), self.cut_in_blocks());
        *self.wal_size.lock() = wal.size();
        synced.and(removed)
    }

    /// Moves what is old enough from memory into a block, merges blocks and deletes expired ones.
    pub(crate) fn compact(&self, now: Timestamp) -> Result<(), MaintainError> {
        let Some(blocks) = &self.store.blocks else { return Ok(()) };
        let mut cut_before = self.cut_before.lock();
        let mut work = || {
            self.cut(blocks, &mut cut_before, now)?;
            self.merge(blocks, *cut_before)?;
            self.expire(blocks, now)
        };
        let worked = if self.closing.load(Ordering::Relaxed) { Ok(()) } else { work() };
        if worked.is_err() {
            blocks.counts.failed.fetch_add(1, Ordering::Relaxed);
        }
        worked
    }

    fn cut(
        &self,
        blocks: &Blocks,
        cut_before: &mut i64,
        now: Timestamp,
    ) -> Result<(), MaintainError> {
        let head = &self.store.head;
        let (window, span) = (self.config.limits.out_of_order_window, self.config.block_span);
        let before = next_cut(now.millis(), head.newest(), millis(window), millis(span));
        if before <= *cut_before {
            return Ok(());
        }
        // From here on what is written goes into later segments: what is older is in the head.
        let cut = Cut { before, segment: self.wal.lock().rotate() };
        let leaving = head.split(before);
        if !leaving.is_empty() {
            write_block(blocks, &leaving, cut, &self.closing)?;
            blocks.counts.cut.fetch_add(1, Ordering::Relaxed);
            head.remove_chunks(&leaving);
            step("head cut");
        }
        *cut_before = before;
        let mut wal = self.wal.lock();
        let removed = wal.remove_served(head.horizon(), blocks.cut());
        *self.wal_size.lock() = wal.size();
        removed
    }

    fn merge(&self, blocks: &Blocks, complete: i64) -> Result<(), MaintainError> {
        let span = millis(self.config.block_span);
        let span_max = millis(self.config.block_span_max());
        loop {
            let all = blocks.all();
            let extents: Vec<Extent> = all.iter().map(|block| Extent::of(block)).collect();
            let Some(ids) = compact::plan(&extents, span, span_max, complete) else {
                return Ok(());
            };
            let chosen = all.iter().filter(|block| ids.contains(&block.id));
            compact::merge(blocks, &chosen.cloned().collect::<Vec<_>>(), &self.closing)?;
            blocks.counts.compacted.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn expire(&self, blocks: &Blocks, now: Timestamp) -> Result<(), MaintainError> {
        // A clock that is ahead for a while must not delete what cannot be had again: time has come
        // at least as far as the newest sample says, and no further.
        let newest = self.store.head.newest().max(blocks.floor());
        let horizon = now.millis().min(newest).saturating_sub(millis(self.config.limits.retention));
        let all = blocks.all();
        let newest_cut = all.iter().max_by_key(|block| block.meta.cut).map(|block| block.id);
        let extents: Vec<Extent> = all.iter().map(|block| Extent::of(block)).collect();
        let gone = compact::expired(&extents, horizon, self.config.block_bytes_max, newest_cut);
        for block in all.iter().filter(|block| gone.contains(&block.id)) {
            blocks.delete(block)?;
        }
        Ok(())
    }

    fn cut_in_blocks(&self) -> Option<Cut> {
        self.store.blocks.as_ref().and_then(Blocks::cut)
    }

    pub(crate) fn close(&self) -> Result<(), MaintainError> {
        let unsynced = {
            let mut wal = self.wal.lock();
            wal.close();
            wal.take_unsynced(Timestamp::MIN)
        };
        let result = self.sync(unsynced);
        // Work on blocks ends at the next series; the directory is given back after it.
        self.closing.store(true, Ordering::Relaxed);
        drop(self.cut_before.lock());
        self.lock.lock().take();
        result
    }

    pub(crate) fn stats(&self) -> Stats {
        let (segments, bytes) = *self.wal_size.lock();
        Stats {
            series: self.store.head.series_count(),
            samples: self.store.head.sample_count(),
            stored_total: self.counters.stored(),
            refused_total: self.counters.refused(),
            wal: Some(WalStats {
                bytes,
                segments,
                write_errors_total: self.write_errors.load(Ordering::Relaxed),
                last_sync_error: self.last_sync_error.lock().clone(),
                replay: self.replay.clone(),
            }),
            blocks: self.store.blocks.as_ref().map(Blocks::stats),
        }
    }

    /// Syncs without holding the log, so that writes go on; keeps what failed for the next round.
    fn sync(&self, unsynced: Vec<Unsynced>) -> Result<(), MaintainError> {
        let mut result = Ok(());
        let mut failed = Vec::new();
        for file in unsynced {
            if let Err(error) = file.sync() {
                result = Err(error);
                failed.push(file);
            }
        }
        self.wal.lock().return_unsynced(failed);
        *self.last_sync_error.lock() = result.as_ref().err().map(describe);
        result
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

fn describe(error: &MaintainError) -> String {
    let cause =
        std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::{Path, PathBuf};
    use std::rc::Rc;

    use model::{Labels, MatchOp, Matcher, Sample, Selection, Series};

    use super::*;
    use crate::config::Limits;
    use crate::step::watch;

    const ROUND: i64 = 10_000;

    type Content = BTreeMap<Labels, BTreeMap<i64, u64>>;

    fn config(dir: &Path) -> LocalConfig {
        let seconds = Duration::from_secs;
        let (out_of_order_window, retention) = (seconds(20), seconds(960));
        LocalConfig {
            limits: Limits { out_of_order_window, retention, ..Limits::default() },
            block_span: seconds(40),
            segment_span: seconds(30),
            ..LocalConfig::new(dir)
        }
    }

    /// What three hosts send in a round: one steadily, one now and then, one late.
    fn batch(round: i64) -> Batch {
        let series = |host: &str, at: i64| Series {
            labels: Labels::from_pairs([("__name__", "m"), ("endpoint", host)]),
            samples: vec![Sample::new(at, at as f64)],
        };
        let mut all = vec![series("steady", round * ROUND)];
        if round % 50 < 3 {
            all.push(series("rare", round * ROUND));
        }
        if round % 7 == 6 {
            all.push(series("steady", round * ROUND - 15_000));
        }
        Batch { series: all, metadata: Vec::new() }
    }

    fn content(local: &Local) -> Content {
        let matcher = Matcher::new("__name__", MatchOp::Regex, ".+").unwrap();
        let (start, end) = (Timestamp::MIN, Timestamp::MAX);
        let selection = Selection { matchers: vec![matcher], start, end };
        let found = local.store.select(&selection, &[], usize::MAX, &|| false).unwrap();
        let samples = |series: Series| {
            let bits: BTreeMap<i64, u64> =
                series.samples.iter().map(|s| (s.timestamp.millis(), s.value.to_bits())).collect();
            assert_eq!(bits.len(), series.samples.len(), "a sample is there twice");
            (series.labels, bits)
        };
        found.into_iter().map(samples).collect()
    }

    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let target = to.join(path.file_name().unwrap());
            if path.is_dir() {
                copy(&path, &target);
            } else {
                fs::copy(&path, &target).unwrap();
            }
        }
    }

    /// Does `work` on a directory; answers how the directory was after every step of it.
    fn killed_at_every_step(
        dir: &Path,
        work: impl FnOnce(),
    ) -> Vec<(&'static str, tempfile::TempDir)> {
        let copies = Rc::new(RefCell::new(Vec::new()));
        let (dir, kept) = (dir.to_owned(), Rc::clone(&copies));
        let keep = move |step| {
            let killed = tempfile::tempdir().unwrap();
            copy(&dir, killed.path());
            kept.borrow_mut().push((step, killed));
        };
        watch(keep, work);
        copies.take()
    }

    #[test]
    fn killed_between_any_two_steps_nothing_is_lost_and_nothing_is_there_twice() {
        let dir = tempfile::tempdir().unwrap();
        let mut expected = Content::new();
        let local = Local::open(&config(dir.path()), Timestamp(0)).unwrap();
        let mut seen = BTreeSet::new();
        for round in 0..130 {
            let now = Timestamp(round * ROUND);
            for series in batch(round).series {
                let samples = expected.entry(series.labels).or_default();
                samples.extend(
                    series.samples.iter().map(|s| (s.timestamp.millis(), s.value.to_bits())),
                );
            }
            local.write(batch(round)).unwrap();
            local.maintain(now).unwrap();
            // The middle is more of the same.
            if (30..100).contains(&round) {
                local.compact(now).unwrap();
                continue;
            }
            let killed = killed_at_every_step(dir.path(), || local.compact(now).unwrap());
            // Only what has outlived the retention may be gone, and it goes in whole blocks.
            let horizon = now.millis() - 960_000;
            let check = |dir: &Path, step: &str| {
                let again = Local::open(&config(dir), now).unwrap();
                let found = content(&again);
                assert_eq!(again.stats().blocks.unwrap().faults, [], "after {step}");
                for (labels, samples) in &expected {
                    let found = found.get(labels);
                    for (at, bits) in samples.range(horizon..) {
                        let found = found.and_then(|samples| samples.get(at));
                        assert_eq!(found, Some(bits), "{labels} at {at}, after {step}");
                    }
                }
                let is_known = |labels: &Labels, at: &i64| expected[labels].contains_key(at);
                assert!(found.iter().all(|(l, samples)| samples.keys().all(|at| is_known(l, at))));
            };
            for (step, killed) in killed {
                seen.insert(step);
                // The start that follows may be killed as well.
                let again = killed_at_every_step(killed.path(), || check(killed.path(), step));
                for (next, killed) in again {
                    check(killed.path(), &format!("{step} and {next}"));
                }
            }
        }
        let stats = local.stats();
        let blocks = stats.blocks.unwrap();
        assert!(blocks.cut_total > 25 && blocks.compacted_total > 5, "{blocks:?}");
        assert!(blocks.deleted_total > 0 && blocks.failed_total == 0, "{blocks:?}");
        assert!(stats.samples < 60 && stats.wal.unwrap().segments < 6);
        assert_eq!(seen.len(), 11, "{seen:?}");
    }

    #[test]
    fn a_cut_that_fails_leaves_all_as_it_was_and_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let local = Local::open(&config(dir.path()), Timestamp(0)).unwrap();
        (0..40).for_each(|round| assert!(local.write(batch(round)).unwrap().stored > 0));
        let (before, now) = (content(&local), Timestamp(40 * ROUND));
        let unfinished: PathBuf = dir.path().join("blocks/0000000001.unfinished");
        fs::write(&unfinished, "in the way").unwrap();
        let error = local.compact(now).unwrap_err();
        assert!(error.to_string().contains("0000000001.unfinished"), "{error}");
        assert_eq!(content(&local), before);
        local.compact(now).unwrap();
        assert_eq!(content(&local), before);
        let blocks = local.stats().blocks.unwrap();
        assert_eq!((blocks.failed_total, blocks.cut_total, blocks.blocks), (1, 1, 1));
    }

    #[test]
    fn a_clock_that_is_ahead_deletes_nothing_that_time_has_not_come_to() {
        let dir = tempfile::tempdir().unwrap();
        let local = Local::open(&config(dir.path()), Timestamp(0)).unwrap();
        for round in 0..40 {
            local.write(batch(round)).unwrap();
            local.compact(Timestamp(round * ROUND)).unwrap();
        }
        let before = content(&local);
        local.compact(Timestamp(i64::MAX / 2)).unwrap();
        assert_eq!(content(&local), before);
        assert_eq!(local.stats().blocks.unwrap().deleted_total, 0);
    }
}
