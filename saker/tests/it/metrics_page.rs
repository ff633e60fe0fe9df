//! `docs/metrics.md` lists what the agent measures and what every process says of itself. It is written by this
//! test: `SAKER_REGENERATE=1 cargo test -p saker --test it metrics_page` after a change of metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use model::{MetricKind, canonical_name, format_duration};
use saker_agent::catalogue::{Group, Metric, on_demand};
use serde_json::json;
use testkit::{eventually, get_text};

use crate::stack::{Stack, host_rules, repository};

/// Labels of some metrics appear with the first evaluation, heartbeat or notification.
const SETTLED: Duration = Duration::from_secs(45);
const REGENERATE: &str = "SAKER_REGENERATE";

const INTRODUCTION: &str = "# Metrics

Written by a test from the agent's catalogue and the `/metrics` of started services; change it there.

## What the agent measures

Every series has the label `endpoint`, the name of the host. Open-Falcon's names are these with `.` where it had one
(`cpu.idle`); the metadata of a series names its original. Counters count since boot: take `rate()` of them.
";

#[tokio::test]
async fn the_metrics_page_says_what_there_is() {
    let mut stack = Stack::new(&host_rules()).await;
    stack.start_saker().await;
    stack.start_agent();
    stack.post_alerts(&json!([{ "labels": { "alertname": "Page", "severity": "info" } }])).await;
    let path = repository().join("docs/metrics.md");
    if std::env::var_os(REGENERATE).is_some() {
        tokio::time::sleep(SETTLED).await;
        std::fs::write(&path, page(&stack).await.expect("every process answers")).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    let is_current = async || (page(&stack).await? == committed).then_some(());
    let what = format!("docs/metrics.md is current (else run this test with {REGENERATE}=1)");
    eventually(&what, SETTLED, is_current).await;
}

#[test]
fn every_measurement_has_a_help_that_reads_as_a_sentence() {
    for (metric, _) in Group::ALL.into_iter().flat_map(Group::metrics) {
        let Metric { original, help, .. } = metric;
        let is_sentence = help.ends_with('.') && !help.ends_with("..") && !help.contains('|');
        assert!(is_sentence, "{original}: {help}");
    }
}

/// The page as it should be now; `None` while a process does not answer.
async fn page(stack: &Stack) -> Option<String> {
    let mut page = INTRODUCTION.to_owned();
    for group in Group::ALL {
        measurements(&mut page, group);
    }
    checks(&mut page);
    page.push_str("\n## What every process says of itself\n\nOn its `/metrics`, as OpenMetrics.\n");
    for (role, url) in [
        ("agent", stack.agent_url()),
        ("transfer", stack.transfer()),
        ("hbs", stack.hbs()),
        ("judge", stack.judge()),
        ("alarm", stack.alarm()),
        ("apiproxy", stack.apiproxy()),
    ] {
        let text = get_text(&stack.context.http, &format!("{url}/metrics")).await?;
        exposed(&mut page, role, &text);
    }
    Some(page)
}

fn measurements(page: &mut String, group: Group) {
    let (name, every) = (group.as_str(), format_duration(group.interval()));
    let off = if group.is_default() { "" } else { ", off unless it is switched on" };
    let _ = write!(page, "\n### {name}: every {every}{off}\n\n");
    if !group.needs().is_empty() {
        let _ = writeln!(page, "Needs {}.\n", group.needs());
    }
    page.push_str("| metric | labels | kind | unit | meaning |\n|---|---|---|---|---|\n");
    for (metric, labels) in group.metrics() {
        let kind = if metric.kind == MetricKind::Counter { "counter" } else { "gauge" };
        let (name, labels) = (canonical_name(metric.original), code_list(labels.iter().copied()));
        let Metric { unit, help, needs, .. } = metric;
        let needs = if needs.is_empty() { String::new() } else { format!(" Needs {needs}.") };
        let _ = writeln!(page, "| `{name}` | {labels} | {kind} | {unit} | {help}{needs} |");
    }
}

fn checks(page: &mut String) {
    page.push_str("\n### checks: only where hbs or the configuration asks for them\n\n");
    page.push_str("| metric | labels | kind | unit | meaning |\n|---|---|---|---|---|\n");
    for (Metric { original, unit, help, .. }, labels) in on_demand::METRICS {
        let (name, labels) = (canonical_name(original), code_list(labels.iter().copied()));
        let _ = writeln!(page, "| `{name}` | {labels} | gauge | {unit} | {help} |");
    }
}

fn exposed(page: &mut String, role: &str, text: &str) {
    let _ =
        write!(page, "\n### {role}\n\n| metric | labels | kind | meaning |\n|---|---|---|---|\n");
    let mut kinds = BTreeMap::new();
    let mut helps = BTreeMap::new();
    let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, help)) =
            line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' '))
        {
            helps.insert(name, help);
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            kinds.insert(name, kind);
        } else if let Some((name, pairs)) = line.split_once('{').filter(|_| !line.starts_with('#'))
        {
            let names = pairs.split('"').step_by(2).filter_map(|part| part.strip_suffix('='));
            let family = family_of(name, &kinds);
            labels
                .entry(family)
                .or_default()
                .extend(names.map(|name| name.trim_start_matches(',')));
        }
    }
    for (name, kind) in &kinds {
        let help = helps.get(name).copied().unwrap_or_default();
        // judge says the same a second time under the names of Prometheus.
        let is_alias = role == "judge" && name.starts_with("prometheus_");
        assert!(
            is_alias || name.starts_with(&format!("{role}_")),
            "{name} does not begin with its role {role}"
        );
        assert!(help.ends_with('.') && !help.ends_with(".."), "the help of {name} is {help:?}");
        let names = labels
            .get(name)
            .into_iter()
            .flatten()
            .copied()
            .filter(|label| !matches!(*label, "le" | "quantile"));
        let total = if *kind == "counter" { "_total" } else { "" };
        let _ = writeln!(page, "| `{name}{total}` | {} | {kind} | {help} |", code_list(names));
    }
}

/// The family that a sample belongs to: its own name, or without the suffix of its kind.
fn family_of<'a>(sample: &'a str, kinds: &BTreeMap<&str, &str>) -> &'a str {
    let suffixes = ["_total", "_bucket", "_sum", "_count"];
    let stripped = suffixes.iter().find_map(|suffix| sample.strip_suffix(suffix));
    stripped.filter(|name| kinds.contains_key(name)).unwrap_or(sample)
}

fn code_list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" ")
}
