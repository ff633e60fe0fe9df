//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use daemon::CommonArgs;

use crate::ctl;

/// Monitoring for fleets of Linux hosts, in the manner of Open-Falcon, that speaks Prometheus.
#[derive(Debug, Parser)]
#[command(
    name = "saker",
    version,
    after_help = "Examples:\n  \
        saker standalone --data-dir ./data            all central roles on this machine\n  \
        saker judge --config /etc/saker/saker.toml    one role\n  \
        saker check-config --config saker.toml        list every fault of a configuration\n  \
        saker ctl query 'avg by (endpoint) (cpu_idle)'\n\n\
        Exit codes: 0 stopped as asked, 1 failed while running, 2 wrong arguments or configuration,\n\
        3 the surroundings do not allow a start (busy port, data directory)."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Read the configuration, list all its faults, and end.
    #[command(after_help = "Example:\n  saker check-config --config /etc/saker/saker.toml")]
    CheckConfig,
    /// Ask a running Saker.
    #[command(subcommand)]
    Ctl(ctl::Command),
    #[command(flatten)]
    Run(RunCommand),
}

/// Which roles to run in this process.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub(crate) enum RunCommand {
    /// All central roles in one process.
    #[command(after_help = "Example:\n  saker standalone --data-dir /var/lib/saker")]
    Standalone(RunArgs),
    /// Take samples, check them, write them to the store.
    #[command(after_help = "Example:\n  saker transfer --config /etc/saker/saker.toml")]
    Transfer(RunArgs),
    /// Take heartbeats and know the hosts.
    #[command(after_help = "Example:\n  saker hbs --config /etc/saker/saker.toml")]
    Hbs(RunArgs),
    /// Evaluate rules and hand alerts to alarm.
    #[command(after_help = "Example:\n  saker judge --config /etc/saker/saker.toml")]
    Judge(RunArgs),
    /// Take alerts, tell people, show the alarm view.
    #[command(after_help = "Example:\n  saker alarm --config /etc/saker/saker.toml")]
    Alarm(RunArgs),
    /// Answer queries with the Prometheus HTTP API.
    #[command(after_help = "Example:\n  saker apiproxy --config /etc/saker/saker.toml")]
    Apiproxy(RunArgs),
}

/// Settings that may also stand on the command line; they go before the configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct RunArgs {
    /// Where samples, rules, hosts and alerts are kept.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Rule file in Prometheus' format; may be given several times, and replaces those of the configuration.
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: Vec<PathBuf>,
}

impl RunCommand {
    /// The arguments of whichever role it is.
    pub(crate) fn args(&self) -> &RunArgs {
        match self {
            Self::Standalone(args)
            | Self::Transfer(args)
            | Self::Hbs(args)
            | Self::Judge(args)
            | Self::Alarm(args)
            | Self::Apiproxy(args) => args,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        for command in Cli::command().get_subcommands_mut() {
            let help = command.clone().render_long_help().to_string();
            assert!(
                help.contains("Example") || command.has_subcommands(),
                "{} --help has no example",
                command.get_name()
            );
        }
    }
}
