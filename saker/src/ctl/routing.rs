//! `saker ctl routing …`: the objects of alarm's database as one file.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::Value;

use crate::table::table;

/// What to do with routes, receivers, inhibitions, time intervals and templates.
#[derive(Debug, Subcommand)]
pub(crate) enum RoutingCommand {
    /// List the objects and where each comes from; those that are left out say why.
    List(Asked),
    /// Print the objects of the database as a file of Alertmanager, secrets as `<secret>`.
    #[command(
        after_help = "Examples:\n  saker ctl routing export > routing.yml\n  saker ctl routing export --all"
    )]
    Export(ExportArgs),
    /// Put the objects of a file into the database: an export, or a file of Alertmanager.
    #[command(after_help = "Examples:\n  saker ctl routing import alertmanager.yml --dry-run\n  \
                            saker ctl routing import routing.yml --replace")]
    Import(ImportArgs),
    /// List the versions of an object: who changed it when.
    #[command(after_help = "Example:\n  saker ctl routing history routes db")]
    History(ObjectArgs),
    /// Put back what an object was in a version.
    #[command(after_help = "Example:\n  saker ctl routing restore routes db 7 --dry-run")]
    Restore(RestoreArgs),
}

/// Which object.
#[derive(Debug, Args)]
pub(crate) struct ObjectArgs {
    /// `routes`, `receivers`, `inhibitions`, `time-intervals` or `templates`.
    kind: String,
    /// Its name.
    name: String,
    #[command(flatten)]
    asked: Asked,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    object: ObjectArgs,
    /// The version, as `history` lists it.
    version: i64,
    /// Only say what would change.
    #[arg(long)]
    dry_run: bool,
}

/// Which alarm, and who asks.
#[derive(Debug, Args)]
pub(crate) struct Asked {
    /// The alarm to ask.
    #[arg(long, default_value = "http://127.0.0.1:9912")]
    url: String,
    /// A file with a token of `alarm.token_file`; needed from another machine.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// All that holds, also what is in the settings or a file.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    asked: Asked,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The file.
    file: PathBuf,
    /// Only say what would change.
    #[arg(long)]
    dry_run: bool,
    /// Also remove what is in the database and not in the file.
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    asked: Asked,
}

/// Does it; fails with what alarm says.
pub(crate) async fn run(
    http: &reqwest::Client,
    command: &RoutingCommand,
) -> anyhow::Result<String> {
    match command {
        RoutingCommand::List(asked) => list(http, asked).await,
        RoutingCommand::Export(args) => {
            let path = if args.all { "/config" } else { "/config?origin=database" };
            args.asked.send(http, reqwest::Method::GET, path, String::new()).await
        }
        RoutingCommand::Import(args) => import(http, args).await,
        RoutingCommand::History(args) => history(http, args).await,
        RoutingCommand::Restore(args) => restore(http, args).await,
    }
}

impl Asked {
    async fn send(
        &self,
        http: &reqwest::Client,
        method: reqwest::Method,
        path: &str,
        body: String,
    ) -> anyhow::Result<String> {
        let base = self.url.trim_end_matches('/');
        let mut request = http.request(method, format!("{base}/api/v1/routing{path}")).body(body);
        if let Some(file) = &self.token_file {
            request = request.bearer_auth(read(file)?.trim());
        }
        let answer = request.send().await.with_context(|| format!("ask {base}"))?;
        let status = answer.status();
        let text = answer.text().await.with_context(|| format!("read the answer of {base}"))?;
        if status.is_success() {
            return Ok(text);
        }
        let fault: Value = serde_json::from_str(&text).unwrap_or_default();
        bail!("{}", fault["error"].as_str().unwrap_or("the answer is none of an alarm; see --url"));
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))
}

async fn list(http: &reqwest::Client, asked: &Asked) -> anyhow::Result<String> {
    let mut rows = Vec::new();
    for kind in ["routes", "receivers", "inhibitions", "time-intervals", "templates"] {
        let path = format!("/{kind}");
        let text = asked.send(http, reqwest::Method::GET, &path, String::new()).await?;
        let objects: Vec<Value> = serde_json::from_str(&text).context("read the answer")?;
        rows.extend(objects.iter().map(row));
    }
    Ok(table(&["KIND", "NAME", "ORIGIN", "VERSION", "BY", "LEFT OUT"], &rows))
}

fn row(object: &Value) -> Vec<String> {
    let text = |key: &str| object[key].as_str().unwrap_or("").to_owned();
    let version =
        object["version"].as_i64().map_or_else(String::new, |version| version.to_string());
    vec![text("kind"), text("name"), text("origin"), version, text("changedBy"), text("leftOut")]
}

async fn import(http: &reqwest::Client, args: &ImportArgs) -> anyhow::Result<String> {
    let path = format!("/config?dry_run={}&replace={}", args.dry_run, args.replace);
    let text = args.asked.send(http, reqwest::Method::PUT, &path, read(&args.file)?).await?;
    Ok(told(&serde_json::from_str(&text).context("read the answer")?))
}

impl ObjectArgs {
    /// The address below that of the objects. A name may have any characters.
    fn path(&self, act: &str) -> anyhow::Result<String> {
        let mut url = reqwest::Url::parse("http://alarm")?;
        if let Ok(mut path) = url.path_segments_mut() {
            path.push(&self.kind).push(&self.name).push(act);
        }
        Ok(url.path().to_owned())
    }
}

async fn history(http: &reqwest::Client, args: &ObjectArgs) -> anyhow::Result<String> {
    let (get, path) = (reqwest::Method::GET, args.path("history")?);
    let text = args.asked.send(http, get, &path, String::new()).await?;
    let entries: Vec<Value> = serde_json::from_str(&text).context("read the answer")?;
    let rows: Vec<Vec<String>> = entries.iter().map(change_row).collect();
    Ok(table(&["VERSION", "AT", "BY", "FROM", "ACTION"], &rows))
}

fn change_row(entry: &Value) -> Vec<String> {
    let text = |key: &str| entry[key].as_str().unwrap_or("").to_owned();
    let version = entry["version"].as_i64().map_or_else(String::new, |version| version.to_string());
    vec![version, text("at"), text("actor"), text("peer"), text("action")]
}

async fn restore(http: &reqwest::Client, args: &RestoreArgs) -> anyhow::Result<String> {
    let path = args.object.path("restore")?;
    let path = format!("{path}?version={}&dry_run={}", args.version, args.dry_run);
    let post = reqwest::Method::POST;
    let text = args.object.asked.send(http, post, &path, String::new()).await?;
    Ok(told(&serde_json::from_str(&text).context("read the answer")?))
}

/// What an import did, or would do.
fn told(answer: &Value) -> String {
    let list = |key: &str| answer[key].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let mut lines: Vec<String> =
        list("warnings").map(|warning| format!("warning: {}", text(warning))).collect();
    lines.extend(list("changed").map(|change| {
        format!("{} {} {}", text(&change["change"]), text(&change["kind"]), text(&change["name"]))
    }));
    let count = list("changed").count();
    lines.push(match (count, answer["version"].as_i64()) {
        (0, _) => "nothing changes".to_owned(),
        (_, Some(version)) => format!("{count} changed, version {version}"),
        (_, None) => format!("{count} would change; nothing was stored"),
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_import_says_what_it_did_or_would_do() {
        let changed = json!([{ "change": "put", "kind": "route", "name": "db" }]);
        let done = json!({ "version": 7, "changed": changed, "warnings": ["x is not used"] });
        assert_eq!(told(&done), "warning: x is not used\nput route db\n1 changed, version 7");
        let dry = json!({ "version": null, "changed": changed, "warnings": [] });
        assert!(told(&dry).ends_with("1 would change; nothing was stored"));
        assert_eq!(told(&json!({ "changed": [] })), "nothing changes");
    }

    #[test]
    fn a_name_cannot_lead_to_another_address() {
        let asked = Asked { url: String::new(), token_file: None };
        let (kind, name) = ("routes".to_owned(), "db/../x?y".to_owned());
        let path = ObjectArgs { kind, name, asked }.path("history").unwrap();
        assert_eq!(path, "/routes/db%2F..%2Fx%3Fy/history");
        let entry = json!({ "version": 7, "at": "t", "actor": "ann", "action": "route.put" });
        assert_eq!(change_row(&entry), ["7", "t", "ann", "", "route.put"]);
    }

    #[test]
    fn an_object_that_is_left_out_says_why() {
        let object = json!({ "kind": "route", "name": "db", "origin": "database", "version": 3,
            "changedBy": "ann", "leftOut": "receiver \"x\" is not defined" });
        assert_eq!(row(&object)[3..], ["3", "ann", "receiver \"x\" is not defined"]);
    }
}
