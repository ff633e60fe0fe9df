//! The connection to the database.

use std::path::Path;
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use crate::migrate::migrator;
use crate::{Alerts, DbError, Hosts, RuleGroups, StateTables};

// One writer at a time is SQLite's nature; the other connections let reads go on beside it.
const CONNECTIONS_MAX: u32 = 4;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The SQL store. Clones share the connections.
#[derive(Debug, Clone)]
pub struct Db {
    pool: SqlitePool,
}

impl Db {
    /// Opens or creates the database file and brings its schema up to date.
    ///
    /// A commit is with the operating system when it returns (`synchronous = NORMAL` on a write-ahead log): it
    /// survives the end of the process at any moment. A power cut may undo the last commits, never half of one. Syncing
    /// every commit would make a busy disk, which syncs two hundred times a second, the limit of the alarm path.
    pub async fn open(path: &Path) -> Result<Self, DbError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .connect_with(options)
            .await
            .map_err(|source| DbError::Open { path: path.to_owned(), source })?;
        migrator().run(&pool).await.map_err(DbError::Migrate)?;
        Ok(Self { pool })
    }

    /// Hosts and their heartbeats.
    pub fn hosts(&self) -> Hosts<'_> {
        Hosts { pool: &self.pool }
    }

    /// Rule groups created by API.
    pub fn rule_groups(&self) -> RuleGroups<'_> {
        RuleGroups { pool: &self.pool }
    }

    /// Alerts, their history and their notifications.
    pub fn alerts(&self) -> Alerts<'_> {
        Alerts { pool: &self.pool }
    }

    /// The tables behind the embedded shared state.
    pub fn state(&self) -> StateTables<'_> {
        StateTables { pool: &self.pool }
    }

    /// Closes the connections and writes the log back into the database file.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn opening_twice_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("saker.db");
        Db::open(&path).await.unwrap().close().await;
        Db::open(&path).await.unwrap().close().await;
    }

    #[tokio::test]
    async fn a_database_of_a_newer_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("saker.db");
        let db = Db::open(&path).await.unwrap();
        sqlx::query("INSERT INTO _sqlx_migrations VALUES (9999, 'later', 0, TRUE, x'00', 1)")
            .execute(&db.pool)
            .await
            .unwrap();
        db.close().await;
        assert!(matches!(Db::open(&path).await, Err(DbError::Migrate(_))));
    }

    #[tokio::test]
    async fn a_missing_directory_is_named() {
        let error = Db::open(Path::new("/nonexistent/saker.db")).await.expect_err("no such directory");
        assert!(error.to_string().contains("/nonexistent/saker.db"), "{error}");
    }
}
