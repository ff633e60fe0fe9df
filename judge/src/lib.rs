//! judge evaluates rules: it asks the store what a rule wants to know, holds the state of its alerts over
//! restarts, and hands alerts to the alarms without ever making a false end of an outage, a backlog or a
//! restart.

mod app;
mod config;

mod rule_set;

mod active_times;
mod presence;
mod rule_extras;
mod rule_fault;
mod rule_file;
mod rule_spec;
mod rules;

mod arrival;
mod scheduler;
mod slot;
mod tick;

mod balance;
mod circle;
mod shard;

mod alerting;
mod answer;
mod chart;
mod eval;
mod evidence;
mod pass;
mod plain_text;
mod query;
mod question;
mod record;
mod wave;

mod alert_state;
mod continuity;
mod documents;
mod group;
mod no_data;

#[cfg(test)]
mod alert_backtest;
#[cfg(test)]
mod alert_extensions;
#[cfg(test)]
mod alert_imported;
#[cfg(test)]
mod alert_outages;
#[cfg(test)]
mod alert_sentences;

mod alarm;
mod deliver;
#[cfg(test)]
mod deliver_soak;
mod lateness;
mod outbox;
mod pace;
mod told;

mod expand;
mod template;
mod template_functions;
mod template_scene;

mod api;
mod board;
mod http;
mod manage;

mod explain;
mod metrics;
mod text;
mod web;

mod backtest;
mod backtest_report;
mod check;
mod format;
mod unit_test;

pub use alarm::AlarmConfig;
pub use app::{Deps, start};
pub use check::{CheckReport, check_rule_file, check_rules, pick_rule};
pub use config::Config;
pub use format::format_rules;
pub use http::BACKTEST_TIMEOUT;
pub use rule_fault::Fault;
pub use rule_set::{HOST_RULES, HOST_RULES_FILE, check_rule_files};
pub use unit_test::{TestReport, run_test_file};
