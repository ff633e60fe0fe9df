//! What every Saker process does, once: arguments, configuration, logs, metrics, health, signals, named tasks,
//! an orderly stop, and one HTTP client.
//!
//! A service is a function `start(config, dependencies, &Context)`. [`run`] builds the [`Context`], calls it, waits for
//! a signal, and stops the tasks in the reverse order of their start.

mod args;
mod clock;
mod config;
mod context;
mod door;
mod exit;
mod http_client;
mod listener;
mod log;
mod notify;
mod open_files;
#[cfg(feature = "pages")]
pub mod page;
mod poster;
mod run;
mod server;
mod shared_metric;
mod tcp;

pub use args::CommonArgs;
pub use clock::Clock;
pub use config::{ConfigError, Faults, load_config, parse_config};
pub use context::{Context, Stop};
pub use door::{Caller, Door, foreign};
pub use exit::{ExitReason, StartError, error_chain};
pub use http_client::http_client;
pub use listener::Connection;
pub use log::init_log;
pub use poster::{Answered, PostError, Poster, Target};
pub use run::{RuntimeKind, run};
pub use server::PeerAddr;
pub use shared_metric::share_metric;
pub use tcp::TcpSettings;
