//! The command line.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use daemon::{CommonArgs, ExitReason, RuntimeKind, StartError};

use crate::app;
use crate::catalogue::Group;
use crate::config::{Config, GroupSettings};
use crate::inventory::Inventory;
use crate::metrics::Metrics;
use crate::rounds::{Found, Rounds};
use crate::upgrade::command::{LaunchFlags, UpgradeCommand};
use crate::version::version;

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
    Run,
    /// Measure once and print the samples.
    Collect {
        /// One group, such as cpu or filesystem; all that are on, when left out.
        group: Option<String>,
    },
    /// Check the configuration and run every collector once.
    Check {
        /// For a new agent that has yet to be started: a host with nothing to measure in some group passes.
        #[arg(long)]
        preflight: bool,
    },
    /// See, pin, or take back upgrades of this host.
    Upgrade {
        #[command(subcommand)]
        command: UpgradeCommand,
    },
    /// Print the version.
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
            app::load(self.common.config.as_deref(), overlay, change)
        };
        match self.command {
            None | Some(Command::Run) => {
                let config = load()?;
                let started = self.launch.started(self.common.config.clone());
                let start =
                    async move |ctx: &daemon::Context| app::start(config, started, ctx).await;
                Ok(daemon::run("agent", RuntimeKind::CurrentThread, &self.common, start))
            }
            Some(Command::Collect { ref group }) => {
                daemon::init_log(&self.common)?;
                collect(load()?, group.as_deref())
            }
            Some(Command::Check { preflight }) => {
                daemon::init_log(&self.common)?;
                let code = check(load()?)?;
                Ok(if preflight { ExitReason::Clean.into() } else { code })
            }
            Some(Command::Upgrade { ref command }) => {
                let text = command.run(&load()?.upgrade)?;
                io::stdout().write_all(text.as_bytes())?;
                Ok(ExitReason::Clean.into())
            }
            Some(Command::Version) => {
                writeln!(io::stdout(), "saker-agent {}", version())?;
                Ok(ExitReason::Clean.into())
            }
        }
    }
}

/// Shares and rates are differences: two rounds this far apart.
const BETWEEN_ROUNDS: Duration = Duration::from_secs(1);

type Faults = BTreeMap<Group, String>;

async fn two_rounds(rounds: &mut Rounds) -> (Vec<Found>, Faults) {
    rounds.run_all().await;
    tokio::time::sleep(BETWEEN_ROUNDS).await;
    (rounds.run_all().await, rounds.faults())
}

fn measure(config: Arc<Config>) -> anyhow::Result<(Vec<Found>, Faults)> {
    let endpoint = app::endpoint(&config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let found = runtime.block_on(async {
        let mut rounds = app::rounds(&config, &endpoint, Arc::new(Metrics::default()));
        two_rounds(&mut rounds).await
    });
    runtime.shutdown_background();
    Ok(found)
}

fn collect(mut config: Config, group: Option<&str>) -> anyhow::Result<ExitCode> {
    if let Some(name) = group {
        let wanted = Group::named(name).ok_or_else(|| {
            let names: Vec<_> = Group::ALL.into_iter().map(Group::as_str).collect();
            StartError::usage(format!("there is no group {name:?}; there are {}", names.join(", ")))
        })?;
        for group in Group::ALL {
            let interval = config.groups.get(&group).and_then(|settings| settings.interval);
            config.groups.insert(group, GroupSettings { enabled: Some(group == wanted), interval });
        }
    }
    let (found, _) = measure(Arc::new(config))?;
    let mut out = io::stdout().lock();
    for reading in found.iter().flat_map(|found| &found.readings) {
        writeln!(out, "{} {}", reading.labels, reading.value)?;
    }
    let is_empty = found.is_empty();
    Ok(if is_empty { ExitReason::Failed } else { ExitReason::Clean }.into())
}

fn check(config: Config) -> anyhow::Result<ExitCode> {
    let config = Arc::new(config);
    let (found, faults) = measure(config.clone())?;
    let inventory = Inventory::new(&config, &found, &faults);
    write!(io::stdout().lock(), "configuration ok\n{inventory}")?;
    Ok(if inventory.is_whole() { ExitReason::Clean } else { ExitReason::Failed }.into())
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
        let error =
            app::load(None, None, |config| config.transfer.addresses = vec!["a:1".to_owned()])
                .unwrap_err();
        assert!(format!("{error:#}").contains("transfer.addresses"), "{error:#}");
        assert_eq!(StartError::reason_of(&error), ExitReason::Usage);
    }
}
