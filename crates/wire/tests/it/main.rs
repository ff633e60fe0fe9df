//! The formats as the programs at the other end of the wire write and read them.

mod alertmanager;
mod falcon;
mod open_metrics;
mod remote_write;
