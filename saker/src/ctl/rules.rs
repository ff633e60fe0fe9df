//! `saker ctl rules`: checks, tests and formats rule files without a running Saker, and asks a judge when a rule
//! would have fired.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use judge::{
    BACKTEST_TIMEOUT, CheckReport, TestReport, check_rule_file, check_rules, format_rules,
    run_test_file,
};
use serde_json::{Value, json};

use super::no_answer;
use crate::table::{say, table};

/// What to do with rules.
#[derive(Debug, Subcommand)]
pub(crate) enum RulesCommand {
    /// Check rule files: exit code 0 when all are good, 1 when one has a fault, 3 for duplicates with --lint-fatal.
    #[command(after_help = "Examples:\n  saker ctl rules check /etc/saker/rules/*.yml\n  \
        saker ctl rules check --lint-fatal rules.yml\n  cat rules.yml | saker ctl rules check -")]
    Check(CheckArgs),
    /// Run unit tests of rules, in the file format of `promtool test rules`: exit code 0 when all pass, 1 otherwise.
    #[command(after_help = "Examples:\n  saker ctl rules test tests/*.yml\n  \
        saker ctl rules test --json tests/disk.yml")]
    Test(FilesArgs),
    /// Write the expressions of rule files in the usual form; everything else, comments too, stays as it is.
    #[command(after_help = "Examples:\n  saker ctl rules fmt /etc/saker/rules/*.yml\n  \
        saker ctl rules fmt --check rules.yml     only say which would change: exit code 1 then")]
    Fmt(FmtArgs),
    /// Ask a judge when a rule would have fired over the stored data.
    #[command(after_help = "Examples:\n  \
        saker ctl rules backtest --rule disk.yml --from 2026-01-01T00:00:00Z --to 2026-01-02T00:00:00Z\n  \
        saker ctl rules backtest --rule rules.yml --name DiskFull --from 1767225600 --interval 1m --json")]
    Backtest(BacktestArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Rule files; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Two rules of the same name and labels are a failure, not a remark.
    #[arg(long)]
    lint_fatal: bool,
    /// Output for machines.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct FilesArgs {
    /// Files of tests.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Output for machines.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct FmtArgs {
    /// Rule files; `-` reads standard input and writes standard output.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Change nothing, only name the files that would change.
    #[arg(long)]
    check: bool,
    /// Output for machines.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BacktestArgs {
    /// A file with one rule, or a rule file; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    rule: PathBuf,
    /// Which alert of a rule file.
    #[arg(long)]
    name: Option<String>,
    /// First evaluation: seconds since the epoch, or RFC 3339.
    #[arg(long)]
    from: String,
    /// Last evaluation; now when it is not given.
    #[arg(long)]
    to: Option<String>,
    /// Time between two evaluations, as 15s.
    #[arg(long, value_name = "DURATION")]
    interval: Option<String>,
    /// The judge to ask.
    #[arg(long, default_value = "http://127.0.0.1:6081")]
    url: String,
    /// Output for machines: the API's own answer.
    #[arg(long)]
    json: bool,
}

/// How much longer than a judge works on a backtest its answer is waited for.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// How often a person is told that a backtest goes on.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// What a command came to.
pub(crate) struct Outcome {
    /// What is still to be printed.
    pub(crate) text: String,
    /// The exit code: that of promtool where promtool has the command.
    pub(crate) code: u8,
}

/// Runs a command.
pub(crate) async fn run(http: &reqwest::Client, command: RulesCommand) -> anyhow::Result<Outcome> {
    match command {
        RulesCommand::Check(args) => check(&args),
        RulesCommand::Test(args) => Ok(test(&args).await),
        RulesCommand::Fmt(args) => format(&args),
        RulesCommand::Backtest(args) => backtest(http, &args).await,
    }
}

fn check(args: &CheckArgs) -> anyhow::Result<Outcome> {
    let mut reports = Vec::new();
    for file in &args.files {
        reports.push(match is_input(file) {
            true => check_rules("-", &read(file)?),
            false => check_rule_file(file),
        });
    }
    let is_faulty = reports.iter().any(|report| !report.faults.is_empty());
    let has_duplicates = reports.iter().any(|report| !report.duplicates.is_empty());
    let code = match (is_faulty, has_duplicates && args.lint_fatal) {
        (true, _) => 1,
        (false, true) => 3,
        (false, false) => 0,
    };
    let text = if args.json {
        serde_json::to_string(&reports)?
    } else {
        reports.iter().map(checked).collect::<Vec<_>>().join("\n")
    };
    Ok(Outcome { text, code })
}

fn checked(report: &CheckReport) -> String {
    let mut text = format!("Checking {}\n", report.file);
    for fault in &report.faults {
        text.push_str(&format!("  FAILED: {fault}\n"));
    }
    if report.faults.is_empty() {
        text.push_str(&format!("  SUCCESS: {} rules found\n", report.rules));
    }
    for duplicate in &report.duplicates {
        text.push_str(&format!("  duplicate rule: {duplicate}\n"));
    }
    text
}

async fn test(args: &FilesArgs) -> Outcome {
    let mut reports = Vec::new();
    for file in &args.files {
        let report = run_test_file(file).await;
        // Files may be many and slow: each is told when it is done.
        if !args.json {
            say(&tested(&report));
        }
        reports.push(report);
    }
    let code = u8::from(reports.iter().any(|report| !report.failures.is_empty()));
    let text = if args.json { json!(reports).to_string() } else { String::new() };
    Outcome { text, code }
}

fn tested(report: &TestReport) -> String {
    let mut text = format!("Unit Testing:  {}\n", report.file);
    for warning in &report.warnings {
        text.push_str(&format!("  WARNING: {warning}\n"));
    }
    if report.failures.is_empty() {
        text.push_str("  SUCCESS\n");
        return text;
    }
    text.push_str("  FAILED:\n");
    for failure in &report.failures {
        text.push_str(&format!("    {}\n", failure.replace('\n', "\n    ")));
    }
    text
}

fn format(args: &FmtArgs) -> anyhow::Result<Outcome> {
    let (mut lines, mut changed, mut is_faulty) = (Vec::new(), Vec::new(), false);
    for file in &args.files {
        let before = match read(file) {
            Ok(before) => before,
            // The other files are formatted all the same.
            Err(error) => {
                is_faulty = true;
                lines.push(format!("{error:#}"));
                continue;
            }
        };
        match format_rules(&file.display().to_string(), &before) {
            Ok(after) if is_input(file) && !args.check => {
                return Ok(Outcome { text: after.trim_end().to_owned(), code: 0 });
            }
            // What goes to standard output are the rules, which may become a file.
            Err(faults) if is_input(file) && !args.check => {
                let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
                bail!("nothing was formatted:\n{}", faults.join("\n"));
            }
            Ok(after) if after != before => {
                if !args.check {
                    replace(file, &after)?;
                }
                changed.push(file.display().to_string());
            }
            Ok(_) => {}
            Err(faults) => {
                is_faulty = true;
                lines.extend(faults.iter().map(ToString::to_string));
            }
        }
    }
    let code = u8::from(is_faulty || (args.check && !changed.is_empty()));
    let text = if args.json {
        json!({ "changed": changed, "faults": lines }).to_string()
    } else {
        let verb = if args.check { "would change" } else { "formatted" };
        lines.extend(changed.iter().map(|file| format!("{verb}: {file}")));
        if lines.is_empty() { "nothing to change".to_owned() } else { lines.join("\n") }
    };
    Ok(Outcome { text, code })
}

/// Writes beside the file and then in its place: a full disk must not cost the rules.
fn replace(file: &Path, text: &str) -> anyhow::Result<()> {
    let beside = file.with_extension("saker-fmt");
    let write = || {
        std::fs::write(&beside, text)?;
        std::fs::set_permissions(&beside, std::fs::metadata(file)?.permissions())?;
        std::fs::rename(&beside, file)
    };
    write().with_context(|| format!("write {}", file.display()))
}

async fn backtest(http: &reqwest::Client, args: &BacktestArgs) -> anyhow::Result<Outcome> {
    let text = read(&args.rule)?;
    let rule = judge::pick_rule(&text, args.name.as_deref()).map_err(anyhow::Error::msg)?;
    let mut body = json!({ "rule": rule, "from": args.from });
    for (key, value) in [("to", &args.to), ("interval", &args.interval)] {
        if let Some(value) = value {
            body[key] = json!(value);
        }
    }
    let url = format!("{}/api/v1/rules/backtest", args.url.trim_end_matches('/'));
    let request = http.post(&url).timeout(BACKTEST_TIMEOUT + ANSWER_TIME).body(body.to_string());
    let asking = async {
        let answer = request.send().await.with_context(|| format!("ask {url}"))?;
        let status = answer.status();
        answer.json::<Value>().await.map_err(|_| no_answer(&url, status, "a judge"))
    };
    let answer = with_progress(asking).await?;
    if answer["status"] != "success" {
        bail!("{}", answer["error"].as_str().unwrap_or("the answer is not that of a judge"));
    }
    let text = if args.json { answer.to_string() } else { fired(&answer["data"]) };
    Ok(Outcome { text, code: 0 })
}

/// Tells on standard error, now and then, that an answer is still waited for.
async fn with_progress<T>(asking: impl Future<Output = T>) -> T {
    let mut asking = std::pin::pin!(asking);
    let mut waited = Duration::ZERO;
    loop {
        match tokio::time::timeout(PROGRESS_EVERY, &mut asking).await {
            Ok(answer) => return answer,
            Err(_) => waited += PROGRESS_EVERY,
        }
        let (seconds, limit) = (waited.as_secs(), BACKTEST_TIMEOUT.as_secs());
        eprintln!(
            "the judge goes through stored data: {seconds} s so far, it gives up after {limit} s"
        );
    }
}

fn fired(data: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let mut rows = Vec::new();
    for alert in data["alerts"].as_array().into_iter().flatten() {
        let labels: model::Labels =
            serde_json::from_value(alert["labels"].clone()).unwrap_or_default();
        for time in alert["times"].as_array().into_iter().flatten() {
            let moments = ["activeAt", "firedAt", "endedAt"].map(|key| text(&time[key]));
            rows.push([vec![labels.to_string()], moments.to_vec()].concat());
        }
    }
    let mut lines = Vec::new();
    if !rows.is_empty() {
        lines.push(table(&["ALERT", "ACTIVE", "FIRED", "ENDED"], &rows));
    }
    for error in data["errors"].as_array().into_iter().flatten() {
        lines.push(format!("failed at {}: {}", text(&error["at"]), text(&error["error"])));
    }
    lines.push(format!(
        "{} evaluations from {} to {}, {} failed; fired {} times",
        data["steps"],
        text(&data["from"]),
        text(&data["to"]),
        data["failedSteps"],
        data["fired"]
    ));
    lines.join("\n")
}

fn is_input(file: &Path) -> bool {
    file == Path::new("-")
}

fn read(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let outcome = if is_input(file) {
        std::io::stdin().read_to_string(&mut text).map(|_| ())
    } else {
        std::fs::read_to_string(file).map(|read| text = read)
    };
    outcome.with_context(|| format!("read {}", file.display()))?;
    Ok(text)
}

/// Prints the outcome; answers the exit code.
pub(crate) fn finish(outcome: &Outcome) -> u8 {
    if !outcome.text.is_empty() {
        say(outcome.text.trim_end());
    }
    outcome.code
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "groups: [{name: g, rules: [{record: a, expr: x}, {record: a, expr: y}]}]";

    fn checking(files: &[(&str, &str)], lint_fatal: bool) -> Outcome {
        let folder = tempfile::tempdir().unwrap();
        let files = files.iter().map(|(name, text)| {
            let file = folder.path().join(name);
            std::fs::write(&file, text).unwrap();
            file
        });
        check(&CheckArgs { files: files.collect(), lint_fatal, json: false }).unwrap()
    }

    #[test]
    fn the_exit_codes_are_those_of_promtool() {
        let good = checking(&[("a.yml", GOOD)], false);
        assert_eq!(good.code, 0);
        assert!(good.text.contains("SUCCESS: 2 rules found"), "{}", good.text);
        assert!(good.text.contains("duplicate rule: record a {}: 2 times"), "{}", good.text);
        assert_eq!(checking(&[("a.yml", GOOD)], true).code, 3);
        let bad = checking(&[("a.yml", GOOD), ("b.yml", "groups:\n- name: g\n  rule: []\n")], true);
        assert_eq!(bad.code, 1);
        assert!(bad.text.contains("b.yml:3: "), "{}", bad.text);
    }

    #[test]
    fn files_are_formatted_in_place_or_only_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yml");
        let text = "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up==0\n";
        std::fs::write(&file, text).unwrap();
        let run = |check| {
            format(&FmtArgs { files: vec![file.clone()], check, json: false }).unwrap().code
        };
        assert_eq!(run(true), 1);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        assert_eq!(run(false), 0);
        assert!(std::fs::read_to_string(&file).unwrap().ends_with("    expr: up == 0\n"));
        assert_eq!(run(true), 0);
    }

    #[test]
    fn a_file_that_cannot_be_read_costs_the_others_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (missing, file) = (folder.path().join("none.yml"), folder.path().join("a.yml"));
        std::fs::write(&file, "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up==0\n")
            .unwrap();
        let files = vec![missing, file.clone()];
        let outcome = format(&FmtArgs { files, check: false, json: false }).unwrap();
        assert_eq!(outcome.code, 1);
        assert!(outcome.text.contains("none.yml: No such file"), "{}", outcome.text);
        assert!(std::fs::read_to_string(&file).unwrap().ends_with("expr: up == 0\n"));
    }

    #[test]
    fn a_backtest_is_told_as_a_table() {
        let data = json!({
            "from": "a", "to": "b", "steps": 5, "failedSteps": 1, "fired": 1,
            "errors": [{ "at": "t", "error": "away" }],
            "alerts": [{ "labels": { "endpoint": "x" },
                "times": [{ "activeAt": "1", "firedAt": "2", "endedAt": null }] }],
        });
        let text = fired(&data);
        assert!(text.contains("{endpoint=\"x\"}  1       2      -"), "{text}");
        assert!(
            text.ends_with("failed at t: away\n5 evaluations from a to b, 1 failed; fired 1 times")
        );
    }
}
