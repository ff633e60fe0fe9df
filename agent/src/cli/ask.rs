//! Commands that talk to the running agent over its local listener.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use daemon::{ExitReason, StartError};
use reqwest::Client;
use serde_json::{Value, json};

use super::runtime;
use crate::app;
use crate::config::Config;
use crate::status::{self, Status};

/// A sample to push.
#[derive(Debug, Clone, Args)]
pub(super) struct PushArgs {
    /// Its metric, such as queue.length.
    #[arg(long, short, value_name = "NAME")]
    metric: String,
    /// Its value.
    #[arg(long, short, value_name = "NUMBER", allow_negative_numbers = true)]
    value: f64,
    /// A tag; may be given several times.
    #[arg(long, short, value_name = "NAME=VALUE")]
    tag: Vec<String>,
    /// GAUGE or COUNTER.
    #[arg(long = "type", value_name = "TYPE", default_value = "GAUGE")]
    kind: String,
    /// Seconds between two samples of the series.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    step: u32,
    /// When it was measured, in seconds since 1970; now, when left out.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    timestamp: i64,
}

/// Prints the state of the running agent.
pub(super) fn status(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let status = runtime()?.block_on(ask(config))?;
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(&status)?)?;
    } else {
        write_status(&mut out, &status)?;
    }
    let is_well = status.lacks.is_empty() && status.applied.faults.is_empty();
    Ok(if is_well { ExitReason::Clean } else { ExitReason::Failed }.into())
}

/// The state of the running agent.
///
/// # Errors
/// When none answers where the configuration says that it listens.
pub(super) async fn ask(config: &Config) -> anyhow::Result<Status> {
    let text = get(config, status::PATH).await?;
    serde_json::from_str(&text).context("understand the answer of the agent")
}

/// A page of the running agent.
///
/// # Errors
/// When none answers.
pub(super) async fn get(config: &Config, path: &str) -> anyhow::Result<String> {
    let (http, url) =
        (daemon::http_client()?, format!("http://{}{path}", reachable(config.listen)));
    let answer = http.get(&url).send().await.map_err(|error| away(&url, &error))?;
    let answer = answer.error_for_status().map_err(|error| away(&url, &error))?;
    Ok(answer.text().await?)
}

fn write_status(out: &mut impl Write, status: &Status) -> io::Result<()> {
    let link = |what: &str, addresses: &[String]| {
        let state = match status.lacks.get(what) {
            Some(why) => format!("AWAY: {why}"),
            None if addresses.is_empty() => "off".to_owned(),
            None => "ok".to_owned(),
        };
        format!("{what:<11}{state} ({})", addresses.join(", "))
    };
    let Status { pid, version, endpoint, started, applied, .. } = status;
    writeln!(out, "agent      {version}, pid {pid}, host {endpoint}, since {started}")?;
    writeln!(out, "{}", link("transfer", &status.transfer))?;
    writeln!(out, "{}", link("hbs", &status.hbs))?;
    for (what, why) in &status.lacks {
        if !matches!(what.as_str(), "transfer" | "hbs") {
            writeln!(out, "{what:<11}LACKING: {why}")?;
        }
    }
    writeln!(
        out,
        "queue      {} bytes wait, {} samples sent, {} lost",
        status.queue_bytes, status.sent_samples, status.dropped_samples
    )?;
    let hash = if applied.hash.is_empty() { "none yet" } else { &applied.hash };
    writeln!(
        out,
        "applied    state of hbs: {hash}; {} checks, {} plugins, {} scrapes",
        applied.checks,
        applied.plugins.len(),
        applied.scrapes.len()
    )?;
    for fault in &applied.faults {
        writeln!(out, "fault      {fault}")?;
    }
    if let Some(upgrade) = &status.upgrade {
        // The words of the wire are those of `saker-agent upgrade status`.
        let phase = serde_json::to_value(upgrade.phase).unwrap_or_default();
        let phase = phase.as_str().unwrap_or_default();
        writeln!(out, "upgrade    {} {phase} {}", upgrade.version, upgrade.reason)?;
    }
    writeln!(out, "last error {}", status.last_error.as_deref().unwrap_or("none"))
}

/// Hands a sample to the running agent.
pub(super) fn push(config: &Config, args: &PushArgs, as_json: bool) -> anyhow::Result<ExitCode> {
    let sample = json!([{
        "endpoint": app::endpoint(config)?,
        "metric": args.metric,
        "value": args.value,
        "tags": args.tag.join(","),
        "counterType": args.kind,
        "step": args.step,
        "timestamp": args.timestamp,
    }]);
    if let Some(tag) = args.tag.iter().find(|tag| !tag.contains('=') || tag.contains(',')) {
        return Err(StartError::usage(format!("{tag:?} is no tag such as queue=mail")).into());
    }
    let url = format!("http://{}/v1/push?verbose=1", reachable(config.listen));
    let reply: Value = runtime()?.block_on(post(&daemon::http_client()?, &url, &sample))?;
    let is_taken = reply["accepted"] == 1;
    let mut out = io::stdout().lock();
    if as_json {
        writeln!(out, "{reply}")?;
    } else if is_taken {
        writeln!(out, "taken")?;
    } else {
        writeln!(out, "refused: {}", reply["refused"][0]["reason"].as_str().unwrap_or("?"))?;
    }
    Ok(if is_taken { ExitReason::Clean } else { ExitReason::Failed }.into())
}

async fn post(http: &Client, url: &str, sample: &Value) -> anyhow::Result<Value> {
    let answer = http.post(url).json(sample).send().await.map_err(|error| away(url, &error))?;
    let answer = answer.error_for_status().map_err(|error| away(url, &error))?;
    answer.json().await.context("understand the answer of the agent")
}

// An agent that listens on all addresses is asked on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, listen.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, listen.port()).into(),
        _ => listen,
    }
}

fn away(url: &str, error: &reqwest::Error) -> anyhow::Error {
    let why = daemon::error_chain(error);
    anyhow::anyhow!(
        "no agent answers on {url}: {why}; is it running, and is --listen or `listen` its address?"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_on_all_addresses_is_asked_on_loopback() {
        let asked = |listen: &str| reachable(listen.parse().unwrap()).to_string();
        assert_eq!(asked("0.0.0.0:1988"), "127.0.0.1:1988");
        assert_eq!(asked("[::]:1988"), "127.0.0.1:1988");
        assert_eq!(asked("10.0.0.1:7"), "10.0.0.1:7");
    }

    #[test]
    fn what_is_lacking_stands_out() {
        let mut status = Status { hbs: vec!["http://a".into()], ..Status::default() };
        status.lacks.insert("hbs".into(), "refused".into());
        status.lacks.insert("spool".into(), "disk full".into());
        let mut text = Vec::new();
        write_status(&mut text, &status).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("\nhbs        AWAY: refused (http://a)\n"), "{text}");
        assert!(text.contains("\nspool      LACKING: disk full\n"), "{text}");
        assert!(text.contains("\ntransfer   off ()\n"), "{text}");
    }
}
