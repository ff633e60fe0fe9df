//! Documents: a hash of bodies for each kind, beside a hash of fencing numbers.

use futures_util::future::try_join_all;

use super::RedisStore;
use crate::StateError;

const NOUN: &str = "document";
const FENCING: &str = ":fencing";

impl RedisStore {
    /// `false` when a later holder of the lease wrote it.
    pub(crate) async fn save_document(
        &self,
        kind: &str,
        name: &str,
        body: &[u8],
        fencing: u64,
    ) -> Result<bool, StateError> {
        let mut script = self.scripts.save_document.key(self.key(NOUN, kind, ""));
        script.key(self.key(NOUN, kind, FENCING)).arg(name).arg(fencing).arg(body);
        self.run("save a document", &script).await
    }

    /// As [`Self::save_document`] for each, all on their way at once.
    pub(crate) async fn save_documents(
        &self,
        kind: &str,
        documents: &[(&str, &[u8], u64)],
    ) -> Result<Vec<bool>, StateError> {
        let saving = documents
            .iter()
            .map(|&(name, body, fencing)| self.save_document(kind, name, body, fencing));
        try_join_all(saving).await
    }

    pub(crate) async fn load_document(
        &self,
        kind: &str,
        name: &str,
    ) -> Result<Option<Vec<u8>>, StateError> {
        let mut command = redis::cmd("HGET");
        self.ask("load a document", command.arg(self.key(NOUN, kind, "")).arg(name)).await
    }

    pub(crate) async fn documents(&self, kind: &str) -> Result<Vec<(String, Vec<u8>)>, StateError> {
        let mut command = redis::cmd("HGETALL");
        let mut documents: Vec<(String, Vec<u8>)> =
            self.ask("load documents", command.arg(self.key(NOUN, kind, ""))).await?;
        documents.sort_unstable();
        Ok(documents)
    }

    pub(crate) async fn remove_document(&self, kind: &str, name: &str) -> Result<(), StateError> {
        const OPERATION: &str = "remove a document";
        let mut removal = redis::pipe();
        removal.atomic();
        removal.hdel(self.key(NOUN, kind, ""), name).ignore();
        removal.hdel(self.key(NOUN, kind, FENCING), name).ignore();
        let mut connection = self.connection.clone();
        let outcome = removal.query_async(&mut connection).await;
        outcome.map_err(|source| StateError::Redis { operation: OPERATION, source })
    }
}
