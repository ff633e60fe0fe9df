//! The entry types: a store, and its two ends.

use std::sync::Arc;

use model::{Labels, Metadata, Selection, Series, Timestamp};
use tokio::task::spawn_blocking;

use crate::arrivals::Arrivals;
use crate::batch::{Batch, WriteOutcome};
use crate::config::{Limits, LocalConfig};
use crate::error::{MaintainError, OpenError, ReadError, WriteError};
use crate::local::Local;
use crate::memory::Memory;
use crate::query::Stop;
use crate::reading::Store;
use crate::stats::Stats;

/// A store of samples. Clones share it.
#[derive(Debug, Clone)]
pub struct Storage {
    backend: Backend,
}

/// Where samples go in. Clones share the store.
#[derive(Debug, Clone)]
pub struct Writer {
    backend: Backend,
}

/// Where samples come out. Clones share the store.
#[derive(Debug, Clone)]
pub struct Reader {
    backend: Backend,
}

#[derive(Debug, Clone)]
enum Backend {
    Memory(Arc<Memory>),
    Local(Arc<Local>),
}

impl Backend {
    fn store(&self) -> &Store {
        match self {
            Self::Memory(memory) => &memory.store,
            Self::Local(local) => &local.store,
        }
    }
}

impl Storage {
    /// A store that forgets everything when the process ends.
    pub fn memory(limits: Limits) -> Self {
        Self { backend: Backend::Memory(Arc::new(Memory::new(limits))) }
    }

    /// Opens or makes the store of a directory and replays its write-ahead log. Damage in the log
    /// is reported in [`Stats`] and logged, and never a reason not to open.
    pub async fn open(config: LocalConfig, now: Timestamp) -> Result<Self, OpenError> {
        let local = spawn_blocking(move || Local::open(&config, now))
            .await
            .map_err(|_| OpenError::Interrupted)??;
        Ok(Self { backend: Backend::Local(Arc::new(local)) })
    }

    /// The end that writes.
    pub fn writer(&self) -> Writer {
        Writer { backend: self.backend.clone() }
    }

    /// The end that reads.
    pub fn reader(&self) -> Reader {
        Reader { backend: self.backend.clone() }
    }

    /// Tells which series got samples. Whoever brings samples here by another way than [`Writer`] notes
    /// them as well.
    pub fn arrivals(&self) -> Arrivals {
        self.backend.store().head.arrivals.clone()
    }

    /// Upkeep, to be called about once a second: brings written records to disk and, once a minute,
    /// drops what has outlived the retention and seals what has fallen silent.
    pub async fn maintain(&self, now: Timestamp) -> Result<(), MaintainError> {
        let backend = self.backend.clone();
        let upkeep = move || match &backend {
            Backend::Memory(memory) => {
                memory.maintain(now);
                Ok(())
            }
            Backend::Local(local) => local.maintain(now),
        };
        spawn_blocking(upkeep).await.map_err(|_| MaintainError::Interrupted)?
    }

    /// Upkeep of what is on disk, to be called about once a minute, apart from
    /// [`Storage::maintain`]: it may take as long as it takes to write a block. Moves what is old
    /// enough from memory into a block, merges small blocks, deletes expired ones.
    pub async fn compact(&self, now: Timestamp) -> Result<(), MaintainError> {
        let Backend::Local(local) = self.backend.clone() else { return Ok(()) };
        let worked = Arc::clone(&local);
        let work = move || worked.compact(now);
        local.worker.run(work).await.unwrap_or(Err(MaintainError::Interrupted))
    }

    /// Brings everything to disk, refuses further writes and lets go of the directory. Reading
    /// stays possible.
    pub async fn close(&self) -> Result<(), MaintainError> {
        let Backend::Local(local) = self.backend.clone() else { return Ok(()) };
        spawn_blocking(move || local.close()).await.map_err(|_| MaintainError::Interrupted)?
    }

    /// Figures for `/metrics`.
    pub fn stats(&self) -> Stats {
        match &self.backend {
            Backend::Memory(memory) => memory.stats(),
            Backend::Local(local) => local.stats(),
        }
    }
}

impl Writer {
    /// Stores a batch. Once this has returned, the accepted samples survive the death of the
    /// process, and about a second later (see [`Storage::maintain`]) also a power cut. One bad
    /// sample never costs the others; a sample that is there already with the same value is no
    /// fault. When the future is dropped, the batch may be stored or not.
    pub async fn write(&self, batch: Batch) -> Result<WriteOutcome, WriteError> {
        let backend = self.backend.clone();
        let write = move || match &backend {
            Backend::Memory(memory) => Ok(memory.write(batch)),
            Backend::Local(local) => local.write(batch),
        };
        spawn_blocking(write).await.map_err(|_| WriteError::Interrupted)?
    }
}

impl Reader {
    /// The series that match and have samples in the span, in no particular order; the samples
    /// ascend in time, staleness markers among them.
    pub async fn select(&self, selection: &Selection) -> Result<Vec<Series>, ReadError> {
        self.select_at_most(selection, usize::MAX).await
    }

    /// As [`Reader::select`], but refuses to read more than `samples_max` samples: a careless
    /// query must not take all the memory there is.
    pub async fn select_at_most(
        &self,
        selection: &Selection,
        samples_max: usize,
    ) -> Result<Vec<Series>, ReadError> {
        let selection = selection.clone();
        let found =
            self.ask(move |store| store.select(&selection, &[], samples_max, &|| false)).await?;
        found.map_err(|stop| read_error(stop, samples_max))
    }

    /// The label sets of all selections together, sorted, at most `limit` (0: all). Each
    /// selection's span is judged by chunks, so that a series with samples just outside may be
    /// among them.
    pub async fn series(
        &self,
        selections: &[Selection],
        limit: usize,
    ) -> Result<Vec<Labels>, ReadError> {
        let selections = selections.to_vec();
        let found = self.ask(move |store| store.series(&selections, limit)).await?;
        found.map_err(|stop| read_error(stop, usize::MAX))
    }

    /// Names of labels, sorted, at most `limit` (0: all). Without selections: of all series,
    /// whatever the span.
    pub async fn label_names(
        &self,
        selections: &[Selection],
        start: Timestamp,
        end: Timestamp,
        limit: usize,
    ) -> Result<Vec<String>, ReadError> {
        let selections = selections.to_vec();
        let names = move |store: &Store| store.label_names(&selections, (start, end), limit);
        self.ask(names).await?.map_err(|stop| read_error(stop, usize::MAX))
    }

    /// Values of a label, sorted, at most `limit` (0: all). Without selections: of all series,
    /// whatever the span.
    pub async fn label_values(
        &self,
        name: &str,
        selections: &[Selection],
        start: Timestamp,
        end: Timestamp,
        limit: usize,
    ) -> Result<Vec<String>, ReadError> {
        let (name, selections) = (name.to_owned(), selections.to_vec());
        let values =
            move |store: &Store| store.label_values(&name, &selections, (start, end), limit);
        self.ask(values).await?.map_err(|stop| read_error(stop, usize::MAX))
    }

    /// Metadata of one metric name, or of all, sorted by name, at most `limit` (0: all).
    pub async fn metadata(
        &self,
        metric: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Metadata)>, ReadError> {
        let metric = metric.map(str::to_owned);
        self.ask(move |store| store.head.metadata(metric.as_deref(), limit)).await
    }

    /// As [`Storage::arrivals`].
    pub fn arrivals(&self) -> Arrivals {
        self.store().head.arrivals.clone()
    }

    /// The store itself, for questions that take next to no time.
    pub(crate) fn store(&self) -> &Store {
        self.backend.store()
    }

    /// Answers on a thread that may take its time: a wide question would stall the runtime's own.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Store) -> T + Send + 'static,
    ) -> Result<T, ReadError> {
        let backend = self.backend.clone();
        spawn_blocking(move || question(backend.store())).await.map_err(|_| ReadError::Interrupted)
    }
}

fn read_error(stop: Stop, limit: usize) -> ReadError {
    match stop {
        Stop::TooManySamples => ReadError::TooManySamples { limit },
        Stop::Cancelled => ReadError::Interrupted,
        Stop::Damaged(text) => ReadError::Damaged(text),
    }
}
