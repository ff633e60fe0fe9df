//! Who works with the alerts in an SQLite file.
//!
//! A journal is known to one process alone: another one that wrote to the tables beside it, or to the journal, would
//! lose alerts. So an alarm locks a file beside the database. The lock ends with the process, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::DbError;

/// The name of the lock is that of the database and this.
const SUFFIX: &str = "-alarm.lock";
/// For so long the one before may need to end.
const TRIES: u32 = 30;
const PAUSE: Duration = Duration::from_millis(100);

/// The lock, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    _file: File,
}

impl Hold {
    /// Takes the lock of this database; waits some seconds for the one before to end.
    pub(super) async fn take(database: &Path) -> Result<Self, DbError> {
        let mut path = database.as_os_str().to_owned();
        path.push(SUFFIX);
        let path = PathBuf::from(path);
        let open = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = open.map_err(|source| DbError::Lock { path: path.clone(), source })?;
        for _ in 0..TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(PAUSE).await,
                Err(TryLockError::Error(source)) => return Err(DbError::Lock { path, source }),
            }
        }
        Err(DbError::InUse { path })
    }
}
