//! judge.
pub mod alert_state;
pub mod humanize;
pub mod outbox;
pub mod slot;
pub mod template;
mod template_check;
mod template_functions;
