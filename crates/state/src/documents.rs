//! Documents: what the holder of a lease must find again after a restart, or its successor after a takeover.

use crate::{State, StateError};

impl State {
    /// Writes a document durably. [`StateError::Fenced`] when a later holder of the lease wrote it.
    pub async fn save_document(
        &self,
        kind: &str,
        key: &str,
        body: &[u8],
        fencing: u64,
    ) -> Result<(), StateError> {
        let number = i64::try_from(fencing).unwrap_or(i64::MAX);
        if self.db.state().save_document(kind, key, body, number).await? {
            Ok(())
        } else {
            Err(StateError::Fenced { kind: kind.to_owned(), key: key.to_owned(), fencing })
        }
    }

    /// A document, if there is one.
    pub async fn load_document(&self, kind: &str, key: &str) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.db.state().load_document(kind, key).await?)
    }

    /// All documents of a kind with their keys.
    pub async fn documents(&self, kind: &str) -> Result<Vec<(String, Vec<u8>)>, StateError> {
        Ok(self.db.state().documents(kind).await?)
    }

    /// Removes a document; it is no fault when there is none.
    pub async fn remove_document(&self, kind: &str, key: &str) -> Result<(), StateError> {
        Ok(self.db.state().remove_document(kind, key).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_state::state;

    #[tokio::test]
    async fn a_former_holder_cannot_overwrite_its_successor() {
        let (state, _folder) = state().await;
        state.save_document("rule_group", "disk", b"old", 1).await.unwrap();
        state.save_document("rule_group", "disk", b"new", 2).await.unwrap();
        let refused = state.save_document("rule_group", "disk", b"stale", 1).await;
        assert!(matches!(refused, Err(StateError::Fenced { fencing: 1, .. })), "{refused:?}");
        assert_eq!(state.load_document("rule_group", "disk").await.unwrap().as_deref(), Some(&b"new"[..]));
    }

    #[tokio::test]
    async fn documents_of_a_kind_are_listed_until_removed() {
        let (state, _folder) = state().await;
        state.save_document("a", "2", b"y", 1).await.unwrap();
        state.save_document("a", "1", b"x", 1).await.unwrap();
        state.save_document("b", "1", b"z", 1).await.unwrap();
        state.remove_document("a", "2").await.unwrap();
        state.remove_document("a", "2").await.unwrap();
        assert_eq!(state.documents("a").await.unwrap(), [("1".to_owned(), b"x".to_vec())]);
    }
}
