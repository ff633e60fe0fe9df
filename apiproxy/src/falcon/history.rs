//! Values of hosts' counters over time, the newest of them, and what is known of them.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

use model::{ENDPOINT, Labels, METRIC_NAME, Matcher, Selection, Series, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use wire::falcon_json::{self, CounterType};
use wire::prom_api::put_json;

use super::consolidate::{Consolidation, Grid, consolidated, rates, values};
use super::names::{Metric, Names};
use super::{PAIRS_MAX, any_of, parameter, series_of};
use crate::Config;
use crate::error::ApiError;
use crate::site::Ask;

/// Hosts asked for in one look at the store.
pub(super) const HOSTS_AT_ONCE: usize = 100;
/// How old the last point may be.
const LAST_POINT_AGE: Duration = Duration::from_secs(3600);
/// Steps without a sample after which a counter's growth is not known, as the heartbeat of an RRD.
const STEPS_BETWEEN_MAX: u32 = 2;

pub(super) const EXAMPLE: &str = r#"{"hostnames":["db-07"],"counters":["load.1min"],"start_time":1760000000,"end_time":1760003600}"#;
pub(super) const PAIRS_EXAMPLE: &str = r#"[{"endpoint":"db-07","counter":"load.1min"}]"#;

/// Which values of which counters.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Question {
    pub(super) hostnames: Vec<String>,
    pub(super) counters: Vec<String>,
    /// `AVERAGE`, `MAX`, `MIN` or `LAST`.
    pub(super) consol_fun: String,
    /// Seconds since the epoch, not included.
    pub(super) start_time: i64,
    /// Seconds since the epoch, included.
    pub(super) end_time: i64,
    /// Seconds between two values; that of the counter when it is 0 or less than that.
    pub(super) step: i64,
}

/// A counter of a host.
#[derive(Debug, Deserialize)]
pub(super) struct Pair {
    endpoint: String,
    counter: String,
}

/// The series of hosts for one counter: by host, each with what is known of its metric.
type Found = HashMap<String, Series>;

/// `POST /graph/history`. Counters that are not known are left out.
pub(super) async fn history(
    ask: &Ask,
    config: &Config,
    question: &Question,
) -> Result<String, ApiError> {
    let how = Consolidation::parse(&question.consol_fun)
        .ok_or_else(|| parameter("consol_fun", "must be AVERAGE, MAX, MIN or LAST"))?;
    check_pairs(question.hostnames.len().saturating_mul(question.counters.len()))?;
    let names = Names::new(ask.metadata(None, 0).await?);
    let mut samples_left = config.samples_max;
    let mut by_counter = Vec::new();
    for counter in &question.counters {
        let labels = falcon_json::counter_labels(counter);
        let metric = names.metric(labels.metric_name());
        let step = question.step.max(metric.step);
        let grid = Grid { start: question.start_time, end: question.end_time, step };
        if usize::try_from(grid.len()).unwrap_or(usize::MAX) > config.points_max {
            let most = config.points_max;
            let text = format!(
                "more than {most} values a counter (apiproxy.points_max): take a larger step"
            );
            return Err(parameter("step", text));
        }
        let span = grid.span(gap_max(&metric));
        let found = fetch(ask, &question.hostnames, &labels, span, &mut samples_left).await?;
        by_counter.push((counter, metric, grid, found));
    }
    let mut out = String::from("[");
    for host in &question.hostnames {
        for (counter, metric, grid, found) in &by_counter {
            let Some(series) = found.get(host) else { continue };
            let points = consolidated(&measured(series, metric), *grid, how);
            if out.len() > 1 {
                out.push(',');
            }
            put_pair(&mut out, host, counter);
            out.push_str(",\"dstype\":");
            put_json(&mut out, &metric.counter_type.as_str());
            let _infallible = write!(out, ",\"step\":{},\"Values\":[", grid.step);
            for (at, (time, value)) in grid.times().zip(points).enumerate() {
                if at > 0 {
                    out.push(',');
                }
                put_point(&mut out, time, value);
            }
            out.push_str("]}");
        }
    }
    out.push(']');
    Ok(out)
}

/// `POST /graph/lastpoint`. A counter that is not known has its last point at second 0.
pub(super) async fn last_points(
    ask: &Ask,
    config: &Config,
    pairs: &[Pair],
    now: Timestamp,
) -> Result<String, ApiError> {
    check_pairs(pairs.len())?;
    let names = Names::new(ask.metadata(None, 0).await?);
    let mut samples_left = config.samples_max;
    let mut found: HashMap<&str, (Metric, Found)> = HashMap::new();
    for (counter, hosts) in by_counter(pairs) {
        let labels = falcon_json::counter_labels(counter);
        let span = (now.minus(LAST_POINT_AGE), now);
        let series = fetch(ask, &hosts, &labels, span, &mut samples_left).await?;
        found.insert(counter, (names.metric(labels.metric_name()), series));
    }
    let mut out = String::from("[");
    for (at, Pair { endpoint, counter }) in pairs.iter().enumerate() {
        let last = found
            .get(counter.as_str())
            .and_then(|(metric, found)| measured(found.get(endpoint)?, metric).last().copied());
        if at > 0 {
            out.push(',');
        }
        put_pair(&mut out, endpoint, counter);
        out.push_str(",\"value\":");
        match last {
            Some(sample) => put_point(&mut out, sample.timestamp.seconds(), Some(sample.value)),
            None => put_point(&mut out, 0, Some(0.0)),
        }
        out.push('}');
    }
    out.push(']');
    Ok(out)
}

/// `POST /graph/info`: step and kind of counters; those that are not known are left out.
pub(super) async fn infos(ask: &Ask, pairs: &[Pair]) -> Result<String, ApiError> {
    check_pairs(pairs.len())?;
    let names = Names::new(ask.metadata(None, 0).await?);
    let mut known: HashMap<&str, Vec<Labels>> = HashMap::new();
    for (counter, hosts) in by_counter(pairs) {
        let labels = falcon_json::counter_labels(counter);
        known.insert(counter, series_of(ask, &hosts, labels.metric_name()).await?);
    }
    let lines = pairs.iter().filter_map(|Pair { endpoint, counter }| {
        let labels = falcon_json::counter_labels(counter).with(ENDPOINT, endpoint);
        let all = known.get(counter.as_str())?.iter();
        best(all.filter(|series| is_within(&labels, series)), |one| one, &labels)?;
        let metric = names.metric(labels.metric_name());
        Some(json!({
            "endpoint": endpoint, "counter": counter, "consolFun": "AVERAGE",
            "step": metric.step, "type": metric.counter_type.as_str(),
        }))
    });
    Ok(Value::from_iter(lines).to_string())
}

fn check_pairs(pairs: usize) -> Result<(), ApiError> {
    if pairs > PAIRS_MAX {
        let text =
            format!("{pairs} pairs of host and counter are more than {PAIRS_MAX}: ask in parts");
        return Err(ApiError::bad_data(text));
    }
    Ok(())
}

/// The hosts that each counter is asked for.
fn by_counter(pairs: &[Pair]) -> HashMap<&str, Vec<String>> {
    let mut all: HashMap<&str, Vec<String>> = HashMap::new();
    for Pair { endpoint, counter } in pairs {
        all.entry(counter).or_default().push(endpoint.clone());
    }
    all
}

/// The series of a counter on hosts. Labels that the fleet adds to all that a host sends do not hide a series: it
/// is found by its tags as long as no other has them too.
async fn fetch(
    ask: &Ask,
    hosts: &[String],
    labels: &Labels,
    (start, end): (Timestamp, Timestamp),
    samples_left: &mut usize,
) -> Result<Found, ApiError> {
    let mut candidates: HashMap<String, Vec<Series>> = HashMap::new();
    for some in hosts.chunks(HOSTS_AT_ONCE) {
        let mut matchers = vec![any_of(some)?];
        matchers.extend(labels.iter().map(|(name, value)| Matcher::equal(name, value)));
        let selection = Selection { matchers, start, end };
        for series in ask.select_at_most(&selection, *samples_left).await? {
            *samples_left = samples_left.saturating_sub(series.samples.len());
            let host = series.labels.get(ENDPOINT).unwrap_or("").to_owned();
            candidates.entry(host).or_default().push(series);
        }
    }
    let chosen = candidates.into_iter().filter_map(|(host, all)| {
        let wanted = labels.with(ENDPOINT, &host);
        best(all.into_iter(), |series| &series.labels, &wanted).map(|series| (host, series))
    });
    Ok(chosen.collect())
}

/// The one with exactly these labels, or the only one.
fn best<T>(
    all: impl Iterator<Item = T>,
    labels: impl Fn(&T) -> &Labels,
    wanted: &Labels,
) -> Option<T> {
    let mut all: Vec<T> = all.collect();
    match all.iter().position(|one| labels(one) == wanted) {
        Some(at) => Some(all.swap_remove(at)),
        None if all.len() == 1 => all.pop(),
        None => None,
    }
}

fn is_within(labels: &Labels, series: &Labels) -> bool {
    debug_assert!(labels.get(METRIC_NAME).is_some(), "a counter has a name");
    labels.iter().all(|(name, value)| series.get(name) == Some(value))
}

/// The values of a series as the original shows them.
fn measured(series: &Series, metric: &Metric) -> Vec<model::Sample> {
    let values = values(&series.samples);
    match metric.counter_type {
        CounterType::Gauge => values,
        CounterType::Counter | CounterType::Derive => rates(&values, gap_max(metric)),
    }
}

fn gap_max(metric: &Metric) -> Duration {
    Duration::from_secs(metric.step.unsigned_abs()).saturating_mul(STEPS_BETWEEN_MAX)
}

fn put_pair(out: &mut String, endpoint: &str, counter: &str) {
    out.push_str("{\"endpoint\":");
    put_json(out, &endpoint);
    out.push_str(",\"counter\":");
    put_json(out, &counter);
}

/// A moment and a value with six decimals, or `null`.
fn put_point(out: &mut String, time: i64, value: Option<f64>) {
    let _infallible = match value.filter(|value| value.is_finite()) {
        Some(value) => write!(out, "{{\"timestamp\":{time},\"value\":{value:.6}}}"),
        None => write!(out, "{{\"timestamp\":{time},\"value\":null}}"),
    };
}
