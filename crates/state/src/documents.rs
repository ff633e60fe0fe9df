//! Documents: what the holder of a lease must find again after a restart, or its successor after a
//! takeover.

use crate::{Backend, State, StateError};

impl State {
    /// Writes a document durably. [`StateError::Fenced`] when a later holder of the lease wrote it.
    pub async fn save_document(
        &self,
        kind: &str,
        key: &str,
        body: &[u8],
        fencing: u64,
    ) -> Result<(), StateError> {
        let is_saved = match &self.backend {
            Backend::Embedded(db) => {
                let number = i64::try_from(fencing).unwrap_or(i64::MAX);
                db.state().save_document(kind, key, body, number).await?
            }
            Backend::Redis(redis) => redis.save_document(kind, key, body, fencing).await?,
        };
        if is_saved {
            Ok(())
        } else {
            Err(StateError::Fenced { kind: kind.to_owned(), key: key.to_owned(), fencing })
        }
    }

    /// A document, if there is one.
    pub async fn load_document(
        &self,
        kind: &str,
        key: &str,
    ) -> Result<Option<Vec<u8>>, StateError> {
        match &self.backend {
            Backend::Embedded(db) => Ok(db.state().load_document(kind, key).await?),
            Backend::Redis(redis) => redis.load_document(kind, key).await,
        }
    }

    /// All documents of a kind with their keys, by key.
    pub async fn documents(&self, kind: &str) -> Result<Vec<(String, Vec<u8>)>, StateError> {
        match &self.backend {
            Backend::Embedded(db) => Ok(db.state().documents(kind).await?),
            Backend::Redis(redis) => redis.documents(kind).await,
        }
    }

    /// Removes a document; it is no fault when there is none.
    pub async fn remove_document(&self, kind: &str, key: &str) -> Result<(), StateError> {
        match &self.backend {
            Backend::Embedded(db) => Ok(db.state().remove_document(kind, key).await?),
            Backend::Redis(redis) => redis.remove_document(kind, key).await,
        }
    }
}
