//! Mutes of persons, under Open-Falcon's names on Redis: `single_block_monitor_<user>_<counter>` with a TTL, its
//! name in `block_monitor_set`. What the names cannot say lies beside them in `{block_monitor_set}:meta`, so
//! that older readers still work.

use db::MuteRow;
use model::Timestamp;

use crate::{Backend, State, StateError};

/// A mute in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMute {
    /// Person and counter, joined by an underscore.
    pub joined: String,
    /// What the application wrote; empty for mutes that an older program made.
    pub body: String,
    /// When it ends.
    pub until: Timestamp,
}

impl State {
    /// Mutes, durably, for `seconds` from `now` on. A mute with the same id is replaced.
    pub async fn mute(
        &self,
        id: &str,
        joined: &str,
        body: &str,
        seconds: u64,
        now: Timestamp,
    ) -> Result<(), StateError> {
        let ends_at = now.plus(std::time::Duration::from_secs(seconds));
        match &self.backend {
            Backend::Embedded(db) => {
                let (id, joined, body) = (id.to_owned(), joined.to_owned(), body.to_owned());
                Ok(db.mutes().store(&MuteRow { id, joined, ends_at, body }).await?)
            }
            Backend::Redis(redis) => redis.mute(id, joined, body, seconds, ends_at).await,
        }
    }

    /// Ends a mute.
    pub async fn unmute(&self, id: &str, joined: &str) -> Result<(), StateError> {
        match &self.backend {
            Backend::Embedded(db) => {
                db.mutes().remove(id).await?;
                Ok(())
            }
            Backend::Redis(redis) => redis.unmute(id, joined).await,
        }
    }

    /// All mutes that hold at `now`.
    pub async fn mutes(&self, now: Timestamp) -> Result<Vec<StoredMute>, StateError> {
        let db = match &self.backend {
            Backend::Embedded(db) => db,
            Backend::Redis(redis) => return redis.mutes(now).await,
        };
        let stored = db.mutes().live(now).await?.into_iter();
        let read =
            |MuteRow { joined, body, ends_at, .. }| StoredMute { joined, body, until: ends_at };
        Ok(stored.map(read).collect())
    }
}
