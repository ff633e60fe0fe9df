//! apiproxy answers the Prometheus HTTP API from the store, so that Grafana and everything else
//! that speaks it works.

mod app;
mod breaker;
mod browse;
mod cache;
mod call;
mod catalogue;
mod config;
mod error;
mod falcon;
mod federate;
mod hedge;
mod http;
mod learn;
mod merge;
mod metrics;
mod params;
mod partial;
mod query;
mod rules;
mod site;

pub use app::{Deps, start};
pub use config::{Config, DataCentreConfig};
pub use site::DataCentre;
