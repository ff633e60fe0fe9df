//! `saker ctl alarm …`.

use std::path::PathBuf;

use ::alarm::check_alertmanager_file;
use anyhow::bail;
use clap::Subcommand;

/// What to do with routes and receivers.
#[derive(Debug, Subcommand)]
pub(crate) enum AlarmCommand {
    /// Check configuration files of Alertmanager before alarm reads them.
    #[command(
        after_help = "Example:\n  saker ctl alarm check-config /etc/alertmanager/alertmanager.yml"
    )]
    CheckConfig {
        /// The files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

/// Does it; fails when a file has a fault.
pub(crate) fn run(command: &AlarmCommand) -> anyhow::Result<String> {
    let AlarmCommand::CheckConfig { files } = command;
    let (mut lines, mut faulty) = (Vec::new(), 0);
    for file in files {
        match check_alertmanager_file(file) {
            Ok(found) => {
                lines.push(format!("{}: valid", file.display()));
                lines.extend(found.into_iter().map(|line| format!("  {line}")));
            }
            Err(faults) => {
                faulty += 1;
                lines.push(format!("{}: refused", file.display()));
                lines.extend(faults.iter().map(|fault| format!("  {fault}")));
            }
        }
    }
    let text = lines.join("\n");
    if faulty > 0 {
        bail!("{faulty} of {} files cannot be used\n{text}", files.len());
    }
    Ok(text)
}
