//! What is to be sent: fresh batches in memory, everything on disk.
//!
//! A batch is written to the spool before anyone is told that it was taken, so the death of the agent loses
//! nothing. It is also kept in memory, from where it is sent first: what happens now matters more than what
//! happened an hour ago. When the disk cannot be written or hangs, and that is just what an operator wants to
//! be told, memory alone does.

mod disk;

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::config;
use crate::metrics::{DropReason, Metrics};
use crate::spool::{Lost, Spool, Ticket};
use disk::{Disk, Fault};

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
pub struct Outbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    disk: Option<Disk>,
    memory: Mutex<Memory>,
    // Between being written and being in memory a batch must not be taken for a backlog, and be sent twice.
    order: tokio::sync::Mutex<()>,
    wake: Notify,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Memory {
    fresh: VecDeque<Batch>,
    fresh_bytes: usize,
    fresh_bytes_max: usize,
    told_bytes: u64,
    // The disk is failing; said once, until it works again.
    is_failing: bool,
    metrics: Arc<Metrics>,
}

impl Outbox {
    /// Opens the spool in `folder`. An error tells why there is none; the outbox then works in memory. With
    /// [`io::ErrorKind::TimedOut`] the disk hangs, and the spool is used from when it answers.
    pub async fn open(
        folder: &Path,
        limits: &config::Spool,
        metrics: Arc<Metrics>,
    ) -> (Self, Option<io::Error>) {
        let (folder, bytes_max) = (folder.to_owned(), limits.bytes_max);
        let open = move || Spool::open(&folder, bytes_max);
        let (disk, error) = Disk::start(open, Arc::clone(&metrics)).await;
        (Self::over(disk, limits, metrics), error)
    }

    fn over(disk: Option<Disk>, limits: &config::Spool, metrics: Arc<Metrics>) -> Self {
        let memory = Memory {
            fresh: VecDeque::new(),
            fresh_bytes: 0,
            fresh_bytes_max: limits.memory_bytes_max,
            told_bytes: 0,
            is_failing: false,
            metrics: Arc::clone(&metrics),
        };
        let (memory, order) = (Mutex::new(memory), tokio::sync::Mutex::default());
        Self(Arc::new(Inner { disk, memory, order, wake: Notify::new(), metrics }))
    }

    /// Takes a batch. When it returns, the batch survives the death of the agent (or the disk fails or hangs,
    /// which is counted). The sender is not woken: see [`Outbox::wake`].
    pub async fn put(&self, mut batch: Batch) {
        let _in_order = self.0.order.lock().await;
        batch.ticket = self.write(&batch).await;
        self.memory().keep(batch);
    }

    /// Tells the sender to look.
    pub fn wake(&self) {
        self.0.wake.notify_one();
    }

    /// Waits for [`Outbox::wake`].
    pub async fn woken(&self) {
        self.0.wake.notified().await;
    }

    /// The newest fresh batch; without any, the oldest that waits on disk.
    pub async fn next(&self) -> Option<Batch> {
        let _in_order = self.0.order.lock().await;
        let fresh = self.memory().take();
        if fresh.is_some() {
            return fresh;
        }
        match self.0.disk.as_ref()?.oldest().await {
            Ok(Ok(oldest)) => {
                let (ticket, body) = oldest?;
                Some(Batch { body: body.into(), samples: ticket.samples(), ticket: Some(ticket) })
            }
            Ok(Err(damage)) => {
                let Lost { samples, damaged_bytes } = damage.lost;
                let error = damage.source;
                tracing::warn!(%error, samples, damaged_bytes, "gave up a damaged part of the spool");
                self.0.metrics.dropped(DropReason::Damaged, samples);
                None
            }
            Err(_) => None,
        }
    }

    /// A batch is sent, or refused for good.
    pub fn settle(&self, batch: &Batch) {
        if let (Some(ticket), Some(disk)) = (batch.ticket, &self.0.disk) {
            disk.settle(ticket);
        }
        self.memory().tell_size();
    }

    /// A batch could not be sent: it is to be tried again.
    pub fn give_back(&self, batch: Batch) {
        self.memory().give_back(batch);
    }

    async fn write(&self, batch: &Batch) -> Option<Ticket> {
        match self.0.disk.as_ref()?.append(batch.body.clone(), batch.samples).await {
            Ok((ticket, lost)) => {
                if std::mem::take(&mut self.memory().is_failing) {
                    tracing::info!("the spool can be written again");
                }
                self.0.metrics.dropped(DropReason::SpoolFull, lost.samples);
                Some(ticket)
            }
            Err(fault) => {
                if !std::mem::replace(&mut self.memory().is_failing, true) {
                    let why = match fault {
                        Fault::Hanging => "its disk does not answer".to_owned(),
                        Fault::Refusing(error) => error.to_string(),
                    };
                    tracing::warn!(
                        "the spool cannot be written; samples are kept in memory only: {why}"
                    );
                }
                self.0.metrics.spool_write_failed();
                None
            }
        }
    }

    // Every change leaves the state whole, so a panic elsewhere does not spoil it.
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    // What leaves memory and is on disk is sent from there; what is nowhere else is lost.
    fn keep(&mut self, batch: Batch) {
        self.fresh_bytes += batch.body.len();
        self.fresh.push_back(batch);
        while self.fresh_bytes > self.fresh_bytes_max && self.fresh.len() > 1 {
            let Some(oldest) = self.fresh.pop_front() else { break };
            self.fresh_bytes -= oldest.body.len();
            if oldest.ticket.is_none() {
                self.metrics.dropped(DropReason::MemoryFull, u64::from(oldest.samples));
            }
        }
        self.tell_size();
    }

    fn take(&mut self) -> Option<Batch> {
        let batch = self.fresh.pop_back()?;
        self.fresh_bytes -= batch.body.len();
        Some(batch)
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

    // The spool tells its own size.
    fn tell_size(&mut self) {
        let in_memory_only = self.fresh.iter().filter(|batch| batch.ticket.is_none());
        let bytes: u64 = in_memory_only.map(|batch| batch.body.len() as u64).sum();
        self.metrics.spool_bytes_changed(self.told_bytes, bytes);
        self.told_bytes = bytes;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;
    use std::time::Duration;

    use testkit::eventually;
    use tokio::time::timeout;

    use super::*;

    const LIMITS: config::Spool = config::Spool { bytes_max: 1 << 20, memory_bytes_max: 250 };

    fn batch(number: u8) -> Batch {
        Batch::new(vec![number; 100], 10)
    }

    async fn open(folder: &Path, metrics: &Arc<Metrics>) -> Outbox {
        let (outbox, error) = Outbox::open(folder, &LIMITS, Arc::clone(metrics)).await;
        assert!(error.is_none(), "{error:?}");
        outbox
    }

    async fn drain(outbox: &Outbox) -> Vec<u8> {
        let mut order = Vec::new();
        while let Some(batch) = outbox.next().await {
            order.push(batch.body[0]);
            outbox.settle(&batch);
        }
        order
    }

    #[tokio::test]
    async fn fresh_goes_first_and_then_the_backlog_from_its_oldest_on() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = open(dir.path(), &Arc::default()).await;
        for number in 0..6 {
            outbox.put(batch(number)).await;
        }
        assert_eq!(drain(&outbox).await, [5, 4, 0, 1, 2, 3]);
    }

    #[tokio::test]
    async fn what_was_not_sent_survives_the_agent() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = open(dir.path(), &Arc::default()).await;
        for number in 0..3 {
            outbox.put(batch(number)).await;
        }
        let sent = outbox.next().await.unwrap();
        outbox.settle(&sent);
        let in_flight = outbox.next().await.unwrap();
        assert_eq!((sent.body[0], in_flight.body[0]), (2, 1));
        drop(outbox);
        assert_eq!(drain(&open(dir.path(), &Arc::default()).await).await, [0, 1]);
    }

    #[tokio::test]
    async fn a_batch_that_was_given_back_is_sent_again_and_once() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = open(dir.path(), &Arc::default()).await;
        outbox.put(batch(1)).await;
        outbox.give_back(outbox.next().await.unwrap());
        assert_eq!(drain(&outbox).await, [1]);
    }

    #[tokio::test]
    async fn without_a_disk_memory_does_and_counts_what_it_cannot_hold() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let metrics = Arc::new(Metrics::default());
        let (outbox, error) =
            Outbox::open(&dir.path().join("file/spool"), &LIMITS, Arc::clone(&metrics)).await;
        assert!(error.is_some());
        for number in 0..5 {
            outbox.put(batch(number)).await;
        }
        assert_eq!((metrics.spool_bytes(), metrics.dropped_total()), (200, 30));
        outbox.give_back(outbox.next().await.unwrap());
        assert_eq!(drain(&outbox).await, [3, 4]);
        assert_eq!(metrics.spool_bytes(), 0);
    }

    const SOON: Duration = Duration::from_millis(500);
    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_disk_that_hangs_is_waited_for_once_and_used_again_when_it_answers() {
        let dir = tempfile::tempdir().unwrap();
        let metrics = Arc::new(Metrics::default());
        let outbox = open(dir.path(), &metrics).await;
        outbox.put(batch(1)).await;
        let release = outbox.0.disk.as_ref().unwrap().hold();
        outbox.put(batch(2)).await;
        let at_once = async {
            outbox.put(batch(3)).await;
            let fresh = [outbox.next().await.unwrap(), outbox.next().await.unwrap()];
            fresh.iter().for_each(|batch| outbox.settle(batch));
            assert_eq!(fresh.map(|batch| batch.body[0]), [3, 2]);
        };
        timeout(SOON, at_once).await.expect("nobody waits for a disk that is known to hang");
        drop(release);
        // The batch that was written late is on disk too and is sent a second time, rather than not at all.
        let mut order = Vec::new();
        let both = async || {
            order.extend(drain(&outbox).await);
            (order.len() >= 2).then(|| order.clone())
        };
        let order = eventually("the backlog", PATIENCE, both).await;
        assert_eq!((order, metrics.dropped_total()), (vec![1, 2], 0));
        outbox.put(batch(4)).await;
        drop(outbox);
        assert_eq!(drain(&open(dir.path(), &Arc::default()).await).await, [4]);
    }

    #[tokio::test]
    async fn a_disk_that_hangs_at_the_start_is_used_from_when_it_answers() {
        let dir = tempfile::tempdir().unwrap();
        let (release, wait) = sync_channel::<()>(1);
        let folder = dir.path().to_owned();
        let open_late = move || {
            let _ = wait.recv();
            Spool::open(&folder, LIMITS.bytes_max)
        };
        let (disk, error) = Disk::start(open_late, Arc::default()).await;
        assert_eq!(error.map(|error| error.kind()), Some(io::ErrorKind::TimedOut));
        let outbox = Outbox::over(disk, &LIMITS, Arc::default());
        timeout(SOON, outbox.put(batch(1))).await.expect("memory does");
        assert_eq!(drain(&outbox).await, [1]);
        drop(release);
        let written = async || outbox.write(&batch(2)).await;
        eventually("the disk is used", PATIENCE, written).await;
        assert_eq!(drain(&outbox).await, [2]);
    }
}
