//! The agent's process.

use std::process::ExitCode;

fn main() -> ExitCode {
    saker_agent::cli::main()
}
