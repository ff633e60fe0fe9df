//! transfer as its clients see it: real requests over HTTP, the store in memory.

mod falcon_push;
mod limits;
mod remote_write;
mod service;
