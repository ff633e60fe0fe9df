//! hbs takes heartbeats: it knows every host, tells agents what to run, and makes "how long has this host been silent"
//! a series that rules can ask for.

mod age;
mod app;
mod config;
mod fleet;
mod http;
mod install;
mod metrics;
mod rollout;
mod upgrade_http;
mod upgrades;
mod writer;

pub use app::{Deps, start};
pub use config::Config;
pub use upgrades::UpgradeConfig;
