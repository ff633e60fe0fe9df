//! Logs to standard error, where journald and containers pick them up.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::args::LogFormat;
use crate::{CommonArgs, StartError};

/// Starts logging as the arguments say. A second call in one process is harmless: the first stays.
pub fn init_log(args: &CommonArgs) -> Result<(), StartError> {
    let filter = EnvFilter::try_new(&args.log).map_err(|error| {
        StartError::usage(format!(
            "--log {:?}: {error}; write a level (info) or filters (info,judge=debug)",
            args.log
        ))
    })?;
    let builder = fmt().with_env_filter(filter).with_writer(io::stderr);
    let installed = match args.log_format {
        LogFormat::Text => {
            builder.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).finish().try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    };
    if installed.is_err() {
        tracing::debug!("logging was already set up");
    }
    Ok(())
}
