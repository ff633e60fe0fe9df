//! The central binary of Saker: every role, and the tools of an operator.

mod check;
mod cli;
mod config;
mod ctl;
mod ctl_upgrade;
mod data_dir;
mod roles;
mod stores;
mod table;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Command::CheckConfig => check::run(&cli.common),
        Command::Ctl(command) => ctl::run(&cli.common, command),
        Command::Run(role) => roles::run(&cli.common, role),
    }
}
