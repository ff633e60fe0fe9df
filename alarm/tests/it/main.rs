//! Alarm from outside: over HTTP, with a real store, a webhook that remembers and a clock that the test moves.

mod api;
mod delivery;
mod harness;
mod restart;
mod web;
