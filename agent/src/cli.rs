//! The command line.

mod ask;
mod configuration;
mod diagnose;
mod measure;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use daemon::{CommonArgs, ExitReason, RuntimeKind, StartError};

use crate::app;
use crate::config::Config;
use crate::config::layers::Layered;
use crate::upgrade::command::{LaunchFlags, UpgradeCommand};
use crate::version::version;
use ask::PushArgs;
use configuration::ConfigCommand;

const EXAMPLES: &str = "\
Examples:
  saker-agent --config /etc/saker/agent.toml
      measure this host and send to the transfer of the configuration
  saker-agent --transfer http://10.0.0.5:6060 --hbs http://10.0.0.5:6031 --data-dir ./data/agent
      the same without a file
  saker-agent collect disk
      print what one group of metrics says now
  saker-agent check --config /etc/saker/agent.toml
      check the file and every collector

Without --config, /etc/saker/agent.toml is read if it is there; then the *.toml files of the folder beside it
whose name ends in .d, such as /etc/saker/agent.d.

Exit codes: 0 done, 1 a failure while running, 2 wrong arguments or configuration,
  3 a busy port or an unusable folder.";

/// Measures this host and sends what it finds to Saker.
#[derive(Debug, Parser)]
#[command(name = "saker-agent", version, about, after_help = EXAMPLES)]
pub struct Cli {
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    flags: Flags,
    /// Print JSON for machines.
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    launch: LaunchFlags,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Settings that go before the configuration file.
#[derive(Debug, Clone, Default, Args)]
struct Flags {
    /// Address of a transfer; may be given several times.
    #[arg(long, global = true, value_name = "URL", env = "SAKER_TRANSFER", value_delimiter = ',')]
    transfer: Vec<String>,
    /// Address of an hbs; may be given several times.
    #[arg(long, global = true, value_name = "URL", env = "SAKER_HBS", value_delimiter = ',')]
    hbs: Vec<String>,
    /// Name of this host in its samples.
    #[arg(long, global = true, value_name = "NAME", env = "SAKER_ENDPOINT")]
    endpoint: Option<String>,
    /// Where local programs push samples and /metrics is read.
    #[arg(long, global = true, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where the spool is kept.
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Flags {
    fn apply(self, config: &mut Config) {
        if !self.transfer.is_empty() {
            config.transfer.addresses = self.transfer;
        }
        if !self.hbs.is_empty() {
            config.hbs.addresses = self.hbs;
        }
        config.endpoint = self.endpoint.or(config.endpoint.take());
        config.listen = self.listen.unwrap_or(config.listen);
        if let Some(data_dir) = self.data_dir {
            config.data_dir = data_dir;
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure and send until stopped (the default).
    #[command(after_help = "Example:\n  saker-agent run --config /etc/saker/agent.toml")]
    Run,
    /// Measure once and print the samples.
    #[command(after_help = "Example:\n  saker-agent collect filesystem --json")]
    Collect {
        /// One group, such as cpu or filesystem; all that are on, when left out.
        group: Option<String>,
    },
    /// Check the configuration and run every collector once.
    ///
    /// Ends with 0 when all is well, 1 when a collector fails, 2 when the configuration has faults.
    #[command(after_help = "Example:\n  saker-agent check --config /etc/saker/agent.toml")]
    Check {
        /// For a new agent that has yet to be started: a host on which some collector fails passes, but the
        /// data directory must be writable. Nothing is sent, and a running agent is not disturbed.
        #[arg(long)]
        preflight: bool,
    },
    /// Ask the running agent how it is.
    ///
    /// Ends with 0 when it lacks nothing, else with 1.
    #[command(
        after_help = "Example:\n  saker-agent status\n  saker-agent status --listen 127.0.0.1:1988 --json"
    )]
    Status,
    /// Hand a sample to the running agent.
    #[command(
        after_help = "Example:\n  saker-agent push -m queue.length -v 17 -t queue=mail -t idc=bj"
    )]
    Push(PushArgs),
    /// See, pin, or take back upgrades of this host.
    #[command(after_help = "Example:\n  saker-agent upgrade status")]
    Upgrade {
        /// What to do.
        #[command(subcommand)]
        command: UpgradeCommand,
    },
    /// Show or check the configuration, or take over that of Open-Falcon's agent.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Write all that helps to understand a fault into a folder, without secrets.
    #[command(after_help = "Example:\n  saker-agent diagnose --out /tmp/saker-agent-diagnosis")]
    Diagnose {
        /// The folder; it must not exist yet.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Print the version.
    #[command(after_help = "Example:\n  saker-agent version --json")]
    Version,
}

/// Does what the arguments of this process ask for.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.run() {
        Ok(code) => code,
        Err(error) => {
            // Nothing is left to report to when standard error is closed.
            let _ = writeln!(io::stderr(), "saker-agent: {error:#}");
            StartError::reason_of(&error).into()
        }
    }
}

impl Cli {
    fn run(self) -> anyhow::Result<ExitCode> {
        let load = || {
            let overlay = self.launch.overlay().map(PathBuf::as_path);
            let change = |config: &mut Config| self.flags.clone().apply(config);
            Layered::load(self.common.config.as_deref(), overlay, change)
        };
        if !matches!(self.command, None | Some(Command::Run)) {
            daemon::init_log(&self.common)?;
        }
        match self.command {
            None | Some(Command::Run) => {
                let config = load()?.config;
                let started = self.launch.started(self.common.config.clone());
                let start =
                    async move |ctx: &daemon::Context| app::start(config, started, ctx).await;
                Ok(daemon::run("agent", RuntimeKind::CurrentThread, &self.common, start))
            }
            Some(Command::Collect { ref group }) => {
                measure::collect(load()?.config, group.as_deref(), self.json)
            }
            Some(Command::Check { preflight }) => {
                measure::check(load()?.config, preflight, self.json)
            }
            Some(Command::Upgrade { ref command }) => {
                let text = command.run(&load()?.config.upgrade)?;
                match self.json {
                    true => writeln!(io::stdout(), "{}", serde_json::json!({ "text": text }))?,
                    false => io::stdout().write_all(text.as_bytes())?,
                }
                Ok(ExitReason::Clean.into())
            }
            Some(Command::Status) => ask::status(&load()?.config, self.json),
            Some(Command::Push(ref args)) => ask::push(&load()?.config, args, self.json),
            Some(Command::Config(ref command)) => command.run(load, self.json),
            Some(Command::Diagnose { ref out }) => diagnose::write(&load()?, out, self.json),
            Some(Command::Version) => write_version(self.json),
        }
    }
}

fn write_version(json: bool) -> anyhow::Result<ExitCode> {
    let version = version();
    if json {
        let arch = std::env::consts::ARCH;
        writeln!(io::stdout(), "{}", serde_json::json!({ "version": version, "arch": arch }))?;
    } else {
        writeln!(io::stdout(), "saker-agent {version}")?;
    }
    Ok(ExitReason::Clean.into())
}

// What the small commands wait on.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Config {
        let cli = Cli::try_parse_from(args).unwrap();
        let mut config = Config::default();
        cli.flags.apply(&mut config);
        config
    }

    #[test]
    fn flags_go_before_the_file() {
        let config = parse(&[
            "saker-agent",
            "run",
            "--transfer",
            "http://a:1",
            "--transfer",
            "http://b:1",
            "--hbs",
            "http://c:1",
            "--endpoint",
            "web-01",
            "--listen",
            "127.0.0.1:9",
            "--data-dir",
            "/tmp/x",
        ]);
        assert_eq!(config.transfer.addresses, ["http://a:1", "http://b:1"]);
        assert_eq!(config.hbs.addresses, ["http://c:1"]);
        assert_eq!(config.endpoint.as_deref(), Some("web-01"));
        assert_eq!((config.listen.port(), config.data_dir), (9, PathBuf::from("/tmp/x")));
    }

    #[test]
    fn without_flags_the_file_stands() {
        assert_eq!(parse(&["saker-agent"]), Config::default());
    }

    #[test]
    fn the_arguments_are_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn a_flag_that_does_not_fit_is_named() {
        let bad = |config: &mut Config| config.transfer.addresses = vec!["a:1".to_owned()];
        let error = Layered::load(None, None, bad).unwrap_err();
        assert!(error.to_string().contains("transfer.addresses"), "{error}");
        assert_eq!(StartError::reason_of(&error.into()), ExitReason::Usage);
    }

    #[test]
    fn every_command_has_an_example() {
        let cli = <Cli as clap::CommandFactory>::command();
        for command in cli.get_subcommands() {
            let leaves: Vec<_> = command.get_subcommands().collect();
            let has_one = |command: &clap::Command| command.get_after_help().is_some();
            let all = if leaves.is_empty() || has_one(command) { vec![command] } else { leaves };
            for command in all {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("saker-agent "), "{}", command.get_name());
            }
        }
    }
}
