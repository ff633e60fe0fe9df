//! apiproxy as Grafana and curl see it: real requests over HTTP, the store in memory.

mod browse;
mod falcon;
mod federation;
mod grafana;
mod hostile;
mod parse;
mod query;
mod rules;
mod service;
