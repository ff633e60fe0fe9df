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
use tikv_jemallocator::Jemalloc;

use crate::cli::{Cli, Command};

/// glibc keeps what a storm of requests took, in an arena for every thread. This one gives it back within moments.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Command::CheckConfig => check::run(&cli.common),
        Command::Ctl(command) => ctl::run(&cli.common, command),
        Command::Run(role) => roles::run(&cli.common, role),
    }
}
