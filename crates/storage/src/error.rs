//! What can go wrong.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::remote::RemoteError;

/// Why a store on disk cannot be opened. A damaged write-ahead log is not among the reasons: it is
/// opened with what can be read, and [`ReplayReport`](crate::ReplayReport) names the rest.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has the directory open.
    #[error(
        "data directory {dir} is in use by another process{}: stop that process, or give this one a directory of its own",
        holder.map(|id| format!(" (id {id})")).unwrap_or_default()
    )]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// The other process' id, when the lock file tells it.
        holder: Option<u32>,
    },
    /// The directory cannot be made, read or written.
    #[error(
        "cannot use {path} in data directory {dir}: make the directory readable and writable for this user, or set another one"
    )]
    Directory {
        /// The directory of the store.
        dir: PathBuf,
        /// What in it could not be used.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The task that opened the store was cancelled or panicked.
    #[error("opening the store was interrupted")]
    Interrupted,
}

/// Why a batch was not stored. None of its samples is.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The write-ahead log took no more, for instance because the disk is full. A later write may
    /// succeed.
    #[error("cannot append to the write-ahead log {path}: nothing of the batch was stored")]
    Wal {
        /// The segment.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The batch is too large for one record of the write-ahead log.
    #[error("a batch of {bytes} bytes exceeds the {bytes_max} bytes of a record: split it")]
    TooLarge {
        /// Encoded size of the batch.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// A remote store did not take it; some of it may be stored, and writing it again is harmless.
    #[error(transparent)]
    Remote(RemoteError),
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
    /// The writer's guard said no, see [`Writer::guarded`](crate::Writer::guarded).
    #[error("writing is not allowed any more: the right to it has ended meanwhile")]
    NotAllowed,
    /// The task that wrote was cancelled or panicked; whether the batch is stored is unknown.
    /// Writing it again is harmless.
    #[error("the write was interrupted; writing the batch again is harmless")]
    Interrupted,
}

/// Why nothing could be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The task that read was cancelled or panicked.
    #[error("the read was interrupted")]
    Interrupted,
    /// A remote store did not answer.
    #[error(transparent)]
    Remote(RemoteError),
    /// A block is damaged. It has been set aside, and the next read goes on without its samples.
    #[error("{0}; the block has been set aside, what is asked next is answered without it")]
    Damaged(String),
    /// The selection has more samples than the caller wants to hold.
    #[error("the selection has more than {limit} samples: narrow its matchers or its span")]
    TooManySamples {
        /// What the caller wanted at most.
        limit: usize,
    },
}

/// Why upkeep failed. Samples stay readable, and the next round tries again.
#[derive(Debug, Error)]
pub enum MaintainError {
    /// What was written may not survive a power cut yet.
    #[error("cannot bring the write-ahead log {path} to disk")]
    Sync {
        /// File or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A segment whose samples have all outlived the retention could not be removed.
    #[error("cannot remove the expired write-ahead log {path}")]
    Remove {
        /// The segment.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A block could not be written, merged or deleted. What was to go into it stays where it is.
    #[error("cannot write, merge or delete the block {path}")]
    Block {
        /// Its folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A block that was to be merged is damaged, and has been set aside.
    #[error("{path} is damaged: {what}; the block has been set aside")]
    Damaged {
        /// The damaged file, where it was.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The task was cancelled or panicked, or the store was closed meanwhile.
    #[error("upkeep was interrupted")]
    Interrupted,
}
