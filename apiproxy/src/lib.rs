//! apiproxy answers the Prometheus HTTP API from the store, so that Grafana and everything else
//! that speaks it works.

mod app;
mod bits;
mod breaker;
mod browse;
mod cache;
mod call;
mod catalogue;
mod census;
mod centres;
mod config;
mod datacenters;
mod error;
mod falcon;
mod federate;
mod follow;
mod gate;
mod hbs;
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
mod site_set;
mod spec;
mod targets;

pub use app::{Deps, start};
pub use centres::ComingDb;
pub use config::{Config, DataCentreConfig};
pub use site::DataCentre;
