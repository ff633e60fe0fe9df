//! Self-upgrade.

pub mod trial;
