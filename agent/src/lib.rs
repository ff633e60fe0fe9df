//! The agent: measures its host every few seconds, takes samples from local programs, and sends all of it to
//! a transfer.
//!
//! `host` reads the kernel's tables, `collect` turns them into readings under the names of the `catalogue`,
//! `rounds` runs the collectors slot by slot, `batch` encodes what they found, `outbox` and `spool` keep it
//! until `send` has found a transfer that takes it. `receive` is the door for local programs, `heartbeat`
//! tells hbs that the host lives.

pub mod app;
pub mod batch;
pub mod catalogue;
pub mod cli;
pub mod collect;
pub mod config;
pub mod heartbeat;
pub mod host;
pub mod inventory;
pub mod metrics;
pub mod outbox;
pub mod receive;
pub mod rounds;
pub mod send;
pub mod slots;
pub mod sntp;
pub mod spool;
pub mod upgrade;
pub mod version;
pub mod worker;
