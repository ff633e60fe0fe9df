//! Makes the silence of hosts a series: `agent_heartbeat_age_seconds{endpoint}`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use daemon::Context;
use model::{ENDPOINT, Labels, METRIC_NAME, Metadata, MetricKind, Sample, Series, Timestamp};
use wire::remote_write;

use crate::Config;
use crate::fleet::Fleet;
use crate::metrics::Metrics;

const NAME: &str = "agent_heartbeat_age_seconds";

/// Writes the ages to transfer at every slot of the age interval, for ever. A round that fails is counted and left
/// out; the next one carries the truth anyway.
pub(crate) async fn export(
    config: Config,
    fleet: Arc<Mutex<Fleet>>,
    metrics: Metrics,
    context: Context,
) {
    loop {
        let slot = context.clock.now().slot(config.age_interval).plus(config.age_interval);
        context.clock.sleep_until(slot).await;
        let ages = series_of(
            &fleet.lock().unwrap_or_else(PoisonError::into_inner),
            slot,
            config.start_grace,
        );
        match send(&config, &context, &ages).await {
            Ok(()) => context.has("transfer"),
            Err(error) => {
                metrics.age_export_failures.inc();
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the heartbeat ages of this round were not taken"
                );
                context.lacks("transfer", format!("{error:#}"));
            }
        }
    }
}

fn series_of(fleet: &Fleet, now: Timestamp, grace: Duration) -> Vec<Series> {
    let series = |(host, age): (&str, Duration)| Series {
        labels: Labels::from_pairs([(METRIC_NAME, NAME), (ENDPOINT, host)]),
        samples: vec![Sample { timestamp: now, value: age.as_secs_f64() }],
    };
    fleet.ages(now, grace).into_iter().map(series).collect()
}

async fn send(config: &Config, context: &Context, ages: &[Series]) -> anyhow::Result<()> {
    if ages.is_empty() {
        return Ok(());
    }
    let metadata = Metadata {
        kind: MetricKind::Gauge,
        help: "Time since the last heartbeat of the host's agent".to_owned(),
        unit: "seconds".to_owned(),
    };
    let url = format!("{}/api/v1/write", config.transfer_url.trim_end_matches('/'));
    let request = context
        .http
        .post(&url)
        .header("content-type", "application/x-protobuf")
        .header("content-encoding", "snappy")
        .header("x-prometheus-remote-write-version", "0.1.0")
        .body(remote_write::encode(ages, &[(NAME.to_owned(), metadata)]));
    let answer = request.send().await.with_context(|| format!("post to {url}"))?;
    let status = answer.status();
    if !status.is_success() {
        let text = answer.text().await.unwrap_or_default();
        anyhow::bail!("{url} answered {status}: {}", text.trim());
    }
    Ok(())
}
