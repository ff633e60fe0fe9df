//! A durable bounded queue of request bodies, one a destination. A batch is on disk when
//! [`Queue::push`] returns; batches that come at the same time are brought there together.

mod disk;
mod position;
mod record;
mod segment;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use model::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::{Notify, oneshot};
use tokio::task::spawn_blocking;

use self::disk::Disk;
pub(crate) use self::disk::{Chunk, ChunkLimits, Taken};
pub(crate) use self::position::Position;

/// What happens to new batches when a queue is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// The oldest samples are dropped, and counted.
    #[default]
    DropOldest,
    /// Clients are told to come again, with 429; all destinations then wait for this one.
    Refuse,
}

/// How a queue behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Of all its files.
    pub(crate) bytes_max: u64,
    pub(crate) when_full: WhenFull,
    /// Whether a batch survives a power cut once it is acknowledged; else only the end of the
    /// process.
    pub(crate) is_synced: bool,
}

/// A batch.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The body of a remote-write request, version 1.
    pub(crate) body: Bytes,
    pub(crate) samples: usize,
    pub(crate) queued_at: Timestamp,
}

/// Why a batch is not in the queue.
#[derive(Debug, Clone, Error)]
pub(crate) enum QueueError {
    /// There is no room, and nothing is to be dropped.
    #[error("the queue is full (queue_bytes_max = {bytes_max})")]
    Full { bytes_max: u64 },
    /// It is larger than the whole queue.
    #[error("a batch of {bytes} bytes does not fit in the queue (queue_bytes_max)")]
    TooLarge { bytes: usize },
    /// The disk did not take it.
    #[error("the queue cannot be written")]
    Disk(#[source] Arc<io::Error>),
    /// The process is being stopped.
    #[error("the write was cut off by the end of the process")]
    Interrupted,
}

/// Figures of a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    /// On disk.
    pub(crate) bytes: u64,
    /// Samples that have not been handed out.
    pub(crate) waiting_samples: u64,
    /// When the first of them came.
    pub(crate) waiting_since: Option<Timestamp>,
    /// Samples that made room for others.
    pub(crate) dropped_samples: u64,
    /// Samples that could not be read again.
    pub(crate) damaged_samples: u64,
    /// Records that could not be read again.
    pub(crate) damaged_records: u64,
    /// Bytes that made no sense.
    pub(crate) damaged_bytes: u64,
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Queue {
    disk: Mutex<Disk>,
    /// As of the last operation, for those who must not wait for the disk.
    stats: Mutex<Stats>,
    is_synced: bool,
    pending: Mutex<Vec<Pending>>,
    /// Held by whoever brings the pending batches to disk.
    turn: tokio::sync::Mutex<()>,
    arrived: Notify,
}

#[derive(Debug)]
struct Pending {
    entry: Entry,
    reply: oneshot::Sender<Result<(), QueueError>>,
}

impl Queue {
    /// Opens the queue in a folder, which is made when it is missing. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be read and written, or another process uses it.
    pub(crate) fn open(dir: &Path, settings: Settings) -> io::Result<Self> {
        let disk = Disk::open(dir, settings)?;
        Ok(Self {
            stats: Mutex::new(disk.stats()),
            disk: Mutex::new(disk),
            is_synced: settings.is_synced,
            pending: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            arrived: Notify::new(),
        })
    }

    /// Adds a batch and returns when it is on disk. When the future is dropped, it may be there or
    /// not.
    pub(crate) async fn push(self: &Arc<Self>, entry: Entry) -> Result<(), QueueError> {
        let (reply, mut outcome) = oneshot::channel();
        self.pending().push(Pending { entry, reply });
        let _turn = self.turn.lock().await;
        // Whoever had the turn before may have taken this batch along.
        if let Ok(outcome) = outcome.try_recv() {
            return outcome;
        }
        let queue = Arc::clone(self);
        // Goes on to its end also when this future is dropped: others wait for what it does.
        let written = spawn_blocking(move || queue.write_pending());
        written.await.map_err(|_| QueueError::Interrupted)?;
        outcome.await.unwrap_or(Err(QueueError::Interrupted))
    }

    fn write_pending(&self) {
        let pending = std::mem::take(&mut *self.pending());
        let (outcomes, unsynced) = {
            let mut disk = self.disk();
            let outcomes: Vec<Result<(), QueueError>> =
                pending.iter().map(|one| disk.append(&one.entry)).collect();
            self.note(&disk);
            (outcomes, disk.take_unsynced())
        };
        // Waiting for the disk must not keep the forwarder from reading.
        let synced = if self.is_synced {
            unsynced.iter().try_for_each(|file| file.sync_data())
        } else {
            Ok(())
        };
        let synced = synced.map_err(|error| QueueError::Disk(Arc::new(error)));
        for (one, outcome) in pending.into_iter().zip(outcomes) {
            // Nobody may be waiting any more.
            let _ = one.reply.send(outcome.and_then(|()| synced.clone()));
        }
        self.arrived.notify_one();
    }

    /// Resolves when a batch has come since the last call.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// The oldest batches that were not handed out, within limits; none when there are none.
    pub(crate) async fn take(self: &Arc<Self>, limits: ChunkLimits) -> Option<Chunk> {
        let queue = Arc::clone(self);
        spawn_blocking(move || queue.take_now(limits)).await.ok().flatten()
    }

    fn take_now(&self, limits: ChunkLimits) -> Option<Chunk> {
        loop {
            let reading = self.disk().reading()?;
            let chunk = reading.read(limits);
            let mut disk = self.disk();
            let handed_out = disk.hand_out(&chunk).unwrap_or_else(|error| {
                tracing::warn!(%error, "a queue cannot be read");
                true
            });
            self.note(&disk);
            if handed_out && !chunk.batches.is_empty() {
                return Some(chunk);
            }
        }
    }

    /// Notes that everything up to `position` was delivered or given up.
    pub(crate) async fn settle(self: &Arc<Self>, position: Position) {
        let queue = Arc::clone(self);
        let settle = move || {
            let mut disk = queue.disk();
            let settled = disk.settle(position);
            queue.note(&disk);
            settled
        };
        let settled = spawn_blocking(settle).await;
        if let Ok(Err(error)) = settled {
            tracing::warn!(%error, "the position of a queue is not stored; after a restart samples are sent again");
        }
    }

    /// Figures.
    pub(crate) fn stats(&self) -> Stats {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, disk: &Disk) {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = disk.stats();
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending(&self) -> MutexGuard<'_, Vec<Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u8) -> Entry {
        let body = wire::remote_write::pack(&[number]).into();
        Entry { body, samples: 1, queued_at: Timestamp(i64::from(number)) }
    }

    fn settings() -> Settings {
        Settings { bytes_max: 1 << 20, when_full: WhenFull::DropOldest, is_synced: true }
    }

    const ALL: ChunkLimits = ChunkLimits { samples_max: u64::MAX, message_bytes_max: usize::MAX };

    #[tokio::test(flavor = "multi_thread")]
    async fn every_one_of_many_pushes_at_a_time_is_there_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let queue = Arc::new(Queue::open(dir.path(), settings()).unwrap());
        let pushes = (0..200).map(|number| {
            let queue = Arc::clone(&queue);
            async move { queue.push(entry(number)).await.unwrap() }
        });
        futures_util::future::join_all(pushes).await;
        queue.arrived().await;
        drop(queue);
        let queue = Arc::new(Queue::open(dir.path(), settings()).unwrap());
        let chunk = queue.take(ALL).await.unwrap();
        assert_eq!((chunk.samples, chunk.batches.len()), (200, 200));
        queue.settle(chunk.end).await;
        assert!(queue.take(ALL).await.is_none());
    }

    #[tokio::test]
    async fn a_push_that_is_given_up_does_not_hold_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let queue = Arc::new(Queue::open(dir.path(), settings()).unwrap());
        let mut given_up = Box::pin(queue.push(entry(1)));
        assert!(futures_util::future::poll_immediate(&mut given_up).await.is_none());
        drop(given_up);
        queue.push(entry(2)).await.unwrap();
        assert!(queue.take(ALL).await.unwrap().samples >= 1);
    }

    #[tokio::test]
    async fn a_disk_that_takes_nothing_fails_every_push() {
        let dir = tempfile::tempdir().unwrap();
        let small = Settings { bytes_max: 40, ..settings() };
        let queue = Arc::new(Queue::open(dir.path(), small).unwrap());
        let error = queue.push(entry(1)).await.unwrap_err();
        assert!(error.to_string().contains("queue_bytes_max"), "{error}");
    }
}
