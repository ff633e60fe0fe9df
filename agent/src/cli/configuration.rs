//! `saker-agent config`.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use daemon::{ExitReason, StartError};
use serde_json::json;

use crate::config::import::import;
use crate::config::layers::{Layered, Setting};

/// What is done with the configuration.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print every value and where it is from; secrets are masked.
    #[command(after_help = "Example:\n  saker-agent config show | grep transfer")]
    Show,
    /// Tell all faults at once.
    #[command(after_help = "Example:\n  saker-agent config validate --config ./agent.toml")]
    Validate,
    /// Turn the cfg.json of Open-Falcon's agent into an agent.toml.
    ///
    /// What is not carried over is told on standard error.
    #[command(
        after_help = "Example:\n  saker-agent config import /opt/open-falcon/agent/cfg.json --out agent.toml"
    )]
    Import {
        /// The cfg.json.
        file: PathBuf,
        /// Where to write it; standard output, when left out. An existing file is left alone.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

impl ConfigCommand {
    pub(super) fn run(
        &self,
        load: impl FnOnce() -> Result<Layered, StartError>,
        json: bool,
    ) -> anyhow::Result<ExitCode> {
        match self {
            Self::Show => show(&load()?, json, &mut io::stdout().lock())?,
            Self::Validate => {
                let files = load()?.files;
                let mut out = io::stdout().lock();
                if json {
                    writeln!(out, "{}", json!({ "is_ok": true, "files": files }))?;
                } else if files.is_empty() {
                    writeln!(out, "ok: no file, the defaults apply")?;
                } else {
                    let files: Vec<_> =
                        files.iter().map(|file| file.display().to_string()).collect();
                    writeln!(out, "ok: {}", files.join(", "))?;
                }
            }
            Self::Import { file, out } => return run_import(file, out.as_ref(), json),
        }
        Ok(ExitReason::Clean.into())
    }
}

/// Every value with its origin.
///
/// # Errors
/// When `out` cannot be written.
pub(super) fn show(layered: &Layered, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    if json {
        let of = |setting: Setting| {
            let value = json!({ "value": setting.value, "origin": setting.origin });
            (setting.key, value)
        };
        let all: serde_json::Map<_, _> = layered.settings().into_iter().map(of).collect();
        writeln!(out, "{}", serde_json::Value::Object(all))?;
        return Ok(());
    }
    for Setting { key, value, origin } in layered.settings() {
        writeln!(out, "{key} = {value}  # {origin}")?;
    }
    Ok(())
}

fn run_import(file: &PathBuf, to: Option<&PathBuf>, json: bool) -> anyhow::Result<ExitCode> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let imported = import(&text).map_err(StartError::usage)?;
    if let Some(to) = to {
        let mut new = fs::File::create_new(to).with_context(|| format!("make {}", to.display()))?;
        new.write_all(imported.toml.as_bytes())?;
    }
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{}", json!({ "toml": imported.toml, "notes": imported.notes }))?;
        return Ok(ExitReason::Clean.into());
    }
    if to.is_none() {
        out.write_all(imported.toml.as_bytes())?;
    }
    for note in &imported.notes {
        writeln!(io::stderr(), "note: {note}")?;
    }
    Ok(ExitReason::Clean.into())
}
