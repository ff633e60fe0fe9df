//! What can go wrong with the SQL store.

use std::path::PathBuf;

use thiserror::Error;

/// An error of the SQL store; the cause is its source. No variant holds a password.
#[derive(Debug, Error)]
pub enum DbError {
    /// The database file cannot be opened or created.
    #[error("open the database {path}: check that the directory exists and is writable")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
    /// The address of the database cannot be understood.
    #[error("the address of the database is not valid: {reason}")]
    Address {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The database server cannot be reached, or does not let us in.
    #[error("connect to the database {address}")]
    Connect {
        /// Its address, without the password.
        address: String,
        /// Why.
        source: sqlx::Error,
    },
    /// The database server is too old.
    #[error(
        "the database server is version {version}: MariaDB 10.6, MySQL 8.0.17 or newer is needed"
    )]
    Unsupported {
        /// What it says it is.
        version: String,
    },
    /// A newer Saker has changed the schema. Nothing was written.
    #[error(
        "a newer Saker wrote this database (schema {found}, this one knows {known}): upgrade this one"
    )]
    Newer {
        /// Number of the database's schema.
        found: i64,
        /// Number of the newest schema known here.
        known: i64,
    },
    /// Another process is changing the schema and did not end within five minutes.
    #[error(
        "another process is bringing the database schema up to date: start this one when it is done"
    )]
    MigrateLocked,
    /// Another alarm works with the alerts in this SQLite file. Nothing was written.
    #[error(
        "another alarm holds {path} and works with this database: end it, or let both share a database \
         server (db.url) and a Redis (state.redis_url)"
    )]
    InUse {
        /// Its lock.
        path: PathBuf,
    },
    /// The lock beside the SQLite file cannot be had.
    #[error("lock {path}: check that the directory is writable")]
    Lock {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The schema cannot be brought up to date.
    #[error("bring the database schema up to date")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// A statement failed.
    #[error("{operation} in the database")]
    Query {
        /// What was being done.
        operation: &'static str,
        /// Why it failed.
        source: sqlx::Error,
    },
}

impl DbError {
    /// Whether the database server cannot be reached now, so that trying again later may help.
    pub fn is_away(&self) -> bool {
        use sqlx::Error::{Io, PoolTimedOut};
        matches!(self, Self::Connect { source: Io(_) | PoolTimedOut, .. })
    }

    /// For `map_err`: names the operation that failed.
    pub(crate) fn during(operation: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Query { operation, source }
    }
}
