//! Plugins: external programs that are run at slots and print samples. They are off unless configured.

pub mod bundle;
pub mod folder;
pub mod naming;
pub mod output;
pub mod run;
pub mod verify;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::{Metadata, MetricKind, Series, Timestamp};
use tokio::time::Instant;

use crate::config::Plugins;
use crate::identity::{Host, Output};
use crate::plan::PluginJob;
use output::Printed;
use run::{Order, RunError};

/// What is known of the runs of a plugin.
#[derive(Debug, Clone, Default)]
struct Tally {
    runs: u64,
    failures: BTreeMap<&'static str, u64>,
    is_failing: bool,
}

/// A plugin with the tally of its runs.
#[derive(Debug)]
pub struct Plugin {
    job: PluginJob,
    tally: Mutex<Tally>,
}

/// How a run went.
#[derive(Debug, Clone, Copy)]
struct Run {
    took: Duration,
    exit_code: Option<i32>,
    samples: usize,
}

impl Plugin {
    /// A plugin that has not been run yet.
    pub fn new(job: PluginJob) -> Self {
        Self { job, tally: Mutex::default() }
    }

    /// What it is run by.
    pub fn job(&self) -> &PluginJob {
        &self.job
    }

    /// Runs it for the slot that begins now. Besides what it printed, the output says how the run went;
    /// `Err` holds the reason of a failure beside it.
    pub async fn run(
        &self,
        slot: Timestamp,
        host: &Host,
        settings: &Plugins,
    ) -> (Output, Result<(), &'static str>) {
        let begin = Instant::now();
        let outcome = self.try_run(slot, host, settings).await;
        let took = begin.elapsed();
        let reason = outcome.as_ref().err().map(RunError::reason);
        let exit_code = outcome.as_ref().map_or_else(RunError::exit_code, |_| Some(0));
        let samples = outcome.as_ref().map_or(0, |printed| printed.series.len());
        let tally = self.note(&outcome);
        let printed = outcome.unwrap_or_default();
        let mut output = Output { series: printed.series, metadata: printed.metadata };
        output.series.extend(self.status(&tally, Run { took, exit_code, samples }, slot, host));
        output.metadata.extend(status_metadata());
        (output, reason.map_or(Ok(()), Err))
    }

    async fn try_run(
        &self,
        slot: Timestamp,
        host: &Host,
        settings: &Plugins,
    ) -> Result<Printed, RunError> {
        let mut environment = vec![("SAKER_ENDPOINT".to_owned(), host.endpoint.clone())];
        let own = settings.environment.iter();
        environment.extend(own.map(|(name, value)| (name.clone(), value.clone())));
        let order = Order {
            program: &self.job.program,
            args: &self.job.args,
            environment: &environment,
            timeout: self.job.timeout,
            output_bytes_max: settings.output_bytes_max,
        };
        let printed = run::run(&order).await?;
        let step = i64::try_from(self.job.interval.as_secs()).unwrap_or(i64::MAX);
        let format = self.job.format;
        output::read(&printed, format, host, slot, step, settings.samples_max)
            .map_err(RunError::Output)
    }

    // A failure is logged when it begins and when it ends.
    fn note(&self, outcome: &Result<Printed, RunError>) -> Tally {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.runs += 1;
        let plugin = &self.job.name;
        match outcome {
            Ok(printed) => {
                if let Some(fault) = &printed.fault {
                    let refused = printed.refused;
                    tracing::debug!(
                        plugin,
                        refused,
                        "a plugin printed what cannot be used: {fault}"
                    );
                }
                if std::mem::take(&mut tally.is_failing) {
                    tracing::info!(plugin, "a plugin works again");
                }
            }
            Err(error) => {
                *tally.failures.entry(error.reason()).or_default() += 1;
                if !std::mem::replace(&mut tally.is_failing, true) {
                    let why = daemon::error_chain(error);
                    tracing::warn!(plugin, "a plugin fails: {why}");
                }
            }
        }
        tally.clone()
    }

    fn status(&self, tally: &Tally, run: Run, slot: Timestamp, host: &Host) -> Vec<Series> {
        let of =
            |metric, value| host.series(metric, &[("plugin", self.job.name.clone())], slot, value);
        let mut series = vec![
            of(RUNS, tally.runs as f64),
            of(DURATION, run.took.as_secs_f64()),
            of(EXIT_CODE, f64::from(run.exit_code.unwrap_or(-1))),
            of(SAMPLES, run.samples as f64),
        ];
        for reason in RunError::REASONS {
            let failures = tally.failures.get(reason).copied().unwrap_or_default();
            let tags = [("plugin", self.job.name.clone()), ("reason", reason.to_owned())];
            series.push(host.series(FAILURES, &tags, slot, failures as f64));
        }
        series
    }
}

const RUNS: &str = "agent_plugin_runs_total";
const FAILURES: &str = "agent_plugin_failures_total";
const DURATION: &str = "agent_plugin_duration_seconds";
const EXIT_CODE: &str = "agent_plugin_exit_code";
const SAMPLES: &str = "agent_plugin_samples";

fn status_metadata() -> impl Iterator<Item = (String, Metadata)> {
    [
        (RUNS, MetricKind::Counter, "Runs of a plugin since the agent's start."),
        (FAILURES, MetricKind::Counter, "Runs that gave no samples, by reason."),
        (DURATION, MetricKind::Gauge, "How long the last run took."),
        (
            EXIT_CODE,
            MetricKind::Gauge,
            "How the last run ended; -1 if it was killed or not started.",
        ),
        (SAMPLES, MetricKind::Gauge, "Samples that the last run printed."),
    ]
    .into_iter()
    .map(|(name, kind, help)| {
        let unit = if name == DURATION { "seconds" } else { "" };
        (name.to_owned(), Metadata { kind, help: help.to_owned(), unit: unit.to_owned() })
    })
}
