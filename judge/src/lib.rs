//! judge.
pub mod alert_state;
pub mod humanize;
pub mod slot;
pub mod template;
mod template_functions;
