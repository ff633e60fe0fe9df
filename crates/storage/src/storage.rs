//! The entry types: a store, and its two ends.

use std::fmt;
use std::sync::Arc;

use model::{Labels, Metadata, Selection, Series, Timestamp};
use promql::HistogramSeries;
use tokio::task::spawn_blocking;

use crate::arrivals::Arrivals;
use crate::batch::{Batch, WriteOutcome};
use crate::config::{Limits, LocalConfig};
use crate::error::{MaintainError, OpenError, ReadError, WriteError};
use crate::local::Local;
use crate::memory::Memory;
use crate::query::Stop;
use crate::reading::Store;
use crate::remote::{Remote, RemoteConfig, RemoteError};
use crate::remote_read::Engine;
use crate::stats::Stats;

/// A store of samples. Clones share it.
#[derive(Debug, Clone)]
pub struct Storage {
    place: Place,
}

/// Where samples go in. Clones share the store.
#[derive(Debug, Clone)]
pub struct Writer {
    place: Place,
    gate: Option<Gate>,
}

/// Says whether writing is allowed now.
#[derive(Clone)]
struct Gate(Arc<dyn Fn() -> bool + Send + Sync>);

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

/// Where samples come out. Clones share the store.
#[derive(Debug, Clone)]
pub struct Reader {
    place: Place,
}

/// Where the samples are.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// In this process.
    Here(Here),
    /// Behind the network.
    Remote(Arc<Remote>),
}

/// A store of this process.
#[derive(Debug, Clone)]
pub(crate) enum Here {
    Memory(Arc<Memory>),
    Local(Arc<Local>),
}

impl Here {
    /// The store itself, for questions that take next to no time.
    pub(crate) fn store(&self) -> &Store {
        match self {
            Self::Memory(memory) => &memory.store,
            Self::Local(local) => &local.store,
        }
    }

    /// Answers on a thread that may take its time: a wide question would stall the runtime's own.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Store) -> T + Send + 'static,
    ) -> Result<T, ReadError> {
        let here = self.clone();
        spawn_blocking(move || question(here.store())).await.map_err(|_| ReadError::Interrupted)
    }

    async fn write(&self, batch: Batch, gate: Option<Gate>) -> Result<WriteOutcome, WriteError> {
        let here = self.clone();
        let write = move || {
            if !is_open(gate.as_ref()) {
                return Err(WriteError::NotAllowed);
            }
            match &here {
                Self::Memory(memory) => Ok(memory.write(batch)),
                Self::Local(local) => local.write(batch),
            }
        };
        spawn_blocking(write).await.map_err(|_| WriteError::Interrupted)?
    }

    fn local(&self) -> Option<Arc<Local>> {
        match self {
            Self::Local(local) => Some(Arc::clone(local)),
            Self::Memory(_) => None,
        }
    }
}

impl Storage {
    /// A store that forgets everything when the process ends.
    pub fn memory(limits: Limits) -> Self {
        Self { place: Place::Here(Here::Memory(Arc::new(Memory::new(limits)))) }
    }

    /// Opens or makes the store of a directory and replays its write-ahead log. Damage in the log
    /// is reported in [`Stats`] and logged, and never a reason not to open.
    pub async fn open(config: LocalConfig, now: Timestamp) -> Result<Self, OpenError> {
        let local = spawn_blocking(move || Local::open(&config, now))
            .await
            .map_err(|_| OpenError::Interrupted)??;
        Ok(Self { place: Place::Here(Here::Local(Arc::new(local))) })
    }

    /// A store behind the network. Nothing is asked of it yet.
    pub fn remote(config: &RemoteConfig, http: reqwest::Client) -> Result<Self, RemoteError> {
        Ok(Self { place: Place::Remote(Arc::new(Remote::new(config, http)?)) })
    }

    /// The end that writes.
    pub fn writer(&self) -> Writer {
        Writer { place: self.place.clone(), gate: None }
    }

    /// The end that reads.
    pub fn reader(&self) -> Reader {
        Reader { place: self.place.clone() }
    }

    /// Adds native histograms to a store in memory, each series in the order of time; [`query`](crate::query) sees
    /// them, nothing else does. Answers `false`, and keeps nothing, elsewhere.
    pub fn put_histograms(&self, series: Vec<HistogramSeries>) -> bool {
        let Place::Here(Here::Memory(memory)) = &self.place else { return false };
        memory.store.natives.add(series);
        true
    }

    /// Tells which series got samples. Whoever brings samples here by another way than [`Writer`] notes
    /// them as well. Nothing is ever heard of a store behind the network.
    pub fn arrivals(&self) -> Arrivals {
        arrivals_of(&self.place)
    }

    /// Upkeep, to be called about once a second: brings written records to disk and, once a minute,
    /// drops what has outlived the retention and seals what has fallen silent.
    pub async fn maintain(&self, now: Timestamp) -> Result<(), MaintainError> {
        let Place::Here(here) = self.place.clone() else { return Ok(()) };
        let upkeep = move || match &here {
            Here::Memory(memory) => {
                memory.maintain(now);
                Ok(())
            }
            Here::Local(local) => local.maintain(now),
        };
        spawn_blocking(upkeep).await.map_err(|_| MaintainError::Interrupted)?
    }

    /// Upkeep of what is on disk, to be called about once a minute, apart from
    /// [`Storage::maintain`]: it may take as long as it takes to write a block. Moves what is old
    /// enough from memory into a block, merges small blocks, deletes expired ones.
    pub async fn compact(&self, now: Timestamp) -> Result<(), MaintainError> {
        let Some(local) = self.local() else { return Ok(()) };
        let worked = Arc::clone(&local);
        let work = move || worked.compact(now);
        local.worker.run(work).await.unwrap_or(Err(MaintainError::Interrupted))
    }

    /// Brings everything to disk, refuses further writes and lets go of the directory. Reading
    /// stays possible.
    pub async fn close(&self) -> Result<(), MaintainError> {
        let Some(local) = self.local() else { return Ok(()) };
        spawn_blocking(move || local.close()).await.map_err(|_| MaintainError::Interrupted)?
    }

    /// Figures for `/metrics`; a remote store keeps its own.
    pub fn stats(&self) -> Stats {
        match &self.place {
            Place::Here(Here::Memory(memory)) => memory.stats(),
            Place::Here(Here::Local(local)) => local.stats(),
            Place::Remote(_) => Stats::default(),
        }
    }

    fn local(&self) -> Option<Arc<Local>> {
        match &self.place {
            Place::Here(here) => here.local(),
            Place::Remote(_) => None,
        }
    }
}

impl Writer {
    /// The same store, written only while `is_allowed` says so, which is asked right before each write.
    pub fn guarded(&self, is_allowed: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { gate: Some(Gate(Arc::new(is_allowed))), ..self.clone() }
    }

    /// Stores a batch. Once this has returned, the accepted samples survive the death of the
    /// process, and about a second later (see [`Storage::maintain`]) also a power cut. One bad
    /// sample never costs the others; a sample that is there already with the same value is no
    /// fault. When the future is dropped, the batch may be stored or not.
    pub async fn write(&self, batch: Batch) -> Result<WriteOutcome, WriteError> {
        match &self.place {
            Place::Here(here) => here.write(batch, self.gate.clone()).await,
            Place::Remote(remote) => remote.write(batch, || is_open(self.gate.as_ref())).await,
        }
    }
}

fn is_open(gate: Option<&Gate>) -> bool {
    gate.is_none_or(|gate| (gate.0)())
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
        let here = match &self.place {
            Place::Here(here) => here,
            Place::Remote(remote) => return remote.select(selection, samples_max).await,
        };
        let selection = selection.clone();
        let found =
            here.ask(move |store| store.select(&selection, &[], samples_max, &|| false)).await?;
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
        let here = match &self.place {
            Place::Here(here) => here,
            Place::Remote(remote) => {
                return remote.series(selections, limit).await.map_err(ReadError::Remote);
            }
        };
        let selections = selections.to_vec();
        let found = here.ask(move |store| store.series(&selections, limit)).await?;
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
        let here = match &self.place {
            Place::Here(here) => here,
            Place::Remote(remote) => {
                let names = remote.label_names(selections, (start, end), limit).await;
                return names.map_err(ReadError::Remote);
            }
        };
        let selections = selections.to_vec();
        let names = move |store: &Store| store.label_names(&selections, (start, end), limit);
        here.ask(names).await?.map_err(|stop| read_error(stop, usize::MAX))
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
        let here = match &self.place {
            Place::Here(here) => here,
            Place::Remote(remote) => {
                let values = remote.label_values(name, selections, (start, end), limit).await;
                return values.map_err(ReadError::Remote);
            }
        };
        let (name, selections) = (name.to_owned(), selections.to_vec());
        let values =
            move |store: &Store| store.label_values(&name, &selections, (start, end), limit);
        here.ask(values).await?.map_err(|stop| read_error(stop, usize::MAX))
    }

    /// Which language the store evaluates; a remote one is asked.
    pub async fn engine(&self) -> Result<Engine, ReadError> {
        match &self.place {
            Place::Here(_) => Ok(Engine::PromQl),
            Place::Remote(remote) => remote.engine().await.map_err(ReadError::Remote),
        }
    }

    /// Metadata of one metric name, or of all, sorted by name, at most `limit` (0: all).
    pub async fn metadata(
        &self,
        metric: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Metadata)>, ReadError> {
        let here = match &self.place {
            Place::Here(here) => here,
            Place::Remote(remote) => {
                return remote.metadata(metric, limit).await.map_err(ReadError::Remote);
            }
        };
        let metric = metric.map(str::to_owned);
        here.ask(move |store| store.head.metadata(metric.as_deref(), limit)).await
    }

    /// What a remote store answers to a question for its targets, in the form of the Prometheus API; nothing when it
    /// has none to tell of, as a store in this process. `state` is `active`, `dropped` or `any`.
    pub async fn targets(&self, state: &str) -> Result<Option<Vec<u8>>, ReadError> {
        match &self.place {
            Place::Here(_) => Ok(None),
            Place::Remote(remote) => remote.targets(state).await.map_err(ReadError::Remote),
        }
    }

    /// As [`Storage::arrivals`].
    pub fn arrivals(&self) -> Arrivals {
        arrivals_of(&self.place)
    }

    /// Whether the store is in this process, and not behind the network.
    pub fn is_here(&self) -> bool {
        matches!(self.place, Place::Here(_))
    }

    /// Where the samples are.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }
}

fn arrivals_of(place: &Place) -> Arrivals {
    match place {
        Place::Here(here) => here.store().head.arrivals.clone(),
        Place::Remote(_) => Arrivals::default(),
    }
}

fn read_error(stop: Stop, limit: usize) -> ReadError {
    match stop {
        Stop::TooManySamples => ReadError::TooManySamples { limit },
        Stop::Cancelled => ReadError::Interrupted,
        Stop::Damaged(text) => ReadError::Damaged(text),
    }
}
