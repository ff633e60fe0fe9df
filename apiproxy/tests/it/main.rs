//! apiproxy as Grafana and curl see it: real requests over HTTP, the store in memory.

mod browse;
mod falcon;
mod faults;
mod federation;
mod gate;
mod grafana;
mod hostile;
mod kept;
mod parse;
mod query;
mod replicas;
mod rules;
mod service;
