//! Named transactions that are tried again when another one was in the way.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::mysql::MySqlDatabaseError;
use sqlx::{MySql, Sqlite};
use tokio::sync::OwnedMutexGuard;

use crate::DbError;
use crate::pool::Pool;
use crate::record::Record;
use crate::statement::Statement;

/// Runs `$work`, which may use `$tx`, in a transaction and commits it. When another transaction was
/// in the way, all of it is rolled back and tried again, a few times; `$work` must therefore have
/// no effect but its statements.
///
/// A macro, because futures of async closures are not known to be `Send`.
macro_rules! in_transaction {
    ($db:expr, $operation:expr, $tx:ident => $work:block) => {{
        let mut tries = $db.tries($operation);
        loop {
            let mut transaction = tries.begin().await?;
            let work = async {
                let $tx = &mut transaction;
                $work
            };
            let outcome = crate::transaction::in_time(tries.timeout(), work).await;
            if let Some(answer) = tries.end(transaction, outcome).await? {
                break Ok(answer);
            }
        }
    }};
}
pub(crate) use in_transaction;

/// How often a transaction is tried in all.
const TRIES_MAX: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(5);

// Numbers of MySQL and MariaDB.
const LOCK_WAIT_TIMEOUT: u16 = 1205;
const DEADLOCK: u16 = 1213;
const RECORD_CHANGED: u16 = 1020;

/// How often transactions were in each other's way since the database was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Tried again because the server chose them as the victim of a deadlock.
    pub deadlocks: u64,
    /// Tried again because a lock was not free in time.
    pub lock_timeouts: u64,
    /// Tried again because somebody else inserted the same key at the same time.
    pub duplicate_keys: u64,
    /// Given up after five tries; the caller got the error.
    pub given_up: u64,
}

/// What was in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Conflict {
    Deadlock,
    LockTimeout,
    DuplicateKey,
}

impl Conflict {
    /// `None` when another try would fail in the same way.
    ///
    /// SQLite's "database is locked" is not among them: `busy_timeout` has waited for the writer
    /// already.
    fn of(error: &sqlx::Error) -> Option<Self> {
        let error = error.as_database_error()?;
        if error.is_unique_violation() {
            return Some(Self::DuplicateKey);
        }
        match error.try_downcast_ref::<MySqlDatabaseError>()?.number() {
            DEADLOCK | RECORD_CHANGED => Some(Self::Deadlock),
            LOCK_WAIT_TIMEOUT => Some(Self::LockTimeout),
            _ => None,
        }
    }
}

/// The counters behind [`Statistics`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    deadlocks: AtomicU64,
    lock_timeouts: AtomicU64,
    duplicate_keys: AtomicU64,
    given_up: AtomicU64,
}

impl Counters {
    pub(crate) fn read(&self) -> Statistics {
        Statistics {
            deadlocks: self.deadlocks.load(Ordering::Relaxed),
            lock_timeouts: self.lock_timeouts.load(Ordering::Relaxed),
            duplicate_keys: self.duplicate_keys.load(Ordering::Relaxed),
            given_up: self.given_up.load(Ordering::Relaxed),
        }
    }

    /// How long to wait before try `tries + 1`; `None` when the failure of this one is final.
    fn pause_after(&self, tries: u32, error: &sqlx::Error) -> Option<Duration> {
        let conflict = Conflict::of(error)?;
        if tries >= TRIES_MAX {
            self.given_up.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let counter = match conflict {
            Conflict::Deadlock => &self.deadlocks,
            Conflict::LockTimeout => &self.lock_timeouts,
            Conflict::DuplicateKey => &self.duplicate_keys,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        Some(FIRST_PAUSE * 2_u32.pow(tries.saturating_sub(1)))
    }
}

/// The tries of one transaction.
pub(crate) struct Tries<'a> {
    pool: &'a Pool,
    counters: &'a Counters,
    timeout: Duration,
    operation: &'static str,
    done: u32,
}

impl<'a> Tries<'a> {
    pub(crate) fn new(
        pool: &'a Pool,
        counters: &'a Counters,
        timeout: Duration,
        operation: &'static str,
    ) -> Self {
        Self { pool, counters, timeout, operation, done: 0 }
    }

    /// The longest that a step of a try may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(crate) async fn begin(&self) -> Result<Transaction, DbError> {
        in_time(self.timeout, self.pool.begin()).await.map_err(DbError::during(self.operation))
    }

    /// Commits, or rolls back. `None` when it is to be tried again.
    pub(crate) async fn end<T>(
        &mut self,
        transaction: Transaction,
        outcome: Result<T, sqlx::Error>,
    ) -> Result<Option<T>, DbError> {
        let error = match outcome {
            Ok(answer) => match in_time(self.timeout, transaction.commit()).await {
                Ok(()) => return Ok(Some(answer)),
                Err(error) => error,
            },
            Err(error) => {
                // The error of the statement is the one that matters; a lost connection is rolled
                // back by the server.
                let _ = in_time(self.timeout, transaction.rollback()).await;
                error
            }
        };
        self.wait(error).await.map(|()| None)
    }

    /// Waits for the next try, or answers that there is none.
    pub(crate) async fn wait(&mut self, error: sqlx::Error) -> Result<(), DbError> {
        let operation = self.operation;
        self.done += 1;
        let Some(pause) = self.counters.pause_after(self.done, &error) else {
            return Err(DbError::Query { operation, source: error });
        };
        tracing::debug!(operation, tries = self.done, %error, "another transaction was in the way; trying again");
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// The answer, or a time-out.
pub(crate) async fn in_time<T>(
    timeout: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    match tokio::time::timeout(timeout, work).await {
        Ok(outcome) => outcome,
        Err(_) => {
            Err(std::io::Error::new(ErrorKind::TimedOut, "the database does not answer").into())
        }
    }
}

/// A transaction that has begun; without [`Transaction::commit`] nothing of it stays.
#[derive(Debug)]
pub(crate) enum Transaction {
    /// With the turn to write, which ends after it.
    Sqlite(sqlx::Transaction<'static, Sqlite>, OwnedMutexGuard<()>),
    Mysql(sqlx::Transaction<'static, MySql>),
}

impl Transaction {
    pub(crate) fn is_sqlite(&self) -> bool {
        matches!(self, Self::Sqlite(..))
    }

    /// How many rows the statement changed; for an UPDATE, how many it found.
    pub(crate) async fn execute(&mut self, statement: Statement) -> Result<u64, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(tx, _) => statement.for_sqlite().execute(&mut **tx).await?.rows_affected(),
            Self::Mysql(tx) => statement.for_mysql().execute(&mut **tx).await?.rows_affected(),
        })
    }

    /// All rows of the answer.
    pub(crate) async fn records(
        &mut self,
        statement: Statement,
    ) -> Result<Vec<Record>, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(tx, _) => {
                let rows = statement.for_sqlite().fetch_all(&mut **tx).await?;
                rows.into_iter().map(Record::Sqlite).collect()
            }
            Self::Mysql(tx) => {
                let rows = statement.for_mysql().fetch_all(&mut **tx).await?;
                rows.into_iter().map(Record::Mysql).collect()
            }
        })
    }

    /// The first row of the answer.
    pub(crate) async fn record(
        &mut self,
        statement: Statement,
    ) -> Result<Option<Record>, sqlx::Error> {
        Ok(self.records(statement).await?.into_iter().next())
    }

    async fn commit(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(tx, _turn) => tx.commit().await,
            Self::Mysql(tx) => tx.commit().await,
        }
    }

    async fn rollback(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(tx, _turn) => tx.rollback().await,
            Self::Mysql(tx) => tx.rollback().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_fail_again_is_not_tried_again() {
        let counters = Counters::default();
        assert_eq!(counters.pause_after(1, &sqlx::Error::PoolTimedOut), None);
        assert_eq!(counters.read(), Statistics::default());
    }
}
