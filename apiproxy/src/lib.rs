//! apiproxy answers the Prometheus HTTP API from the store, so that Grafana and everything else
//! that speaks it works.

mod app;
mod browse;
mod config;
mod error;
mod falcon;
mod http;
mod metrics;
mod params;
mod query;
mod rules;

pub use app::{Deps, start};
pub use config::Config;
