//! transfer takes samples in every format, puts them through one corridor of limits and checks, and
//! answers when the store has them.

mod app;
mod config;
mod counters;
mod endpoints;
mod gate;
mod http;
mod ingest;
mod insight;
mod metrics;
mod names;
mod reason;
mod receive;
mod store_metrics;
mod trace;

pub use app::{Addresses, Deps, start};
pub use config::Config;
pub use model::{Action, RelabelRule};
