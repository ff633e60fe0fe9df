//! transfer takes samples in every format, puts them through one corridor of limits and checks, and
//! answers when the store has them.

mod app;
mod config;
mod gate;
mod http;
mod ingest;
mod metrics;
mod names;
mod reason;
mod receive;
mod relabel;
mod store_metrics;

pub use app::{Addresses, Deps, start};
pub use config::Config;
pub use relabel::{Action, RelabelRule};
