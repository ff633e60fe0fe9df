//! `saker ctl import`: takes over what another system was told.

mod apply;
mod read;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use falcon::{Format, Import, Options, Outcome, Portal, Scope};
use reqwest::Client;
use serde_json::{Value, json};

use self::apply::{Applied, Target};
use self::read::Source;

/// Report and files of an import, in the folder of `--out`.
const REPORT_FILE: &str = "report.txt";
const GROUPS_FILE: &str = "host-groups.json";
const RECEIVERS_FILE: &str = "alarm-receivers.toml";
const RULES_FOLDER: &str = "rules";

/// From where.
#[derive(Debug, Subcommand)]
pub(crate) enum ImportCommand {
    /// Templates, strategies, expressions, nodata, aggregators and host groups of Open-Falcon.
    ///
    /// Reads the portal database, or an export of it, and says what becomes of everything and what means
    /// something else here. Nothing is changed unless --apply is given; the database is only ever read.
    #[command(
        name = "open-falcon",
        after_help = "Examples:\n  \
        saker ctl import open-falcon --mysql mysql://falcon@db/falcon_portal --password-file pw\n  \
        saker ctl import open-falcon --mysql mysql://falcon@db/falcon_portal --password-file pw \\\n    \
        --graph-mysql mysql://falcon@db/graph --export portal.json --out imported\n  \
        saker ctl import open-falcon --file portal.json --time-zone Asia/Shanghai --scope groups --apply\n  \
        saker ctl import open-falcon --file portal.json --json \\\n    \
        | jq '.report.entries[] | select(.outcome == \"refused\")'"
    )]
    OpenFalcon(Box<OpenFalconArgs>),
}

#[derive(Debug, Args)]
pub(crate) struct OpenFalconArgs {
    #[command(flatten)]
    source: Source,
    /// Write rule files, host groups, receivers and the report into this folder.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Create the host groups in hbs and the rule groups in judge. Again is no change.
    #[arg(long)]
    apply: bool,
    /// With --apply: remove rule groups of an earlier import that are no more.
    #[arg(long, requires = "apply")]
    prune: bool,
    /// How rules say for which hosts they are: name them as they are now, or follow the groups of hbs.
    #[arg(long, value_enum, default_value_t = ScopeArg::Hosts)]
    scope: ScopeArg,
    /// For whom rules are written; prometheus leaves out what only judge understands.
    #[arg(long, value_enum, default_value_t = FormatArg::Saker, conflicts_with = "apply")]
    format: FormatArg,
    /// Seconds between two samples of metrics of which nothing else is known.
    #[arg(long, value_name = "SECONDS", default_value_t = 60,
          value_parser = clap::value_parser!(i64).range(1..=86_400))]
    step: i64,
    /// The clock by which run_begin and run_end go: a name such as Asia/Shanghai, UTC, or +08:00.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    time_zone: String,
    #[command(flatten)]
    target: Target,
    /// Output for machines: the report and what was written or changed.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ScopeArg {
    Hosts,
    Groups,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatArg {
    Saker,
    Prometheus,
}

/// Imports and answers what is to be printed.
pub(crate) async fn run(http: &Client, command: ImportCommand) -> anyhow::Result<String> {
    let ImportCommand::OpenFalcon(args) = command;
    let export = args.source.read().await?;
    let (portal, faults) = Portal::read(&export).context("read the export")?;
    drop(export);
    let import = falcon::import(&portal, faults, &args.options());
    let written = match &args.out {
        Some(folder) => write(folder, &import)?,
        None => Vec::new(),
    };
    let applied = if args.apply {
        Some(args.target.apply(http, &portal, &import, args.prune).await?)
    } else {
        None
    };
    if args.json {
        return Ok(as_json(&import, &written, applied.as_ref()).to_string());
    }
    Ok(told(&import, &written, &args, applied.as_ref()))
}

impl OpenFalconArgs {
    fn options(&self) -> Options {
        Options {
            scope: match self.scope {
                ScopeArg::Hosts => Scope::Hosts,
                ScopeArg::Groups => Scope::Groups,
            },
            format: match self.format {
                FormatArg::Saker => Format::Saker,
                FormatArg::Prometheus => Format::Prometheus,
            },
            step_seconds: self.step,
            time_zone: self.time_zone.clone(),
        }
    }
}

/// Writes everything, and checks the rules as judge does when it reads them.
fn write(folder: &Path, import: &Import) -> anyhow::Result<Vec<PathBuf>> {
    let rules = folder.join(RULES_FOLDER);
    std::fs::create_dir_all(&rules).with_context(|| format!("create {}", rules.display()))?;
    let mut written = Vec::new();
    let mut put = |path: PathBuf, text: &str| {
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        written.push(path);
        anyhow::Ok(())
    };
    let mut files = Vec::new();
    for file in &import.files {
        let path = rules.join(&file.name);
        put(path.clone(), &file.text)?;
        files.push(path);
    }
    put(folder.join(REPORT_FILE), &import.report.to_string())?;
    put(folder.join(GROUPS_FILE), &serde_json::to_string_pretty(&import.host_groups)?)?;
    if !import.receivers.is_empty() {
        put(folder.join(RECEIVERS_FILE), &import.receivers)?;
    }
    let faults = judge::check_rule_files(&files);
    if let Some(first) = faults.first() {
        bail!(
            "judge does not take {} of the rules that were written, which is a fault of this program; \
             the first: {first}",
            faults.len()
        );
    }
    Ok(written)
}

fn as_json(import: &Import, written: &[PathBuf], applied: Option<&Applied>) -> Value {
    let counts: serde_json::Map<String, Value> = Outcome::ALL
        .iter()
        .map(|outcome| (outcome.as_str().to_owned(), json!(import.report.count(*outcome))))
        .collect();
    json!({
        "counts": counts,
        "report": import.report,
        "rule_files": import.files,
        "host_groups": import.host_groups,
        "written": written,
        "applied": applied,
    })
}

fn told(
    import: &Import,
    written: &[PathBuf],
    args: &OpenFalconArgs,
    applied: Option<&Applied>,
) -> String {
    let rules: usize =
        import.files.iter().flat_map(|file| &file.groups).map(|group| group.rules).sum();
    let mut lines = vec![
        import.report.to_string(),
        format!("{rules} rules, {} groups of hosts", import.host_groups.len()),
    ];
    if let Some(folder) = &args.out {
        lines.push(format!("{} files are in {}", written.len(), folder.display()));
    }
    match applied {
        Some(applied) => lines.push(applied.to_string()),
        None if args.out.is_none() => {
            lines.push("nothing was written; give --out FOLDER, --apply or both".to_owned());
        }
        None => lines.push("nothing was changed in hbs and judge; give --apply".to_owned()),
    }
    lines.join("\n")
}
