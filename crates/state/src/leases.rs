//! Leases: one holder at a time, until a moment, with a number that tells holders apart.

use std::time::Duration;

use model::Timestamp;

use crate::{Backend, State, StateError};

/// A lease that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Grows whenever the lease was free or changed hands; stays over renewals. Pass it with every
    /// write, so that a holder that was paused past its lease cannot overwrite its successor
    /// (Kleppmann, "How to do distributed locking").
    pub fencing: u64,
    /// The lease ends then, unless renewed; by the clock of who took it.
    pub until: Timestamp,
}

impl State {
    /// Takes the lease `name`, or renews it when `owner` holds it already. `None` while somebody
    /// else holds it.
    pub async fn take_lease(
        &self,
        name: &str,
        owner: &str,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<Option<Lease>, StateError> {
        let until = now.plus(ttl);
        match &self.backend {
            Backend::Embedded(db) => {
                let row = db.state().take_lease(name, owner, now.millis(), until.millis()).await?;
                let lease =
                    Lease { fencing: row.fencing.unsigned_abs(), until: Timestamp(row.until) };
                Ok((row.owner == owner).then_some(lease))
            }
            // The server began to count after `now`: the lease lasts at least until then.
            Backend::Redis(redis) => {
                let fencing = redis.take_lease(name, owner, ttl).await?;
                Ok(fencing.map(|fencing| Lease { fencing, until }))
            }
        }
    }

    /// Gives the lease back early; `false` when it was not the owner's any more.
    pub async fn release_lease(&self, name: &str, owner: &str) -> Result<bool, StateError> {
        match &self.backend {
            Backend::Embedded(db) => Ok(db.state().release_lease(name, owner).await?),
            Backend::Redis(redis) => redis.release_lease(name, owner).await,
        }
    }
}
