//! judge.
pub mod alert_state;
pub mod slot;
