//! Commands that measure this host themselves.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use daemon::{ExitReason, StartError};
use serde_json::{Value, json};

use super::runtime;
use crate::app;
use crate::catalogue::Group;
use crate::config::{Config, GroupSettings};
use crate::inventory::{Inventory, Row, State};
use crate::metrics::Metrics;
use crate::rounds::Found;

/// Shares and rates are differences: two rounds this far apart.
const BETWEEN_ROUNDS: Duration = Duration::from_secs(1);

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
    let (found, _) = measure(Arc::new(config))?;
    let mut out = io::stdout().lock();
    for reading in found.iter().flat_map(|found| &found.readings) {
        if json {
            let labels: BTreeMap<_, _> = reading.labels.iter().collect();
            let line = json!({ "labels": labels, "value": reading.value });
            writeln!(out, "{line}")?;
        } else {
            writeln!(out, "{} {}", reading.labels, reading.value)?;
        }
    }
    let is_empty = found.is_empty();
    Ok(if is_empty { ExitReason::Failed } else { ExitReason::Clean }.into())
}

/// Runs every collector and says what each metric of the catalogue is.
pub(super) fn check(config: Config, preflight: bool, json: bool) -> anyhow::Result<ExitCode> {
    let data_dir = preflight.then(|| is_writable(&config.data_dir));
    let inventory = inventory(config)?;
    let is_ok = match &data_dir {
        Some(data_dir) => data_dir.is_ok(),
        None => inventory.is_whole(),
    };
    let data_dir = data_dir.map(|result| result.err().unwrap_or_else(|| "ok".to_owned()));
    let mut out = io::stdout().lock();
    if json {
        let metrics: Vec<Value> = inventory.rows.iter().map(row).collect();
        let report = json!({
            "is_ok": is_ok, "configuration": "ok", "data_dir": data_dir, "metrics": metrics,
        });
        writeln!(out, "{report}")?;
    } else {
        writeln!(out, "configuration ok")?;
        if let Some(data_dir) = data_dir {
            writeln!(out, "data_dir {data_dir}")?;
        }
        write!(out, "{inventory}")?;
    }
    Ok(if is_ok { ExitReason::Clean } else { ExitReason::Failed }.into())
}

fn row(row: &Row) -> Value {
    let mut told = json!({
        "group": row.group.as_str(), "metric": row.metric.original,
        "interval": model::format_duration(row.interval),
    });
    match &row.state {
        State::Present { series, value } => {
            told["series"] = json!(series);
            told["value"] = json!(value);
        }
        State::Absent(why) => told["absent"] = json!(why),
        State::Faulty(why) => told["fault"] = json!(why),
    }
    told
}

/// Every metric of the catalogue with its value on this host.
pub(super) fn inventory(config: Config) -> anyhow::Result<Inventory> {
    let config = Arc::new(config);
    let (found, faults) = measure(Arc::clone(&config))?;
    Ok(Inventory::new(&config, &found, &faults))
}

type Faults = BTreeMap<Group, String>;

fn measure(config: Arc<Config>) -> anyhow::Result<(Vec<Found>, Faults)> {
    let endpoint = app::endpoint(&config)?;
    let runtime = runtime()?;
    let found = runtime.block_on(async {
        let mut rounds = app::rounds(&config, &endpoint, Arc::new(Metrics::default()));
        rounds.run_all().await;
        tokio::time::sleep(BETWEEN_ROUNDS).await;
        (rounds.run_all().await, rounds.faults())
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
