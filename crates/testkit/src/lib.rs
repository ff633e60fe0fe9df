//! What tests share: real processes on free ports, Redis and MariaDB among them, a webhook that
//! remembers, waiting for a condition.
//!
//! A dev-dependency only; nothing here ships.

mod contexts;
pub mod falcon_judge;
mod file_server;
mod ports;
mod process;
mod servers;
mod wait;
mod webhook;

pub use contexts::context_at;
pub use file_server::{Asked, Fault, FileServer};
pub use ports::free_port;
pub use process::{Process, binary, program};
pub use servers::{MariaDb, Redis};
pub use wait::{eventually, get_json, get_text};
pub use webhook::Webhook;
