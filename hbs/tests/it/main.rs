//! hbs over HTTP, with a real database and a stand-in transfer.
#![cfg(test)]

mod ages;
mod bundles;
mod feed;
mod groups;
mod hbs;
mod heartbeats;
mod hosts;
mod install;
mod rollout;
mod rpc;
mod several;
mod upgrade_calls;
mod upgrade_files;
mod upgrades;
