//! `saker ctl templates …`.

use std::path::PathBuf;

use ::alarm::{check_templates, render_template};
use anyhow::bail;
use clap::{Args, Subcommand};
use daemon::Clock;

/// What to do with templates of messages.
#[derive(Debug, Subcommand)]
pub(crate) enum TemplatesCommand {
    /// Check files with definitions before alarm reads them.
    #[command(after_help = "Example:\n  saker ctl templates check '/etc/saker/templates/*.tmpl'")]
    Check {
        /// The files, or patterns of them.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print what a template makes of alerts.
    #[command(
        after_help = "Example:\n  saker ctl templates render --text '{{ template \"ops.text\" . }}' '/etc/saker/templates/*.tmpl'"
    )]
    Render(RenderArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RenderArgs {
    /// The template.
    #[arg(long, value_name = "TEMPLATE")]
    text: String,
    /// A file with alerts in the form of Alertmanager's webhook; without it about an alert made up for this.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Escape what comes from alerts as for a page of HTML.
    #[arg(long)]
    html: bool,
    /// Files with definitions, or patterns of them.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Does it; fails with every fault and its place.
pub(crate) fn run(command: &TemplatesCommand) -> anyhow::Result<String> {
    let done = match command {
        TemplatesCommand::Check { files } => check_templates(files).map(|lines| lines.join("\n")),
        TemplatesCommand::Render(RenderArgs { text, data, html, files }) => {
            render_template(files, text, data.as_deref(), *html, Clock::System.now())
        }
    };
    match done {
        Ok(text) => Ok(text),
        Err(faults) => bail!("the templates cannot be used\n{}", faults.join("\n")),
    }
}
