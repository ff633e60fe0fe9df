//! The SQL store: one module a table group, and the only place with SQL text.
//!
//! Today it is SQLite, embedded in the process. The schema lives in `/sql`, one folder for every database
//! (`docs/adr/0001-one-migrations-folder.md`). Conventions: times are milliseconds in BIGINT, keys VARCHAR(190),
//! identifiers are made by the application.

pub mod alerts;
mod error;
mod hosts;
mod migrate;
mod pool;
mod rules;
mod state;

pub use alerts::Alerts;
pub use error::DbError;
pub use hosts::{HostRow, Hosts};
pub use pool::Db;
pub use rules::{RuleGroupRow, RuleGroups};
pub use state::{EventRow, LeaseRow, StateTables};
