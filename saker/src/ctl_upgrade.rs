//! `saker ctl upgrade`: rolls a version of the agent out, and watches it.

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::table::table;

/// What to do with the rollout.
#[derive(Debug, Subcommand)]
pub(crate) enum UpgradeCommand {
    /// How far the rollout has come.
    #[command(after_help = "Example:\n  saker ctl upgrade status --json")]
    Status(Hbs),
    /// Roll a version out. Run it on the machine of an hbs.
    #[command(
        after_help = "Example:\n  saker ctl upgrade start --wgeturl http://hbs:6031/file \\\n    \
        --version 7.1.0 --binfile-md5 d41d8cd98f00b204e9800998ecf8427e --canary 2"
    )]
    Start(Box<Start>),
    /// Offer it to no further host for now.
    #[command(after_help = "Example:\n  saker ctl upgrade pause")]
    Pause(Hbs),
    /// Go on after a pause or a halt.
    #[command(after_help = "Example:\n  saker ctl upgrade resume")]
    Resume(Hbs),
    /// End it; hosts that are underway finish or roll back.
    #[command(after_help = "Example:\n  saker ctl upgrade cancel")]
    Cancel(Hbs),
}

#[derive(Debug, Args)]
pub(crate) struct Hbs {
    /// The hbs to ask; changes are taken from its own machine only.
    #[arg(long, default_value = "http://127.0.0.1:6031")]
    url: String,
    /// Output for machines: the API's own answer.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Start {
    #[command(flatten)]
    hbs: Hbs,
    /// Base address of the files bin_VERSION and cfg_VERSION.
    #[arg(long)]
    wgeturl: String,
    /// The version.
    #[arg(long)]
    version: String,
    /// 0 the agent, 1 its configuration, 2 both.
    #[arg(long = "type", default_value_t = 0, value_name = "TYPE")]
    kind: u8,
    /// MD5 of the agent's file.
    #[arg(long)]
    binfile_md5: Option<String>,
    /// MD5 of the configuration's file.
    #[arg(long)]
    cfgfile_md5: Option<String>,
    /// SHA-256 of the agent's file.
    #[arg(long)]
    sha256: Option<String>,
    /// Ed25519 signature of the agent's file.
    #[arg(long)]
    signature: Option<String>,
    /// Only hosts of this architecture.
    #[arg(long)]
    arch: Option<String>,
    /// Only this host; may be given several times.
    #[arg(long = "host")]
    hosts: Vec<String>,
    /// Only hosts of this group and those below it; may be given several times.
    #[arg(long = "group")]
    groups: Vec<String>,
    /// Hosts that go first: a number, or a share such as 1%.
    #[arg(long)]
    canary: Option<String>,
    /// Percentages of the waves after the canary, as 1,10,100.
    #[arg(long, value_delimiter = ',')]
    waves: Vec<f64>,
    /// Seconds between two waves.
    #[arg(long)]
    soak: Option<u32>,
    /// Failures that halt it: a number of hosts, or a share such as 1%.
    #[arg(long)]
    max_fail: Option<String>,
    /// Hosts that are upgraded at once.
    #[arg(long)]
    max_in_flight: Option<u32>,
    /// Bytes a second for all hosts together.
    #[arg(long)]
    bandwidth: Option<u64>,
    /// Why, for the audit.
    #[arg(long)]
    reason: Option<String>,
    /// Let hosts with a newer version go back.
    #[arg(long)]
    allow_downgrade: bool,
    /// Cut another rollout off, or go on with this one where it halted.
    #[arg(long)]
    force: bool,
}

/// Asks and answers what is to be printed.
pub(crate) async fn run(http: &reqwest::Client, command: UpgradeCommand) -> anyhow::Result<String> {
    const PATH: &str = "/agent/upgrade";
    let (hbs, answer, done) = match command {
        UpgradeCommand::Status(hbs) => {
            let answer = call(http, &hbs, Method::GET, PATH, None).await?;
            if !hbs.json {
                return Ok(told(&answer["data"]));
            }
            (hbs, answer, "")
        }
        UpgradeCommand::Start(start) => {
            let body = start.body();
            let answer = call(http, &start.hbs, Method::POST, PATH, Some(body)).await?;
            (start.hbs, answer, "is being rolled out")
        }
        UpgradeCommand::Pause(hbs) => {
            let answer = call(http, &hbs, Method::POST, "/agent/upgrade/pause", None).await?;
            (hbs, answer, "is paused: it is offered to no further host")
        }
        UpgradeCommand::Resume(hbs) => {
            let answer = call(http, &hbs, Method::POST, "/agent/upgrade/resume", None).await?;
            (hbs, answer, "goes on")
        }
        UpgradeCommand::Cancel(hbs) => {
            let answer = call(http, &hbs, Method::DELETE, PATH, None).await?;
            (hbs, answer, "is cancelled: hosts that are underway finish or roll back")
        }
    };
    if hbs.json {
        return Ok(answer.to_string());
    }
    Ok(match text(answer["data"].get("version")) {
        "" => format!("the rollout {done}"),
        version => format!("version {version} {done}"),
    })
}

async fn call(
    http: &reqwest::Client,
    hbs: &Hbs,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> anyhow::Result<Value> {
    let url = format!("{}{path}", hbs.url.trim_end_matches('/'));
    let mut request = http.request(method, &url);
    if let Some(body) = body {
        request = request.body(body.to_string());
    }
    let answer = request.send().await.with_context(|| format!("ask {url}"))?;
    let status = answer.status();
    let text = answer.text().await.with_context(|| format!("read the answer of {url}"))?;
    if !status.is_success() {
        bail!("{url} answers {status}: {}", text.trim());
    }
    serde_json::from_str(&text)
        .with_context(|| format!("{url} is no hbs; give its address with --url"))
}

impl Start {
    fn body(&self) -> Value {
        let mut body = Map::new();
        body.insert("type".to_owned(), json!(self.kind));
        body.insert("wgeturl".to_owned(), json!(self.wgeturl));
        body.insert("version".to_owned(), json!(self.version));
        let mut put = |field: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(field.to_owned(), value);
            }
        };
        let text = |text: &Option<String>| text.as_ref().map(|text| json!(text));
        put("binfile_md5", text(&self.binfile_md5));
        put("cfgfile_md5", text(&self.cfgfile_md5));
        put("sha256", text(&self.sha256));
        put("signature", text(&self.signature));
        put("arch", text(&self.arch));
        put("reason", text(&self.reason));
        put("canary", self.canary.as_deref().map(share));
        put("max_fail", self.max_fail.as_deref().map(share));
        put("soak", self.soak.map(Value::from));
        put("max_in_flight", self.max_in_flight.map(Value::from));
        put("bandwidth", self.bandwidth.map(Value::from));
        put("hosts", (!self.hosts.is_empty()).then(|| json!(self.hosts)));
        put("groups", (!self.groups.is_empty()).then(|| json!(self.groups)));
        put("waves", (!self.waves.is_empty()).then(|| json!(self.waves)));
        put("allow_downgrade", self.allow_downgrade.then_some(Value::Bool(true)));
        put("force", self.force.then_some(Value::Bool(true)));
        Value::Object(body)
    }
}

/// A number as one, anything else as text: hbs says what is wrong with it.
fn share(text: &str) -> Value {
    text.parse::<u64>().map_or_else(|_| json!(text), Value::from)
}

/// The status for people.
fn told(status: &Value) -> String {
    let phase = text(status.get("phase"));
    if phase == "idle" {
        return "no rollout".to_owned();
    }
    let mut lines = vec![format!(
        "version {}: {phase}{}",
        text(status["task"].get("version")),
        match text(status.get("why")) {
            "" => String::new(),
            why => format!(" ({why})"),
        }
    )];
    lines.push(format!("in flight {} of {}", status["in_flight"], status["in_flight_max"]));
    let each = |list: &Value| list.as_array().cloned().unwrap_or_default();
    let waves: Vec<Vec<String>> = each(&status["waves"])
        .iter()
        .map(|wave| {
            let is_open = if wave["opened"] == true { "open" } else { "-" };
            let number = |field: &str| wave[field].to_string();
            vec![
                number("wave"),
                text(wave.get("reach")).to_owned(),
                is_open.to_owned(),
                number("started"),
                number("confirmed"),
                number("failed"),
            ]
        })
        .collect();
    lines.push(table(&["WAVE", "REACH", "STATE", "STARTED", "CONFIRMED", "FAILED"], &waves));
    let failed: Vec<Vec<String>> = each(&status["failed"])
        .iter()
        .map(|host| {
            ["host", "phase", "reason"].map(|field| text(host.get(field)).to_owned()).to_vec()
        })
        .collect();
    if !failed.is_empty() {
        lines.push(table(&["HOST", "PHASE", "REASON"], &failed));
    }
    lines.join("\n")
}

fn text(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: UpgradeCommand,
    }

    #[test]
    fn the_arguments_become_the_body_that_hbs_takes() {
        let words = "x start --wgeturl http://a --version 7.1 --binfile-md5 0f --canary 2% \
                     --waves 10,100 --max-fail 3 --host a --host b --force";
        let line = Line::try_parse_from(words.split_whitespace()).expect("it is valid");
        let UpgradeCommand::Start(start) = line.command else { panic!("it starts") };
        let expected = json!({
            "type": 0, "wgeturl": "http://a", "version": "7.1", "binfile_md5": "0f",
            "canary": "2%", "waves": [10.0, 100.0], "max_fail": 3, "hosts": ["a", "b"],
            "force": true,
        });
        assert_eq!(start.body(), expected);
    }

    #[test]
    fn a_halted_rollout_is_told_with_its_reason_and_its_hosts() {
        let status = json!({
            "phase": "halted", "why": "a canary", "task": { "version": "7.1" },
            "in_flight": 0, "in_flight_max": 2000,
            "waves": [{
                "wave": 1, "reach": "1 host", "opened": true, "started": 1, "confirmed": 0,
                "failed": 1,
            }],
            "failed": [{ "host": "web-01", "phase": "failed", "reason": "md5 mismatch" }],
        });
        let told = told(&status);
        for part in ["7.1: halted (a canary)", "0 of 2000", "1 host", "web-01", "md5 mismatch"] {
            assert!(told.contains(part), "{told}");
        }
        assert_eq!(super::told(&json!({ "phase": "idle" })), "no rollout");
    }
}
