//! hbs over HTTP, with a real database and a stand-in transfer.
#![cfg(test)]

mod ages;
mod hbs;
mod heartbeats;
