//! hbs takes heartbeats: it knows every host, tells agents by groups what to run, and makes "how long has this host
//! been silent" a series that rules can ask for.

mod app;
mod bundle;
mod changes;
mod config;
mod desired;
mod digest;
mod door;
mod falcon;
mod files;
mod fleet;
mod group;
mod heartbeat;
mod http;
mod install;
mod metrics;
mod rollout;
mod rpc;
mod series;
mod share;
mod snapshot;
mod trail;
mod upgrade_http;
mod upgrades;
mod upkeep;
mod writer;

pub use app::{Addresses, Deps, start};
pub use config::Config;
pub use upgrades::UpgradeConfig;
