//! All channels alike, through what the crate shows: what their answers mean, how long a text may be, and what a
//! hostile host can do with its texts.

#![cfg(test)]

mod bots;
mod codes;
mod hostile;
mod sizes;
