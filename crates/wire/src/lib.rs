//! Bytes to the words of `model` and back, one module a format: outer standards and our own
//! messages alike.
//!
//! Nothing here does I/O, knows the time or keeps state; [`known`] is memory that a caller owns.
//! Every decoder takes hostile bytes: it has a limit, never panics, and says of each thing it refuses
//! what was wrong with it.

pub mod remote_write;

pub mod known;

pub mod falcon_event;
pub mod falcon_json;

pub mod json_rpc;

pub mod falcon_hbs;

pub mod line;

pub mod opentsdb;

pub mod influx;

pub mod exposition;

pub mod heartbeat;

pub mod host_feed;

pub mod alert;
pub mod alert_body;

pub mod silence;

pub mod prom_api;

pub mod prom_answer;

mod json_text;
mod protobuf;
mod tags;
