//! Saves the documents of groups: those that want to be saved at the same time go in one transaction, since that
//! costs little more than one of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use state::{State, StateError};
use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::rules::GroupKey;
use crate::shard::state_name;

/// Kind of the documents in shared state.
const KIND: &str = "rule_group";
/// Documents of one transaction, which keeps other writers waiting.
const TOGETHER_MAX: usize = 256;

/// The way of documents to shared state.
#[derive(Debug)]
pub(crate) struct Documents {
    state: State,
    waiting: Mutex<Vec<Waiting>>,
    /// Whoever writes for all that wait.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Waiting {
    name: String,
    body: Arc<Vec<u8>>,
    fencing: u64,
    answer: oneshot::Sender<Saved>,
}

/// What came of saving a document together with others.
#[derive(Debug)]
enum Saved {
    Yes,
    /// A later holder of the lease wrote it.
    Fenced,
    /// It is not known: all together failed.
    Unknown,
}

impl Documents {
    /// To this shared state.
    pub(crate) fn new(state: State) -> Self {
        Self { state, waiting: Mutex::default(), writing: tokio::sync::Mutex::default() }
    }

    /// The document of a group, if there is one.
    pub(crate) async fn load(&self, key: &GroupKey) -> Result<Option<Vec<u8>>, StateError> {
        self.state.load_document(KIND, &state_name(key)).await
    }

    /// Removes the document of a group.
    pub(crate) async fn remove(&self, key: &GroupKey) -> Result<(), StateError> {
        self.state.remove_document(KIND, &state_name(key)).await
    }

    /// Writes the document of a group durably. [`StateError::Fenced`] when a later holder of the group wrote it.
    pub(crate) async fn save(
        &self,
        key: &GroupKey,
        body: Vec<u8>,
        fencing: u64,
    ) -> Result<(), StateError> {
        let (name, body) = (state_name(key), Arc::new(body));
        let (answer, mut saved) = oneshot::channel();
        let (own_name, own_body) = (name.to_owned(), Arc::clone(&body));
        self.waiting().push(Waiting { name: own_name, body: own_body, fencing, answer });
        let saved = loop {
            let writing = self.writing.lock().await;
            match saved.try_recv() {
                Ok(saved) => break saved,
                // It still waits, maybe behind many others.
                Err(TryRecvError::Empty) => self.write_together().await,
                // Who wrote for all was stopped.
                Err(TryRecvError::Closed) => break Saved::Unknown,
            }
            drop(writing);
        };
        match saved {
            Saved::Yes => Ok(()),
            Saved::Fenced => Err(StateError::Fenced { kind: KIND.to_owned(), key: name, fencing }),
            // Each by itself, so that one that cannot be written does not stop the others.
            Saved::Unknown => self.state.save_document(KIND, &name, &body, fencing).await,
        }
    }

    /// Writes what has waited the longest and hands out the answers.
    async fn write_together(&self) {
        let batch: Vec<Waiting> = {
            let mut waiting = self.waiting();
            let count = waiting.len().min(TOGETHER_MAX);
            waiting.drain(..count).collect()
        };
        let documents: Vec<(&str, &[u8], u64)> =
            batch.iter().map(|one| (one.name.as_str(), &one.body[..], one.fencing)).collect();
        let outcome = self.state.save_documents(KIND, &documents).await;
        drop(documents);
        for (at, one) in batch.into_iter().enumerate() {
            let saved = match outcome.as_ref().map(|saved| saved.get(at)) {
                Ok(Some(true)) => Saved::Yes,
                Ok(_) => Saved::Fenced,
                Err(_) => Saved::Unknown,
            };
            // Who no longer waits for the answer saves again when it must.
            one.answer.send(saved).ok();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    fn key(number: usize) -> GroupKey {
        GroupKey { file: "f".to_owned(), name: format!("g{number}") }
    }

    #[tokio::test]
    async fn documents_that_are_saved_at_the_same_time_are_all_saved_and_judged_one_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let db = db::Db::open(&folder.path().join("saker.db")).await.unwrap();
        let documents = Documents::new(State::embedded(db));
        documents.save(&key(7), b"late".to_vec(), 9).await.unwrap();
        let keys: Vec<GroupKey> = (0..TOGETHER_MAX + 20).map(key).collect();
        let save = |key| documents.save(key, b"new".to_vec(), 1);
        let outcomes = join_all(keys.iter().map(save)).await;
        for (number, outcome) in outcomes.iter().enumerate() {
            let is_fenced = matches!(outcome, Err(StateError::Fenced { fencing: 1, .. }));
            assert_eq!((outcome.is_ok(), is_fenced), (number != 7, number == 7), "{outcome:?}");
            let expected: &[u8] = if number == 7 { b"late" } else { b"new" };
            assert_eq!(documents.load(&key(number)).await.unwrap().as_deref(), Some(expected));
        }
        assert!(documents.waiting().is_empty());
    }

    #[tokio::test]
    async fn one_whose_writer_was_stopped_is_saved_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let db = db::Db::open(&folder.path().join("saker.db")).await.unwrap();
        let documents = Documents::new(State::embedded(db));
        let turn = documents.writing.lock().await;
        let (key, body) = (key(1), b"new".to_vec());
        let saving = documents.save(&key, body, 1);
        let stopped = async {
            // It waits for its turn by now; somebody takes it up and is stopped.
            drop(std::mem::take(&mut *documents.waiting()));
            drop(turn);
        };
        let (saved, ()) = tokio::join!(saving, stopped);
        saved.unwrap();
        assert_eq!(documents.load(&key).await.unwrap().as_deref(), Some(&b"new"[..]));
    }
}
