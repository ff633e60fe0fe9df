//! The store in a directory: a write-ahead log before the head.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use model::Timestamp;
use parking_lot::Mutex;

use crate::batch::{Batch, WriteOutcome};
use crate::config::LocalConfig;
use crate::dir_lock::DirLock;
use crate::error::{MaintainError, OpenError, WriteError};
use crate::head::Head;
use crate::replay::replay;
use crate::stats::{Counters, ReplayReport, Stats, WalStats};
use crate::wal::{self, Unsynced, Wal};

#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) head: Head,
    counters: Counters,
    write_errors: AtomicU64,
    last_sync_error: Mutex<Option<String>>,
    replay: ReplayReport,
    wal: Mutex<Wal>,
    // Kept apart, so that whoever asks for figures never waits for a slow disk.
    wal_size: Mutex<(usize, u64)>,
    lock: Mutex<Option<DirLock>>,
}

impl Local {
    pub(crate) fn open(config: &LocalConfig, now: Timestamp) -> Result<Self, OpenError> {
        let failed = |path, source| OpenError::Directory { dir: config.dir.clone(), path, source };
        let wal_dir = config.dir.join("wal");
        fs::create_dir_all(&wal_dir).map_err(|source| failed(wal_dir.clone(), source))?;
        let lock = DirLock::take(&config.dir)?;
        let sync_dir = || fs::File::open(&config.dir)?.sync_all();
        sync_dir().map_err(|source| failed(config.dir.clone(), source))?;
        let paths = wal::list(&wal_dir).map_err(|source| failed(wal_dir.clone(), source))?;
        let head = Head::new(config.limits.clone());
        head.move_horizon(now);
        let (segments, report) =
            replay(paths, &head, now).map_err(|(path, source)| failed(path, source))?;
        let wal = Wal::new(config, wal_dir, segments, now);
        // Series whose samples have all expired were declared nevertheless.
        head.remove_series(head.sweep(now));
        tracing::info!(
            storage.dir = %config.dir.display(),
            wal.segments = report.segments,
            wal.bytes = report.bytes,
            wal.faults = report.faults.len(),
            "read {} samples of {} series back from the write-ahead log",
            head.sample_count(),
            head.series_count(),
        );
        Ok(Self {
            head,
            counters: Counters::default(),
            write_errors: AtomicU64::new(0),
            last_sync_error: Mutex::new(None),
            replay: report,
            wal_size: Mutex::new(wal.size()),
            wal: Mutex::new(wal),
            lock: Mutex::new(Some(lock)),
        })
    }

    /// Judges, logs and applies a batch. The log is held all the while, so that it has the batches
    /// in the order in which they were judged.
    pub(crate) fn write(&self, batch: Batch) -> Result<WriteOutcome, WriteError> {
        let mut wal = self.wal.lock();
        if wal.is_closed() {
            return Err(WriteError::Closed);
        }
        let plan = self.head.plan(batch);
        if !plan.is_empty() {
            let known = || self.head.metadata(None, 0);
            let appended = wal.append(&plan.series, &plan.metadata, known);
            *self.wal_size.lock() = wal.size();
            if let Err(error) = appended {
                self.write_errors.fetch_add(1, Ordering::Relaxed);
                self.head.abandon(plan);
                return Err(error);
            }
        }
        let outcome = self.head.apply(plan);
        self.counters.count(&outcome);
        Ok(outcome)
    }

    pub(crate) fn maintain(&self, now: Timestamp) -> Result<(), MaintainError> {
        let unsynced = self.wal.lock().take_unsynced(now);
        let synced = self.sync(unsynced);
        self.head.move_horizon(now);
        if !self.head.is_sweep_due(now) {
            return synced;
        }
        let empty = self.head.sweep(now);
        let mut wal = self.wal.lock();
        wal.forget(&self.head.remove_series(empty));
        if wal.is_closed() {
            // The directory may be another process' by now.
            return synced;
        }
        let removed = wal.remove_expired(self.head.horizon());
        *self.wal_size.lock() = wal.size();
        synced.and(removed)
    }

    pub(crate) fn close(&self) -> Result<(), MaintainError> {
        let unsynced = {
            let mut wal = self.wal.lock();
            wal.close();
            wal.take_unsynced(Timestamp::MIN)
        };
        let result = self.sync(unsynced);
        self.lock.lock().take();
        result
    }

    pub(crate) fn stats(&self) -> Stats {
        let (segments, bytes) = *self.wal_size.lock();
        Stats {
            series: self.head.series_count(),
            samples: self.head.sample_count(),
            stored_total: self.counters.stored(),
            refused_total: self.counters.refused(),
            wal: Some(WalStats {
                bytes,
                segments,
                write_errors_total: self.write_errors.load(Ordering::Relaxed),
                last_sync_error: self.last_sync_error.lock().clone(),
                replay: self.replay.clone(),
            }),
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

fn describe(error: &MaintainError) -> String {
    let cause =
        std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}
