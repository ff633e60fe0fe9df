//! Commands that measure this host themselves.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use daemon::{ExitReason, StartError};
use serde::Serialize;

use super::runtime;
use crate::app;
use crate::catalogue::Group;
use crate::config::{Config, GroupSettings};
use crate::metrics::Metrics;
use crate::rounds::Found;

/// Shares and rates are differences: two rounds this far apart.
const BETWEEN_ROUNDS: Duration = Duration::from_secs(1);

/// What `check` says of a group.
#[derive(Debug, Serialize)]
pub(super) struct GroupReport {
    group: &'static str,
    interval: String,
    samples: usize,
    /// Metrics of the catalogue without a value.
    missing: Vec<&'static str>,
    is_ok: bool,
}

/// Measures once and prints the samples.
pub(super) fn collect(
    mut config: Config,
    group: Option<&str>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    if let Some(name) = group {
        let wanted = Group::named(name).ok_or_else(|| {
            let names: Vec<_> = Group::ALL.into_iter().map(Group::as_str).collect();
            StartError::usage(format!("there is no group {name:?}; there are {}", names.join(", ")))
        })?;
        for group in Group::ALL {
            let interval = config.groups.get(&group).and_then(|settings| settings.interval);
            config.groups.insert(group, GroupSettings { enabled: Some(group == wanted), interval });
        }
    }
    let found = measure(config, 2)?;
    let mut out = io::stdout().lock();
    for reading in found.iter().flat_map(|found| &found.readings) {
        if json {
            let labels: std::collections::BTreeMap<_, _> = reading.labels.iter().collect();
            let line = serde_json::json!({ "labels": labels, "value": reading.value });
            writeln!(out, "{line}")?;
        } else {
            writeln!(out, "{} {}", reading.labels, reading.value)?;
        }
    }
    let is_empty = found.is_empty();
    Ok(if is_empty { ExitReason::Failed } else { ExitReason::Clean }.into())
}

/// Runs every collector and says what each gives.
pub(super) fn check(config: Config, preflight: bool, json: bool) -> anyhow::Result<ExitCode> {
    let data_dir = preflight.then(|| is_writable(&config.data_dir));
    let groups = report(config, if preflight { 1 } else { 2 })?;
    let is_ok =
        groups.iter().all(|group| group.is_ok) && data_dir.as_ref().is_none_or(Result::is_ok);
    let mut out = io::stdout().lock();
    if json {
        let data_dir = data_dir.map(|result| result.err().unwrap_or_else(|| "ok".to_owned()));
        let report = serde_json::json!({
            "is_ok": is_ok, "configuration": "ok", "data_dir": data_dir, "groups": groups,
        });
        writeln!(out, "{report}")?;
    } else {
        writeln!(out, "configuration  ok")?;
        if let Some(result) = data_dir {
            writeln!(out, "data_dir       {}", result.err().as_deref().unwrap_or("ok"))?;
        }
        write_table(&mut out, &groups)?;
    }
    Ok(if is_ok { ExitReason::Clean } else { ExitReason::Failed }.into())
}

/// What each group gives. Those that have nothing to measure on this host are not at fault: no disk of its
/// own, no time servers.
pub(super) fn report(config: Config, rounds: usize) -> anyhow::Result<Vec<GroupReport>> {
    let groups = config.enabled_groups();
    let found = measure(config, rounds)?;
    let of_group = |(group, interval): (Group, Duration)| {
        let readings = found
            .iter()
            .find(|found| found.group == group)
            .map_or(&[][..], |found| &found.readings);
        let has = |original: &str| {
            let name = model::canonical_name(original);
            readings.iter().any(|reading| reading.labels.metric_name() == name)
        };
        let missing =
            group.metrics().map(|(metric, _)| metric.original).filter(|name| !has(name)).collect();
        let may_be_empty = matches!(group, Group::Disk | Group::Network | Group::Clock);
        GroupReport {
            group: group.as_str(),
            interval: model::format_duration(interval),
            samples: readings.len(),
            missing,
            is_ok: may_be_empty || !readings.is_empty(),
        }
    };
    Ok(groups.into_iter().map(of_group).collect())
}

/// The report as a table.
pub(super) fn write_table(out: &mut impl Write, groups: &[GroupReport]) -> io::Result<()> {
    let missing = "metrics of the catalogue without a value";
    writeln!(out, "{:<12} {:>9} {:>8}  {missing}", "group", "interval", "samples")?;
    for GroupReport { group, interval, samples, missing, .. } in groups {
        let line = format!("{group:<12} {interval:>9} {samples:>8}  {}", missing.join(" "));
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn measure(config: Config, rounds: usize) -> anyhow::Result<Vec<Found>> {
    let endpoint = app::endpoint(&config)?;
    let runtime = runtime()?;
    let found = runtime.block_on(async {
        let mut all = app::rounds(&Arc::new(config), &endpoint, Arc::new(Metrics::default()));
        let mut found = all.run_all().await;
        for _ in 1..rounds {
            tokio::time::sleep(BETWEEN_ROUNDS).await;
            found = all.run_all().await;
        }
        found
    });
    runtime.shutdown_background();
    Ok(found)
}

// The running agent holds the lock of the spool; whether files can be made does not touch it.
fn is_writable(folder: &Path) -> Result<(), String> {
    let probe = folder.join(format!(".probe-{}", std::process::id()));
    let told = |error: io::Error| format!("cannot write in {}: {error}", folder.display());
    fs::create_dir_all(folder).and_then(|()| fs::write(&probe, "")).map_err(told)?;
    fs::remove_file(&probe).map_err(told)
}
