//! The agent: measures its host every few seconds, takes samples from local programs, and sends all of it to
//! a transfer.
//!
//! `host` reads the kernel's tables, `collect` turns them into readings under the names of the `catalogue`,
//! `rounds` runs the collectors slot by slot, `batch` encodes what they found, `outbox` and `spool` keep it
//! until `send` has found a transfer that takes it. `receive` is the door for local programs, `heartbeat`
//! tells hbs that the host lives and hears what state it should be in; `desired` makes the `plan` of that and
//! of the configuration, and `jobs` runs the checks, plugins and scrapes that are in it.

pub mod app;
pub mod batch;
pub mod catalogue;
pub mod check;
pub mod cli;
pub mod collect;
pub mod config;
pub mod desired;
pub mod heartbeat;
pub mod host;
pub mod identity;
pub mod inventory;
pub mod jobs;
pub mod metrics;
pub mod outbox;
pub mod plan;
pub mod plugin;
pub mod receive;
pub mod relabel;
pub mod rounds;
pub mod scrape;
pub mod send;
pub mod slots;
pub mod sntp;
pub mod spool;
pub mod status;
pub mod upgrade;
pub mod version;
pub mod worker;
