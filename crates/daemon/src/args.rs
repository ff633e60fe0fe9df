//! Arguments that every process takes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Flattened into the arguments of each binary.
#[derive(Debug, Clone, Args)]
pub struct CommonArgs {
    /// Configuration file (TOML). Without it the defaults apply.
    #[arg(long, short, global = true, value_name = "FILE", env = "SAKER_CONFIG")]
    pub config: Option<PathBuf>,

    /// What to log: a level, or filters such as `info,judge=debug`.
    #[arg(long, global = true, value_name = "FILTER", env = "SAKER_LOG", default_value = "info")]
    pub log: String,

    /// How to log: `text` for people, `json` for machines. Logs go to standard error.
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        env = "SAKER_LOG_FORMAT",
        default_value = "text"
    )]
    pub log_format: LogFormat,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One readable line an event.
    Text,
    /// One JSON object an event.
    Json,
}
