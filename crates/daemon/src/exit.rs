//! How a process ends, as documented in the operator guide.

use std::fmt;
use std::process::ExitCode;

/// Why a process ends; the number is its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitReason {
    /// Asked to stop, and stopped in order.
    Clean = 0,
    /// Something failed while running.
    Failed = 1,
    /// Wrong arguments or configuration; nothing was started.
    Usage = 2,
    /// The surroundings do not allow a start: a busy port, a data directory that cannot be written.
    Environment = 3,
}

impl From<ExitReason> for ExitCode {
    fn from(reason: ExitReason) -> Self {
        ExitCode::from(reason as u8)
    }
}

/// An error at start that knows its exit code. Its text is the whole message for the operator.
#[derive(Debug)]
pub struct StartError {
    reason: ExitReason,
    message: String,
}

impl StartError {
    /// Wrong arguments or configuration.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { reason: ExitReason::Usage, message: message.into() }
    }

    /// The surroundings do not allow a start.
    pub fn environment(message: impl Into<String>) -> Self {
        Self { reason: ExitReason::Environment, message: message.into() }
    }

    /// The exit code that an error chain asks for: that of a `StartError` in it, else "failed".
    pub fn reason_of(error: &anyhow::Error) -> ExitReason {
        error
            .chain()
            .find_map(|cause| cause.downcast_ref::<Self>())
            .map_or(ExitReason::Failed, |start| start.reason)
    }
}

/// An error with all its causes on one line, for an answer to a client; logs take the error itself.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StartError {}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_chain_names_every_cause_in_order() {
        let error =
            anyhow::anyhow!("disk full").context("append to the log").context("store a batch");
        assert_eq!(error_chain(error.as_ref()), "store a batch: append to the log: disk full");
    }

    #[test]
    fn the_exit_code_survives_added_context() {
        let error = Err::<(), _>(StartError::environment("port busy"))
            .context("start transfer")
            .expect_err("an error");
        assert_eq!(StartError::reason_of(&error), ExitReason::Environment);
        assert_eq!(StartError::reason_of(&anyhow::anyhow!("disk")), ExitReason::Failed);
    }
}
