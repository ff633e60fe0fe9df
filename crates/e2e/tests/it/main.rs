//! What a user sees: the binaries as they ship, real neighbours, real files.
#![cfg(test)]

mod stack;

mod bad_input;
mod borders;
mod browser;
mod crash;
mod differential;
mod forwarding;
mod main_job;
mod metrics_page;
mod picture;
mod prometheus;
mod quickstart;
mod servers;
