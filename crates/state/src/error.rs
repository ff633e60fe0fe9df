//! What can go wrong with shared state.

use db::DbError;
use thiserror::Error;

/// An error of the shared state. No variant holds a password.
#[derive(Debug, Error)]
pub enum StateError {
    /// The store behind it failed. Nothing was changed, or it is unknown whether it was: every verb
    /// may be repeated.
    #[error("shared state is not available")]
    Store(#[from] DbError),
    /// Redis failed. Nothing was changed, or it is unknown whether it was: every verb may be
    /// repeated.
    #[error("{operation} in Redis")]
    Redis {
        /// What was being done.
        operation: &'static str,
        /// Why it failed.
        source: redis::RedisError,
    },
    /// The address of Redis, or the certificates for it, cannot be understood.
    #[error(
        "the address of Redis is not valid: it must be like redis://user:password@host:6379/0, or rediss:// for TLS, with certificates that can be read"
    )]
    RedisAddress,
    /// A later holder of the lease has written already; who gets this has lost its lease and must
    /// stop writing.
    #[error("the {kind} {key:?} was written by a later holder of its lease than number {fencing}")]
    Fenced {
        /// Kind of the document.
        kind: String,
        /// Key of the document.
        key: String,
        /// The fencing number that is too old.
        fencing: u64,
    },
}
