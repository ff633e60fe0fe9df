//! Classic histograms to native ones with the same bounds, as `load_with_nhcb` wants them.

use std::collections::BTreeMap;

use model::{Labels, METRIC_NAME};
use promql::{CUSTOM_SCHEMA, Histogram};

use super::histogram::Written;
use super::series::{Item, number};

/// The parts of a classic histogram at a time.
#[derive(Debug, Default)]
struct Parts {
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

/// The native histograms that classic series make up, under the name without suffix.
pub(crate) fn convert(series: &[(Labels, Vec<Item>)]) -> Vec<(Labels, Vec<Item>)> {
    let mut found: BTreeMap<Labels, BTreeMap<usize, Parts>> = BTreeMap::new();
    for (labels, items) in series {
        let name = labels.metric_name();
        let Some((base, part)) = name.rsplit_once('_') else { continue };
        let bound = labels.get("le").and_then(number);
        if !matches!((part, bound), ("bucket", Some(_)) | ("sum" | "count", _)) {
            continue;
        }
        let target = labels.with(METRIC_NAME, base).without(&["le"]);
        let by_time = found.entry(target).or_default();
        for (index, item) in items.iter().enumerate() {
            let Item::Float(value) = item else { continue };
            let parts = by_time.entry(index).or_default();
            match (part, bound) {
                ("bucket", Some(bound)) => parts.buckets.push((bound, *value)),
                ("sum", _) => parts.sum = *value,
                _ => parts.count = Some(*value),
            }
        }
    }
    let runs = found.into_iter().map(|(labels, by_time)| (labels, run(by_time)));
    runs.filter(|(_, items)| !items.is_empty()).collect()
}

fn run(by_time: BTreeMap<usize, Parts>) -> Vec<Item> {
    let mut items = Vec::new();
    for (index, parts) in by_time {
        if parts.buckets.is_empty() && parts.count.is_none() {
            continue;
        }
        items.resize(index, Item::Gap);
        items.push(Item::Histogram(Box::new(Written {
            histogram: histogram(parts),
            hinted: false,
        })));
    }
    items
}

fn histogram(parts: Parts) -> Histogram {
    let Parts { mut buckets, count, sum } = parts;
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let count = count.or_else(|| buckets.last().map(|(_, count)| *count)).unwrap_or(0.0);
    if buckets.last().is_none_or(|(bound, _)| *bound != f64::INFINITY) {
        buckets.push((f64::INFINITY, count));
    }
    let mut histogram = Histogram { schema: CUSTOM_SCHEMA, sum, count, ..Histogram::default() };
    let mut before = 0.0;
    for (index, (bound, cumulative)) in (0..).zip(&buckets) {
        histogram.positive.push((index, cumulative - before));
        before = *cumulative;
        if bound.is_finite() {
            histogram.bounds.push(*bound);
        }
    }
    histogram.compact()
}
