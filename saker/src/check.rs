//! `saker check-config`.

use std::process::ExitCode;

use daemon::{CommonArgs, ExitReason};

use crate::config::Config;
use crate::table::say;

/// Reads the configuration and the rule files it names, and lists what is wrong with them.
pub(crate) fn run(common: &CommonArgs) -> ExitCode {
    let config = match Config::load(common, None) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("saker: {error}");
            return ExitReason::Usage.into();
        }
    };
    let faults = judge::check_rule_files(&config.judge.rule_files);
    if !faults.is_empty() {
        for fault in &faults {
            eprintln!("saker: {fault}");
        }
        return ExitReason::Usage.into();
    }
    match &common.config {
        Some(path) => say(&format!("{}: the configuration is valid", path.display())),
        None => say("no --config given: the embedded defaults are valid"),
    }
    ExitReason::Clean.into()
}
