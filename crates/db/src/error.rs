//! What can go wrong with the SQL store.

use std::path::PathBuf;

use thiserror::Error;

/// An error of the SQL store; the cause is its source.
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
    /// The schema cannot be brought up to date; a database written by a newer Saker is refused here.
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
    /// For `map_err`: names the operation that failed.
    pub(crate) fn during(operation: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Query { operation, source }
    }
}
