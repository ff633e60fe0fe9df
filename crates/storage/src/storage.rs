//! The entry types: a store, and its two ends.

use std::sync::Arc;

use model::{Labels, Metadata, Selection, Series, Timestamp};

use crate::batch::{Batch, WriteOutcome};
use crate::config::{Limits, LocalConfig};
use crate::error::{MaintainError, OpenError, ReadError, WriteError};
use crate::head::Head;
use crate::memory::Memory;
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
}

impl Storage {
    /// A store that forgets everything when the process ends.
    pub fn memory(limits: Limits) -> Self {
        Self { backend: Backend::Memory(Arc::new(Memory::new(limits))) }
    }

    /// The end that writes.
    pub fn writer(&self) -> Writer {
        Writer { backend: self.backend.clone() }
    }

    /// The end that reads.
    pub fn reader(&self) -> Reader {
        Reader { backend: self.backend.clone() }
    }

    /// Upkeep, to be called about once a second: brings written records to disk, drops what has outlived the
    /// retention, seals what has fallen silent.
    pub async fn maintain(&self, now: Timestamp) -> Result<(), MaintainError> {
        match &self.backend {
            Backend::Memory(memory) => memory.maintain(now),
        }
        Ok(())
    }

    /// Brings everything to disk and refuses further writes. Reading stays possible.
    pub async fn close(&self) -> Result<(), MaintainError> {
        match &self.backend {
            Backend::Memory(_) => Ok(()),
        }
    }

    /// Figures for `/metrics`.
    pub fn stats(&self) -> Stats {
        match &self.backend {
            Backend::Memory(memory) => memory.stats(),
        }
    }
}

impl Writer {
    /// Stores a batch. Once this has returned, the accepted samples survive the death of the process. One bad sample
    /// never costs the others; a sample that is there already with the same value is no fault.
    pub async fn write(&self, batch: Batch) -> Result<WriteOutcome, WriteError> {
        match &self.backend {
            Backend::Memory(memory) => Ok(memory.write(batch)),
        }
    }
}

impl Reader {
    /// The series that match and have samples in the span, in no particular order; the samples ascend in time,
    /// staleness markers among them.
    pub async fn select(&self, selection: &Selection) -> Result<Vec<Series>, ReadError> {
        self.ask(|head| head.select(selection))
    }

    /// The label sets of all selections together, sorted, at most `limit` (0: all). Each selection's span is judged by
    /// chunks, so that a series with samples just outside may be among them.
    pub async fn series(&self, selections: &[Selection], limit: usize) -> Result<Vec<Labels>, ReadError> {
        self.ask(|head| head.series(selections, limit))
    }

    /// Names of labels, sorted, at most `limit` (0: all). Without selections: of all series, whatever the span.
    pub async fn label_names(
        &self,
        selections: &[Selection],
        start: Timestamp,
        end: Timestamp,
        limit: usize,
    ) -> Result<Vec<String>, ReadError> {
        self.ask(|head| head.label_names(selections, (start, end), limit))
    }

    /// Values of a label, sorted, at most `limit` (0: all). Without selections: of all series, whatever the span.
    pub async fn label_values(
        &self,
        name: &str,
        selections: &[Selection],
        start: Timestamp,
        end: Timestamp,
        limit: usize,
    ) -> Result<Vec<String>, ReadError> {
        self.ask(|head| head.label_values(name, selections, (start, end), limit))
    }

    /// Metadata of one metric name, or of all, sorted by name, at most `limit` (0: all).
    pub async fn metadata(
        &self,
        metric: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Metadata)>, ReadError> {
        self.ask(|head| head.metadata(metric, limit))
    }

    fn ask<T>(&self, question: impl FnOnce(&Head) -> T) -> Result<T, ReadError> {
        match &self.backend {
            Backend::Memory(memory) => Ok(question(&memory.head)),
        }
    }
}
