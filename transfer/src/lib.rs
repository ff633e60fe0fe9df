//! transfer takes samples in every format, puts them through one corridor of limits and checks, and
//! answers when the store has them.

mod app;
mod config;
mod counters;
mod destination;
mod destination_metrics;
mod endpoints;
mod express;
mod forward;
mod gate;
mod http;
mod ingest;
mod insight;
mod metrics;
mod names;
mod outlet;
mod queue;
mod quota;
mod reason;
mod receive;
mod route;
mod store_metrics;
mod tokens;
mod trace;

pub use app::{Addresses, Deps, start};
pub use config::{Config, Destination, TokenConfig};
pub use model::{Action, RelabelRule};
pub use queue::WhenFull;
pub use route::{Hash, HashBy};
