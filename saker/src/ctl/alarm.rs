//! `saker ctl alarm …`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ::alarm::check_alertmanager_file;
use anyhow::{Context as _, anyhow, bail};
use clap::{Args, Subcommand};
use daemon::Clock;
use serde_json::{Value, json};

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
    /// Send a test to a receiver, and wait for what comes of it.
    #[command(
        after_help = "Example:\n  saker ctl alarm test-send ops --token-file /etc/saker/mute-token"
    )]
    TestSend(TestSendArgs),
    /// Who would be told of an alert with these labels now; nothing is sent.
    #[command(
        after_help = "Example:\n  saker ctl alarm route-test alertname=DiskFull team=db severity=critical"
    )]
    RouteTest(RouteTestArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RouteTestArgs {
    /// The labels of the alert.
    #[arg(required = true, value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// The alarm to ask.
    #[arg(long, default_value = "http://127.0.0.1:9912")]
    url: String,
    /// Answer with JSON.
    #[arg(long)]
    json: bool,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    if name.is_empty() {
        return Err("write NAME=VALUE".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
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
        AlarmCommand::RouteTest(args) => route_test(http, args).await,
    }
}

async fn route_test(http: &reqwest::Client, args: &RouteTestArgs) -> anyhow::Result<String> {
    let base = args.url.trim_end_matches('/');
    let labels: BTreeMap<&str, &str> =
        args.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let request = http.post(format!("{base}/api/v1/routing/preview"));
    let answer = request.json(&json!({ "labels": labels })).send().await;
    let answer = answer.with_context(|| format!("ask {base}"))?;
    let status = answer.status();
    let preview: Value = answer.json().await.unwrap_or_default();
    if !status.is_success() {
        bail!("{}", preview.as_str().unwrap_or("the answer is none of an alarm; see --url"));
    }
    if args.json {
        return Ok(format!("{preview:#}"));
    }
    Ok(previewed(&preview))
}

/// The ways of an alert as a table, and what holds it back.
fn previewed(preview: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let ways = preview["ways"].as_array().into_iter().flatten();
    let rows: Vec<Vec<String>> = ways
        .map(|way| {
            let integrations = way["integrations"].as_array().into_iter().flatten();
            let kinds: Vec<String> = integrations
                .flat_map(|one| one["kinds"].as_array().into_iter().flatten().map(text))
                .collect();
            let state = match (way["escalatesAfter"].as_str(), way["heldBy"].as_str()) {
                (Some(after), _) => format!("unless taken within {after}"),
                (None, Some(reason)) => reason.to_owned(),
                (None, None) => "open".to_owned(),
            };
            vec![text(&way["receiver"]), kinds.join(","), text(&way["groupKey"]), state]
        })
        .collect();
    let mut lines = vec![table(&["RECEIVER", "BY", "GROUP", "NOW"], &rows)];
    for (key, what) in [("silencedBy", "silenced by"), ("inhibitedBy", "inhibited by")] {
        for id in preview[key].as_array().into_iter().flatten() {
            lines.push(format!("{what} {}", text(id)));
        }
    }
    if let Some(id) = preview["maintenance"].as_str() {
        lines.push(format!("its host is in maintenance window {id}"));
    }
    let is_told = preview["isTold"] == true;
    lines.push(if is_told { "somebody would be told" } else { "nobody would be told" }.to_owned());
    lines.join("\n")
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
    if let Some(sent) = body["answer"]["sent"].as_bool() {
        let (code, text) = (&body["answer"]["code"], body["answer"]["text"].as_str().unwrap_or(""));
        return match sent {
            true => Ok(format!("sent: the webhook answered {code}")),
            false => Err(anyhow!("not sent: the webhook answered {code} {text}")),
        };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_a_name_and_a_value() {
        assert_eq!(label("team=db=x"), Ok(("team".to_owned(), "db=x".to_owned())));
        assert!(label("team").is_err() && label("=db").is_err());
    }

    #[test]
    fn a_preview_says_who_is_told_and_what_holds_it_back() {
        let text = previewed(&json!({
            "isTold": false, "silencedBy": ["s1"], "inhibitedBy": [], "maintenance": "w1",
            "ways": [
                { "receiver": "dba", "groupKey": "{}:{}", "heldBy": null, "escalatesAfter": null,
                  "integrations": [{ "kinds": ["slack", "mail"] }] },
                { "receiver": "boss", "groupKey": "{}", "heldBy": null, "escalatesAfter": "15m",
                  "integrations": [] },
            ],
        }));
        for part in [
            "dba",
            "slack,mail",
            "open",
            "unless taken within 15m",
            "silenced by s1",
            "maintenance window w1",
            "nobody would be told",
        ] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
    }
}
