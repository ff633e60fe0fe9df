//! Behaviour of the agent: over trees of other kernels, against stand-ins for transfer and hbs, and as a
//! process.
#![expect(clippy::unwrap_used, reason = "a wrong assumption of a test fails the test")]

mod commands;
mod desired;
mod fixtures;
mod heartbeat;
mod jobs;
mod kernels;
mod outage;
mod process;
mod programs;
mod push;
mod rounds;
mod send;
mod stand_in;
mod tiers;
mod upgrade_files;
mod upgrade_model;
mod upgrade_offers;
