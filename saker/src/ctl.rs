//! `saker ctl`: asks a running Saker over HTTP.

mod alarm;
mod hosts;
mod import;
mod routing;
mod rules;
mod templates;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use daemon::{Clock, CommonArgs, ExitReason, StartError, http_client, init_log};
use model::Labels;
use serde_json::Value;

use self::hosts::{GroupsArgs, HostsArgs};
use self::import::ImportCommand;
use self::rules::RulesCommand;
use crate::ctl_upgrade;
use crate::table::{say, table};

/// What to ask.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Are the roles up and ready?
    #[command(after_help = "Examples:\n  saker ctl status\n  saker ctl status --wait 30s")]
    Status(StatusArgs),
    /// Evaluate a PromQL expression now.
    #[command(after_help = "Example:\n  saker ctl query 'topk(3, rate(net_if_in_bytes[5m]))'")]
    Query(QueryArgs),
    /// The hosts that hbs knows, or what one of them is told and why.
    #[command(
        after_help = "Examples:\n  saker ctl hosts --group corp.pay --silent\n  saker ctl hosts web-01"
    )]
    Hosts(HostsArgs),
    /// The groups of hosts, or one of them, or a change of one.
    #[command(after_help = "Examples:\n  saker ctl groups corp.pay.web\n  \
        saker ctl groups corp.pay.web --put web.json\n  saker ctl groups corp.pay.web --add web-01")]
    Groups(GroupsArgs),
    /// Look after routes and receivers.
    #[command(subcommand)]
    Alarm(alarm::AlarmCommand),
    /// Roll a version of the agent out, and watch it.
    #[command(subcommand)]
    Upgrade(ctl_upgrade::UpgradeCommand),
    /// Take over what another system was told.
    #[command(subcommand)]
    Import(ImportCommand),
    /// Check, test and format rule files; run a rule over the past.
    #[command(subcommand)]
    Rules(RulesCommand),
    /// Routes, receivers and the like that alarm keeps in its database.
    #[command(subcommand)]
    Routing(routing::RoutingCommand),
    /// Check and try templates of messages.
    #[command(subcommand)]
    Templates(templates::TemplatesCommand),
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Keep asking for so long until all are ready.
    #[arg(long, default_value = "0s", value_name = "DURATION", value_parser = model::parse_duration)]
    wait: Duration,
    /// Base addresses of the roles.
    #[arg(long = "url", value_name = "URL", default_values_t = [
        "http://127.0.0.1:6060".to_owned(), "http://127.0.0.1:6031".to_owned(), "http://127.0.0.1:9912".to_owned(),
        "http://127.0.0.1:6081".to_owned(), "http://127.0.0.1:8080".to_owned()])]
    urls: Vec<String>,
    /// Output for machines.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    /// The expression.
    expression: String,
    /// The apiproxy to ask, or any Prometheus.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// Output for machines: the API's own answer.
    #[arg(long)]
    json: bool,
}

/// Asks and prints the answer.
pub(crate) fn run(common: &CommonArgs, command: Command) -> ExitCode {
    let outcome = init_log(common).map_err(anyhow::Error::from).and_then(|()| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let http = http_client()?;
            let text = match command {
                Command::Rules(command) => {
                    let outcome = rules::run(&http, command).await?;
                    return Ok(rules::finish(&outcome).into());
                }
                Command::Status(args) => status(&http, &args).await,
                Command::Query(args) => query(&http, &args).await,
                Command::Hosts(args) => hosts::hosts(&http, &args).await,
                Command::Groups(args) => hosts::groups(&http, &args).await,
                Command::Alarm(command) => alarm::run(&http, &command).await,
                Command::Upgrade(command) => ctl_upgrade::run(&http, command).await,
                Command::Import(command) => import::run(&http, command).await,
                Command::Templates(command) => templates::run(&command),
                Command::Routing(command) => routing::run(&http, &command).await,
            };
            say(&text?);
            Ok(ExitReason::Clean.into())
        })
    });
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("saker: {error:#}");
            StartError::reason_of(&error).into()
        }
    }
}

async fn status(http: &reqwest::Client, args: &StatusArgs) -> anyhow::Result<String> {
    let clock = Clock::System;
    let deadline = clock.now().plus(args.wait);
    loop {
        let mut rows = Vec::new();
        let mut all_ready = true;
        for url in &args.urls {
            let (role, state) = role_state(http, url).await;
            all_ready &= state == "ready";
            rows.push(vec![role, url.to_owned(), state]);
        }
        if all_ready || clock.now() >= deadline {
            let text = if args.json {
                as_json(&rows)
            } else {
                table(&["ROLE", "ADDRESS", "STATE"], &rows)
            };
            if !all_ready {
                bail!("not every role is ready\n{text}");
            }
            return Ok(text);
        }
        clock.sleep(Duration::from_millis(200)).await;
    }
}

async fn role_state(http: &reqwest::Client, url: &str) -> (String, String) {
    let Ok(version) = get(http, &format!("{url}/version")).await else {
        return ("?".to_owned(), "does not answer".to_owned());
    };
    let role = version["role"].as_str().unwrap_or("?").to_owned();
    match http.get(format!("{url}/-/ready")).send().await {
        Ok(answer) if answer.status().is_success() => (role, "ready".to_owned()),
        Ok(answer) => (role, answer.text().await.unwrap_or_default().trim().replace('\n', "; ")),
        Err(_) => (role, "does not answer".to_owned()),
    }
}

fn as_json(rows: &[Vec<String>]) -> String {
    let rows = rows
        .iter()
        .map(|row| serde_json::json!({ "role": row[0], "url": row[1], "state": row[2] }));
    Value::Array(rows.collect()).to_string()
}

async fn query(http: &reqwest::Client, args: &QueryArgs) -> anyhow::Result<String> {
    let url = format!("{}/api/v1/query", args.url.trim_end_matches('/'));
    let answer = http.get(&url).query(&[("query", &args.expression)]).send().await;
    let answer = answer.with_context(|| format!("ask {url}"))?;
    let status = answer.status();
    let answer: Value = answer.json().await.map_err(|_| no_answer(&url, status, "an apiproxy"))?;
    if answer["status"] != "success" {
        bail!("{}", answer["error"].as_str().unwrap_or("the answer is no Prometheus answer"));
    }
    if args.json {
        return Ok(answer.to_string());
    }
    let result = &answer["data"]["result"];
    if answer["data"]["resultType"] == "vector" {
        let rows: Vec<_> = result.as_array().into_iter().flatten().map(sample_row).collect();
        return Ok(if rows.is_empty() {
            "no series".to_owned()
        } else {
            table(&["SERIES", "VALUE"], &rows)
        });
    }
    Ok(serde_json::to_string_pretty(result)?)
}

fn sample_row(sample: &Value) -> Vec<String> {
    let labels: Labels = serde_json::from_value(sample["metric"].clone()).unwrap_or_default();
    vec![labels.to_string(), sample["value"][1].as_str().unwrap_or("?").to_owned()]
}

fn no_answer(url: &str, status: reqwest::StatusCode, what: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "{url} answers {status} with something else; give the address of {what} with --url"
    )
}

async fn get(http: &reqwest::Client, url: &str) -> anyhow::Result<Value> {
    Ok(http.get(url).send().await?.error_for_status()?.json().await?)
}
