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

    /// Writes documents of one kind, given with key, body and fencing number, durably and at the price of
    /// little more than one. Answers for each whether it was written: `false` when a later holder of its lease
    /// wrote it. After an error it is not known which were written.
    pub async fn save_documents(
        &self,
        kind: &str,
        documents: &[(&str, &[u8], u64)],
    ) -> Result<Vec<bool>, StateError> {
        match &self.backend {
            Backend::Embedded(db) => {
                let numbered: Vec<(&str, &[u8], i64)> = documents
                    .iter()
                    .map(|(key, body, number)| {
                        (*key, *body, i64::try_from(*number).unwrap_or(i64::MAX))
                    })
                    .collect();
                Ok(db.state().save_documents(kind, &numbered).await?)
            }
            Backend::Redis(redis) => redis.save_documents(kind, documents).await,
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
