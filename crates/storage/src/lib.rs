//! Where samples are kept: [`Writer`] and [`Reader`] over a store in memory, on local disk or behind the network.
//!
//! A store is a head of compressed chunks in memory, with an index of labels. On disk stands a
//! write-ahead log before it: a batch is acknowledged when the log has it, and opening the store
//! replays the log. What is older than some hours leaves the head for immutable blocks on disk,
//! and the log is cut behind it.

mod storage;

mod arrivals;
mod batch;
mod config;
mod error;
mod stats;

mod local;
mod memory;
mod natives;

mod overlay;
mod remote;
mod remote_read;
mod remote_write;

mod dir_lock;
mod frame;
mod record;
mod replay;
mod retention;
mod wal;

mod expression;
mod reading;
mod sight;
mod together;

mod head;
mod looks;
mod query;

mod blocks;
mod compact;
mod cut;

mod block;
mod block_index;
mod block_meta;
mod block_write;
mod page;
mod picked;
mod step;
mod worker;

mod bits;
mod bytes;
mod chunk;
mod index;
mod registry;
mod samples;

pub use arrivals::{Arrivals, Arrived};
pub use batch::{Batch, Refusal, Refused, WriteOutcome};
pub use config::{Limits, LocalConfig};
pub use error::{MaintainError, OpenError, ReadError, WriteError};
pub use expression::{QueryError, evaluate_within, query, query_then};
pub use remote::{RemoteConfig, RemoteError};
pub use remote_read::Engine;
pub use sight::{Sight, look_around};
pub use stats::{BlockFault, BlockStats, ReplayReport, Stats, WalFault, WalStats};
pub use storage::{Reader, Storage, Writer};
pub use together::query_together;
