//! What is to be sent: fresh batches in memory, everything on disk.
//!
//! A batch is written to the spool before anyone is told that it was taken, so the death of the agent loses
//! nothing. It is also kept in memory, from where it is sent first: what happens now matters more than what
//! happened an hour ago. When the disk cannot be written, and that is just what an operator wants to be told,
//! memory alone does.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::config;
use crate::metrics::{DropReason, Metrics};
use crate::spool::{Lost, Spool, Ticket};

/// A remote-write request that is ready to go.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The compressed body.
    pub body: Bytes,
    /// Samples in it.
    pub samples: u32,
    ticket: Option<Ticket>,
}

impl Batch {
    /// A batch that is nowhere yet.
    pub fn new(body: Vec<u8>, samples: usize) -> Self {
        Self {
            body: body.into(),
            samples: u32::try_from(samples).unwrap_or(u32::MAX),
            ticket: None,
        }
    }
}

/// Takes batches from collectors and local programs and gives them to the sender. Clones share everything.
#[derive(Debug, Clone)]
pub struct Outbox {
    state: Arc<Mutex<State>>,
    wake: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    fresh: VecDeque<Batch>,
    fresh_bytes: usize,
    fresh_bytes_max: usize,
    spool: Option<Spool>,
    // The disk is failing; said once, until it works again.
    is_failing: bool,
    metrics: Arc<Metrics>,
}

impl Outbox {
    /// Opens the spool in `folder`. An error tells why there is none; the outbox then works in memory.
    pub fn open(
        folder: &Path,
        limits: &config::Spool,
        metrics: Arc<Metrics>,
    ) -> (Self, Option<io::Error>) {
        let (spool, error) = match Spool::open(folder, limits.bytes_max) {
            Ok((spool, lost)) => {
                if lost.damaged_bytes > 0 {
                    let (folder, bytes) = (folder.display(), lost.damaged_bytes);
                    tracing::warn!(%folder, bytes, "cut a damaged end off the spool; the rest is kept");
                }
                (Some(spool), None)
            }
            Err(error) => (None, Some(error)),
        };
        let fresh_bytes_max = limits.memory_bytes_max;
        let state = State {
            fresh: VecDeque::new(),
            fresh_bytes: 0,
            fresh_bytes_max,
            spool,
            is_failing: false,
            metrics,
        };
        state.tell_size();
        (Self { state: Arc::new(Mutex::new(state)), wake: Arc::default() }, error)
    }

    /// Takes a batch. When it returns, the batch survives the death of the agent (or the disk fails, which is
    /// counted). The sender is not woken: see [`Outbox::wake`].
    pub fn put(&self, batch: Batch) {
        self.lock().put(batch);
    }

    /// Tells the sender to look.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits for [`Outbox::wake`].
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// The newest fresh batch; without any, the oldest that waits on disk.
    pub fn next(&self) -> Option<Batch> {
        self.lock().next()
    }

    /// A batch is sent, or refused for good.
    pub fn settle(&self, batch: &Batch) {
        self.lock().settle(batch);
    }

    /// A batch could not be sent: it is to be tried again.
    pub fn give_back(&self, batch: Batch) {
        self.lock().give_back(batch);
    }

    // Every change leaves the state whole, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put(&mut self, mut batch: Batch) {
        batch.ticket = self.write(&batch);
        self.keep_fresh(batch);
        self.tell_size();
    }

    fn write(&mut self, batch: &Batch) -> Option<Ticket> {
        let written = self.spool.as_mut()?.append(&batch.body, batch.samples);
        match written {
            Ok((ticket, lost)) => {
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!("the spool can be written again");
                }
                self.metrics.dropped(DropReason::SpoolFull, lost.samples);
                Some(ticket)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::warn!(%error, "the spool cannot be written; samples are kept in memory only");
                }
                self.metrics.spool_write_failed();
                None
            }
        }
    }

    // What leaves memory and is on disk is sent from there; what is nowhere else is lost.
    fn keep_fresh(&mut self, batch: Batch) {
        self.fresh_bytes += batch.body.len();
        self.fresh.push_back(batch);
        while self.fresh_bytes > self.fresh_bytes_max && self.fresh.len() > 1 {
            let Some(oldest) = self.fresh.pop_front() else { break };
            self.fresh_bytes -= oldest.body.len();
            if oldest.ticket.is_none() {
                self.metrics.dropped(DropReason::MemoryFull, u64::from(oldest.samples));
            }
        }
    }

    fn next(&mut self) -> Option<Batch> {
        if let Some(batch) = self.fresh.pop_back() {
            self.fresh_bytes -= batch.body.len();
            return Some(batch);
        }
        match self.spool.as_mut()?.oldest() {
            Ok(oldest) => {
                let (ticket, body) = oldest?;
                Some(Batch { body: body.into(), samples: ticket.samples(), ticket: Some(ticket) })
            }
            Err(damage) => {
                let Lost { samples, damaged_bytes } = damage.lost;
                let error = damage.source;
                tracing::warn!(%error, samples, damaged_bytes, "gave up a damaged part of the spool");
                self.metrics.dropped(DropReason::Damaged, samples);
                self.tell_size();
                None
            }
        }
    }

    fn settle(&mut self, batch: &Batch) {
        if let (Some(ticket), Some(spool)) = (batch.ticket, &mut self.spool)
            && let Err(error) = spool.settle(ticket)
        {
            tracing::debug!(%error, "cannot mark a batch as sent; it may be sent twice");
        }
        self.tell_size();
    }

    // Older than what came in meanwhile, so it goes to the front; and when there is no room, it is on disk.
    fn give_back(&mut self, batch: Batch) {
        let fits = self.fresh_bytes + batch.body.len() <= self.fresh_bytes_max;
        if batch.ticket.is_none() && !fits && !self.fresh.is_empty() {
            self.metrics.dropped(DropReason::MemoryFull, u64::from(batch.samples));
        } else if batch.ticket.is_none() {
            self.fresh_bytes += batch.body.len();
            self.fresh.push_front(batch);
        }
    }

    fn tell_size(&self) {
        let in_memory_only = self.fresh.iter().filter(|batch| batch.ticket.is_none());
        let memory: u64 = in_memory_only.map(|batch| batch.body.len() as u64).sum();
        self.metrics.set_spool_bytes(self.spool.as_ref().map_or(0, Spool::bytes) + memory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: config::Spool = config::Spool { bytes_max: 1 << 20, memory_bytes_max: 250 };

    fn batch(number: u8) -> Batch {
        Batch::new(vec![number; 100], 10)
    }

    fn drain(outbox: &Outbox) -> Vec<u8> {
        let mut order = Vec::new();
        while let Some(batch) = outbox.next() {
            order.push(batch.body[0]);
            outbox.settle(&batch);
        }
        order
    }

    #[test]
    fn fresh_goes_first_and_then_the_backlog_from_its_oldest_on() {
        let dir = tempfile::tempdir().unwrap();
        let (outbox, error) = Outbox::open(dir.path(), &LIMITS, Arc::default());
        assert!(error.is_none());
        (0..6).for_each(|number| outbox.put(batch(number)));
        assert_eq!(drain(&outbox), [5, 4, 0, 1, 2, 3]);
    }

    #[test]
    fn what_was_not_sent_survives_the_agent() {
        let dir = tempfile::tempdir().unwrap();
        let (outbox, _) = Outbox::open(dir.path(), &LIMITS, Arc::default());
        (0..3).for_each(|number| outbox.put(batch(number)));
        let sent = outbox.next().unwrap();
        outbox.settle(&sent);
        let in_flight = outbox.next().unwrap();
        assert_eq!((sent.body[0], in_flight.body[0]), (2, 1));
        drop(outbox);
        assert_eq!(drain(&Outbox::open(dir.path(), &LIMITS, Arc::default()).0), [0, 1]);
    }

    #[test]
    fn a_batch_that_was_given_back_is_sent_again_and_once() {
        let dir = tempfile::tempdir().unwrap();
        let (outbox, _) = Outbox::open(dir.path(), &LIMITS, Arc::default());
        outbox.put(batch(1));
        outbox.give_back(outbox.next().unwrap());
        assert_eq!(drain(&outbox), [1]);
    }

    #[test]
    fn without_a_disk_memory_does_and_counts_what_it_cannot_hold() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let metrics = Arc::new(Metrics::default());
        let (outbox, error) =
            Outbox::open(&dir.path().join("file/spool"), &LIMITS, metrics.clone());
        assert!(error.is_some());
        (0..5).for_each(|number| outbox.put(batch(number)));
        assert_eq!((metrics.spool_bytes(), metrics.dropped_total()), (200, 30));
        outbox.give_back(outbox.next().unwrap());
        assert_eq!(drain(&outbox), [3, 4]);
        assert_eq!(metrics.spool_bytes(), 0);
    }
}
