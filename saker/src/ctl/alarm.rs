//! `saker ctl alarm …`.

use std::path::PathBuf;
use std::time::Duration;

use ::alarm::check_alertmanager_file;
use anyhow::{Context as _, anyhow, bail};
use clap::{Args, Subcommand};
use daemon::Clock;
use serde_json::Value;

use crate::table::table;

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
    /// Send a test through the bots of a receiver, and wait for what comes of it.
    #[command(
        after_help = "Example:\n  saker ctl alarm test-send ops --token-file /etc/saker/mute-token"
    )]
    TestSend(TestSendArgs),
}

#[derive(Debug, Args)]
pub(crate) struct TestSendArgs {
    /// Name of the receiver.
    receiver: String,
    /// The file with the token of `alarm.mutes.token`.
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// The alarm to ask.
    #[arg(long, default_value = "http://127.0.0.1:9912")]
    url: String,
    /// How long to wait for the platform.
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = model::parse_duration)]
    wait: Duration,
}

/// Does it; fails when a file has a fault, or a test is not sent.
pub(crate) async fn run(http: &reqwest::Client, command: &AlarmCommand) -> anyhow::Result<String> {
    match command {
        AlarmCommand::CheckConfig { files } => check_config(files),
        AlarmCommand::TestSend(args) => test_send(http, args).await,
    }
}

async fn test_send(http: &reqwest::Client, args: &TestSendArgs) -> anyhow::Result<String> {
    let file = args.token_file.display();
    let token =
        std::fs::read_to_string(&args.token_file).with_context(|| format!("read {file}"))?;
    let base = args.url.trim_end_matches('/');
    let url = format!("{base}/api/v1/receivers/{}/test", args.receiver);
    let answer = http.post(&url).bearer_auth(token.trim()).send().await;
    let answer = answer.with_context(|| format!("ask {base}"))?;
    let status = answer.status();
    let body: Value = answer.json().await.unwrap_or_default();
    if !status.is_success() {
        bail!("{}", body["error"].as_str().unwrap_or("the answer is none of an alarm; see --url"));
    }
    let ids: Vec<&str> =
        body["messages"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let clock = Clock::System;
    let deadline = clock.now().plus(args.wait);
    loop {
        let rows = states(http, base, &ids).await?;
        let is_over = rows.len() == ids.len();
        if is_over || clock.now() >= deadline {
            let is_sent = is_over && rows.iter().all(|row| row[1] == "sent");
            let text = table(&["RECIPIENT", "STATE", "ANSWER"], &rows);
            return if is_sent {
                Ok(text)
            } else {
                Err(anyhow!("not sent to everybody yet\n{text}"))
            };
        }
        clock.sleep(Duration::from_millis(250)).await;
    }
}

/// Recipient, state and answer of the messages that came to an end.
async fn states(
    http: &reqwest::Client,
    base: &str,
    ids: &[&str],
) -> anyhow::Result<Vec<Vec<String>>> {
    let mut rows = Vec::new();
    for stage in ["sent", "digested", "failed"] {
        let url = format!("{base}/api/v1/messages?stage={stage}");
        let listed: Value = http.get(&url).send().await?.error_for_status()?.json().await?;
        for row in listed.as_array().into_iter().flatten() {
            if row["id"].as_str().is_some_and(|id| ids.contains(&id)) {
                let text = |key: &str| row[key].as_str().unwrap_or("").to_owned();
                let answer = format!("{} {}", text("code"), text("text")).trim().to_owned();
                rows.push(vec![text("recipient"), stage.to_owned(), answer]);
            }
        }
    }
    Ok(rows)
}

fn check_config(files: &[PathBuf]) -> anyhow::Result<String> {
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
