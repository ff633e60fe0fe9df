//! Reservations: many names of one place, each of them one owner's for a while. Cheaper than a lease each, and without
//! a number that would stay.

use std::time::Duration;

use model::Timestamp;

use crate::{Backend, State, StateError};

impl State {
    /// Reserves names at a place for `owner`, or renews what it has reserved; answers for each whether it is the
    /// owner's now. A reservation ends by itself after `ttl`.
    pub async fn reserve(
        &self,
        place: &str,
        names: &[String],
        owner: &str,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<Vec<bool>, StateError> {
        let db = match &self.backend {
            Backend::Embedded(db) => db,
            Backend::Redis(redis) => return redis.reserve(place, names, owner, ttl).await,
        };
        let (now, until) = (now.millis(), now.plus(ttl).millis());
        let mut answers = Vec::with_capacity(names.len());
        for name in names {
            let row = db.state().take_lease(&lease_name(place, name), owner, now, until).await?;
            answers.push(row.owner == owner);
        }
        Ok(answers)
    }

    /// Ends those of the reservations that still are the owner's.
    pub async fn release(
        &self,
        place: &str,
        names: &[String],
        owner: &str,
    ) -> Result<(), StateError> {
        let db = match &self.backend {
            Backend::Embedded(db) => db,
            Backend::Redis(redis) => return redis.release(place, names, owner).await,
        };
        for name in names {
            db.state().release_lease(&lease_name(place, name), owner).await?;
        }
        Ok(())
    }
}

fn lease_name(place: &str, name: &str) -> String {
    format!("{place}.{name}")
}
