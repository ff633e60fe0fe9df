//! transfer as its clients see it: real requests over HTTP and raw sockets, the store in memory.

#![cfg(test)]

mod falcon_push;
mod forwarding;
mod insight;
mod json_rpc;
mod limits;
mod line;
mod other_formats;
mod relabel;
mod remote_write;
mod service;
mod sink;
mod tokens;
mod transcripts;
