//! apiproxy as Grafana and curl see it: real requests over HTTP, the store in memory.
#![cfg(test)]

mod browse;
mod catalogue;
mod datacenters;
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
mod targets;
mod users;
mod world;
