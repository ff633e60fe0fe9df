//! hbs over HTTP, with a real database and a stand-in transfer.
#![cfg(test)]

mod ages;
mod hbs;
mod heartbeats;
mod install;
mod rollout;
mod upgrade_calls;
mod upgrade_files;
mod upgrades;
