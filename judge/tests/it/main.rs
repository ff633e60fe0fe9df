//! Behaviour of judge with a real store, a real database, a stand-in alarm, and a clock that the test moves.
#![cfg(test)]

mod alarm;
mod alerts;
mod api;
mod arrival;
mod compliance;
mod delivery;
mod explain;
mod faults;
mod host_rules;
mod metrics;
mod recording;
mod relabel;
mod restart;
mod rule_groups;
mod sharding;
mod unit_tests;
mod web;
mod world;
