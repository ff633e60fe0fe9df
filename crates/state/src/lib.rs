//! Shared state in verbs: leases, documents, and queues that hand events out with a lease and an acknowledgement.
//!
//! [`State`] is embedded today: it keeps everything in the SQL store, so what a verb answered survives kill -9.
//! With several machines Redis takes its place behind the same verbs.

mod documents;
mod error;
mod events;
mod leases;
#[cfg(test)]
mod test_state;

pub use error::StateError;
pub use events::Event;
pub use leases::Lease;

use db::Db;

/// Shared state. Clones share it.
#[derive(Debug, Clone)]
pub struct State {
    db: Db,
}

impl State {
    /// State inside this process' SQL store.
    pub fn embedded(db: Db) -> Self {
        Self { db }
    }
}
