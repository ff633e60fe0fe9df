//! apiproxy as Grafana and curl see it: real requests over HTTP, the store in memory.
#![cfg(test)]

mod browse;
mod catalogue;
mod datacenters;
mod falcon;
mod federation;
mod grafana;
mod hostile;
mod parse;
mod query;
mod rules;
mod service;
mod targets;
mod users;
mod world;
