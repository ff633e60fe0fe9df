//! apiproxy as Grafana and curl see it: real requests over HTTP, the store in memory.

mod browse;
mod grafana;
mod hostile;
mod query;
mod rules;
mod service;
