//! A state on a temporary database.

use db::Db;
use tempfile::TempDir;

use crate::State;

pub(crate) async fn state() -> (State, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&folder.path().join("saker.db")).await.unwrap();
    (State::embedded(db), folder)
}
