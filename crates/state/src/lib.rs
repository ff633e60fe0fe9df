//! Shared state in verbs: leases, reservations, circles that share out work, documents, queues that hand events out with a lease and an
//! acknowledgement, and the places of hosts that are upgraded.
//!
//! [`State`] is embedded or Redis, behind the same verbs. Embedded keeps everything in the SQL
//! store, so what a verb answered survives kill -9. Redis is for services on several machines.
//!
//! Whose clock: embedded goes by the caller's `now` alone. On Redis a lease is measured by the
//! server's clock, so that no holder loses its lease to a neighbour whose clock is fast; queues go
//! by `now` there too, where a fast clock can only hand an event out twice, which at-least-once
//! allows.

mod circles;
mod documents;
mod error;
mod events;
mod inbox;
mod leases;
mod mutes;
mod redis;
mod reservations;
mod upgrades;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use db::Db;

pub use crate::redis::RedisConfig;
pub use circles::Attendance;
pub use db::{
    Admission, Admitted, CircleMember, CircleView, GroupLimit, HostPhase, HostReport, Membership,
    ShareRow, TurnAnswer, UpgradeHostRow, UpgradePlanRow, UpgradeTally, Want, Work,
};
pub use error::StateError;
pub use events::{Event, NewEvent, PLACES_PER_OLDEST};
pub use inbox::{Inbox, Settled};
pub use leases::Lease;
pub use mutes::StoredMute;

use crate::redis::RedisStore;

/// Shared state. Clones share it.
#[derive(Debug, Clone)]
pub struct State {
    backend: Backend,
    /// Places for events that were asked for so far.
    places: Arc<AtomicU64>,
}

#[derive(Debug, Clone)]
enum Backend {
    Embedded(Db),
    Redis(Arc<RedisStore>),
}

impl State {
    /// State inside this process' SQL store.
    pub fn embedded(db: Db) -> Self {
        Self { backend: Backend::Embedded(db), places: Arc::default() }
    }

    /// Whether other processes may share it.
    pub fn is_shared(&self) -> bool {
        matches!(self.backend, Backend::Redis(_))
    }

    /// State in Redis 6.2 or newer. Does not wait for the server: while it is away the verbs fail,
    /// and when it is back they work again. Must be called inside a Tokio runtime.
    pub fn redis(config: &RedisConfig) -> Result<Self, StateError> {
        let backend = Backend::Redis(Arc::new(RedisStore::open(config)?));
        Ok(Self { backend, places: Arc::default() })
    }
}
