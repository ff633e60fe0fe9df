//! `saker ctl hosts` and `saker ctl groups`: what hbs knows of the hosts, and what it tells them.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use super::no_answer;
use crate::table::table;

#[derive(Debug, Args)]
pub(crate) struct HostsArgs {
    /// One host: what it is told, and which group gave what.
    host: Option<String>,
    /// Only hosts whose names match; `*` stands for any letters, `?` for one.
    #[arg(long, value_name = "PATTERN")]
    name: Option<String>,
    /// Only hosts in this group or one below it.
    #[arg(long)]
    group: Option<String>,
    /// Only hosts whose agents have this version.
    #[arg(long = "agent", value_name = "VERSION")]
    version: Option<String>,
    /// Only hosts with this label of their own.
    #[arg(long, value_name = "NAME=VALUE")]
    label: Option<String>,
    /// Only hosts that are silent.
    #[arg(long)]
    silent: bool,
    /// Only hosts that could not apply all they were told.
    #[arg(long)]
    faulty: bool,
    #[command(flatten)]
    hbs: Hbs,
}

#[derive(Debug, Args)]
pub(crate) struct GroupsArgs {
    /// One group: what it holds, and its hosts.
    group: Option<String>,
    /// Create or replace the group with what is in this JSON file; `-` for standard input.
    #[arg(long, value_name = "FILE", requires = "group")]
    put: Option<PathBuf>,
    /// Put a host into the group by hand.
    #[arg(long, value_name = "HOST", requires = "group", conflicts_with = "put")]
    add: Vec<String>,
    /// Take a host out of the group that was put there by hand.
    #[arg(long, value_name = "HOST", requires = "group", conflicts_with = "put")]
    take_out: Vec<String>,
    /// Remove the group.
    #[arg(long, requires = "group", conflicts_with_all = ["put", "add", "take_out"])]
    remove: bool,
    /// A file with the token that allows changes from another machine than that of hbs.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    hbs: Hbs,
}

#[derive(Debug, Args)]
struct Hbs {
    /// The hbs to ask.
    #[arg(long, default_value = "http://127.0.0.1:6031")]
    url: String,
    /// Output for machines: the API's own answer.
    #[arg(long)]
    json: bool,
}

impl Hbs {
    fn request(
        &self,
        http: &Client,
        method: Method,
        path: &[&str],
    ) -> anyhow::Result<RequestBuilder> {
        let mut url = reqwest::Url::parse(&self.url).with_context(|| {
            format!("{:?} is no address; give that of hbs with --url", self.url)
        })?;
        let mut segments = url
            .path_segments_mut()
            .ok()
            .with_context(|| format!("{:?} is no address", self.url))?;
        segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        drop(segments);
        Ok(http.request(method, url))
    }

    /// The answer to a request, or what hbs says is wrong with it.
    async fn ask(&self, request: RequestBuilder) -> anyhow::Result<Value> {
        let answer = request.send().await.with_context(|| format!("ask {}", self.url))?;
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        if !status.is_success() {
            bail!("{}", text.trim_end());
        }
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).map_err(|_| no_answer(&self.url, status, "an hbs"))
    }

    /// All pages of a list.
    async fn pages(
        &self,
        http: &Client,
        path: &[&str],
        list: &str,
        filter: &[(&str, &str)],
    ) -> anyhow::Result<Vec<Value>> {
        let mut all = Vec::new();
        let mut after = String::new();
        loop {
            let request = self.request(http, Method::GET, path)?.query(filter);
            let page = [("after", after.as_str()), ("limit", "1000")];
            let mut page = self.ask(request.query(&page)).await?;
            match page[list].take() {
                Value::Array(found) => all.extend(found),
                _ => return Err(no_answer(&self.url, reqwest::StatusCode::OK, "an hbs")),
            }
            let Some(next) = page["next_after"].as_str() else { return Ok(all) };
            after = next.to_owned();
        }
    }
}

/// The hosts, or one of them.
pub(crate) async fn hosts(http: &Client, args: &HostsArgs) -> anyhow::Result<String> {
    if let Some(host) = &args.host {
        let path = ["hosts", host, "desired"];
        let told = args.hbs.ask(args.hbs.request(http, Method::GET, &path)?).await?;
        return Ok(if args.hbs.json { told.to_string() } else { explained(&told) });
    }
    let given = |key, value: &'_ Option<String>| value.clone().map(|value| (key, value));
    let flag = |key, is_set: bool| is_set.then(|| (key, "true".to_owned()));
    let filter: Vec<(&str, String)> = [
        given("name", &args.name),
        given("group", &args.group),
        given("version", &args.version),
        given("label", &args.label),
        flag("silent", args.silent),
        flag("faulty", args.faulty),
    ]
    .into_iter()
    .flatten()
    .collect();
    let filter: Vec<(&str, &str)> =
        filter.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let hosts = args.hbs.pages(http, &["hosts"], "hosts", &filter).await?;
    if args.hbs.json {
        return Ok(Value::Array(hosts).to_string());
    }
    let row = |host: &Value| {
        let age = host["heartbeat_age_seconds"].as_f64().unwrap_or_default();
        let groups: Vec<String> =
            host["groups"].as_array().into_iter().flatten().map(text).collect();
        let name = text(&host["name"]);
        vec![
            name,
            text(&host["ip"]),
            text(&host["agent_version"]),
            format!("{age:.0}s"),
            groups.join(" "),
        ]
    };
    let rows: Vec<_> = hosts.iter().map(row).collect();
    Ok(table(&["HOST", "ADDRESS", "AGENT", "SILENT FOR", "GROUPS"], &rows))
}

fn explained(told: &Value) -> String {
    let list = |key: &str| told[key].as_array().cloned().unwrap_or_default();
    let group = |group: &Value| {
        let because = &group["because"];
        let of = ["pattern", "labels", "group"].iter().find_map(|key| because.get(key));
        let of =
            of.map_or_else(String::new, |of| of.as_str().map_or(of.to_string(), str::to_owned));
        vec![text(&group["group"]), format!("{} {of}", text(&because["by"])).trim_end().to_owned()]
    };
    let origin = |origin: &Value| {
        let before: Vec<String> =
            origin["instead_of"].as_array().into_iter().flatten().map(text).collect();
        let off = if origin["off"] == true { "switched off" } else { "" };
        vec![text(&origin["part"]), text(&origin["group"]), off.to_owned(), before.join(" ")]
    };
    let groups: Vec<_> = list("groups").iter().map(group).collect();
    let origins: Vec<_> = list("origins").iter().map(origin).collect();
    let mut lines = vec![table(&["GROUP", "BECAUSE OF"], &groups)];
    lines.push(table(&["WHAT IT IS TOLD", "BY", "", "INSTEAD OF"], &origins));
    lines.extend(list("faults").iter().map(|fault| format!("not handed out: {}", text(fault))));
    lines.push(match (&told["known"], &told["applied"]) {
        (Value::Bool(false), _) => "The host was not heard yet.".to_owned(),
        (_, Value::Bool(true)) => "The host has applied it.".to_owned(),
        _ => "The host has not applied it yet.".to_owned(),
    });
    lines.join("\n\n")
}

/// The groups, or one of them, or a change of one.
pub(crate) async fn groups(http: &Client, args: &GroupsArgs) -> anyhow::Result<String> {
    let Some(group) = &args.group else { return list_groups(http, args).await };
    let change = |method: Method, path: &[&str]| -> anyhow::Result<RequestBuilder> {
        let request = args.hbs.request(http, method, path)?;
        let Some(file) = &args.token_file else { return Ok(request) };
        let token = std::fs::read_to_string(file)
            .with_context(|| format!("read the token in {}", file.display()))?;
        Ok(request.bearer_auth(token.trim()))
    };
    if args.remove {
        args.hbs.ask(change(Method::DELETE, &["groups", group])?).await?;
        return Ok(format!("group {group} is removed"));
    }
    if let Some(file) = &args.put {
        let body = if file.as_os_str() == "-" {
            std::io::read_to_string(std::io::stdin()).context("read standard input")?
        } else {
            std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?
        };
        let stored = args.hbs.ask(change(Method::PUT, &["groups", group])?.body(body)).await?;
        return Ok(format!("group {group} has version {}", stored["version"]));
    }
    if !args.add.is_empty() || !args.take_out.is_empty() {
        let body = json!({ "add": args.add, "remove": args.take_out }).to_string();
        let request = change(Method::POST, &["groups", group, "members"])?.body(body);
        args.hbs.ask(request).await?;
        return Ok(format!("the members of group {group} are changed"));
    }
    show_group(http, args, group).await
}

async fn list_groups(http: &Client, args: &GroupsArgs) -> anyhow::Result<String> {
    let groups = args.hbs.pages(http, &["groups"], "groups", &[]).await?;
    if args.hbs.json {
        return Ok(Value::Array(groups).to_string());
    }
    let row = |group: &Value| {
        let spec = &group["spec"];
        let name = text(&group["name"]);
        vec![name, group["hosts"].to_string(), text(&spec["description"])]
    };
    let rows: Vec<_> = groups.iter().map(row).collect();
    Ok(table(&["GROUP", "HOSTS", "WHAT IT IS FOR"], &rows))
}

async fn show_group(http: &Client, args: &GroupsArgs, group: &str) -> anyhow::Result<String> {
    let shown = args.hbs.ask(args.hbs.request(http, Method::GET, &["groups", group])?).await?;
    let hosts = args.hbs.pages(http, &["groups", group, "hosts"], "hosts", &[]).await?;
    if args.hbs.json {
        return Ok(json!({ "group": shown, "hosts": hosts }).to_string());
    }
    let row = |host: &Value| vec![text(&host["host"]), text(&host["group"]), text(&host["by"])];
    let rows: Vec<_> = hosts.iter().map(row).collect();
    let spec = serde_json::to_string_pretty(&shown["spec"])?;
    Ok(format!("{spec}\n\n{}", table(&["HOST", "IN", "BY"], &rows)))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("").to_owned()
}
