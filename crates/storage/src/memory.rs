//! The store that lives and dies with its process.

use model::Timestamp;
use parking_lot::Mutex;

use crate::batch::{Batch, WriteOutcome};
use crate::config::Limits;
use crate::head::Head;
use crate::natives::Natives;
use crate::reading::Store;
use crate::stats::{Counters, Stats};

#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) store: Store,
    counters: Counters,
    turn: Mutex<()>,
}

impl Memory {
    pub(crate) fn new(limits: Limits) -> Self {
        let natives = Natives::default();
        let store = Store { head: Head::new(limits), blocks: None, natives };
        Self { store, counters: Counters::default(), turn: Mutex::new(()) }
    }

    pub(crate) fn write(&self, batch: Batch) -> WriteOutcome {
        let _turn = self.turn.lock();
        let head = &self.store.head;
        let outcome = head.apply(head.plan(batch, None));
        self.counters.count(&outcome);
        outcome
    }

    pub(crate) fn maintain(&self, now: Timestamp) {
        let head = &self.store.head;
        head.move_horizon(now);
        if !head.is_sweep_due(now) {
            return;
        }
        let empty = head.sweep(now);
        let _turn = self.turn.lock();
        head.remove_series(empty);
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            series: self.store.head.series_count(),
            samples: self.store.head.sample_count(),
            stored_total: self.counters.stored(),
            refused_total: self.counters.refused(),
            wal: None,
            blocks: None,
        }
    }
}
