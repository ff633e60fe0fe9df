//! The store that lives and dies with its process.

use model::Timestamp;
use parking_lot::Mutex;

use crate::batch::{Batch, WriteOutcome};
use crate::config::Limits;
use crate::head::Head;
use crate::stats::{Counters, Stats};

#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) head: Head,
    counters: Counters,
    turn: Mutex<()>,
}

impl Memory {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { head: Head::new(limits), counters: Counters::default(), turn: Mutex::new(()) }
    }

    pub(crate) fn write(&self, batch: Batch) -> WriteOutcome {
        let _turn = self.turn.lock();
        let outcome = self.head.apply(self.head.plan(batch));
        self.counters.count(&outcome);
        outcome
    }

    pub(crate) fn maintain(&self, now: Timestamp) {
        self.head.move_horizon(now);
        if !self.head.is_sweep_due(now) {
            return;
        }
        let empty = self.head.sweep(now);
        let _turn = self.turn.lock();
        self.head.remove_series(empty);
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            series: self.head.series_count(),
            samples: self.head.sample_count(),
            stored_total: self.counters.stored(),
            refused_total: self.counters.refused(),
            wal: None,
        }
    }
}
