//! Logs to standard error, where journald and containers pick them up.

use std::io;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::args::LogFormat;
use crate::{CommonArgs, StartError};

/// Starts logging as the arguments say. A second call in one process is harmless: the first stays.
pub fn init_log(args: &CommonArgs) -> Result<(), StartError> {
    // Levels and targets are all that `--log` promises. `EnvFilter` would bring a regular-expression engine for
    // filters by the fields of spans, a tenth of the agent's binary.
    let filter: Targets = args.log.parse().map_err(|error| {
        StartError::usage(format!(
            "--log {:?}: {error}; write a level (info) or filters (info,judge=debug)",
            args.log
        ))
    })?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(io::stderr);
    let installed = match args.log_format {
        LogFormat::Text => {
            registry.with(layer.with_ansi(io::IsTerminal::is_terminal(&io::stderr()))).try_init()
        }
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    if installed.is_err() {
        tracing::debug!("logging was already set up");
    }
    Ok(())
}
