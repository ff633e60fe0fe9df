//! What a user sees: the binaries as they ship, real neighbours, real files.
#![cfg(test)]

mod alarm_process;
mod stack;

mod alarm_kills;
mod alarm_mutes;
mod alarm_secrets;
mod alertmanager;
mod amtool;
mod bad_input;
mod borders;
mod browser;
mod crash;
mod differential;
mod event_kills;
mod fleet;
mod forwarding;
mod import;
mod judge_fleet;
mod judges;
mod main_job;
mod metrics_page;
mod packages;
mod picture;
mod prometheus;
mod quickstart;
mod remote_store;
mod servers;
mod templates;
mod upgrade;
mod upgrade_fleet;
mod upgrade_host;
mod upgrade_power_cuts;
mod write_tap;
