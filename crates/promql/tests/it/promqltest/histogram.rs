//! Native histograms as test files write them.

use promql::{CUSTOM_SCHEMA, Histogram, ResetHint};

use super::series::number;

/// A histogram, and whether its text says anything about counter resets.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Written {
    pub(crate) histogram: Histogram,
    pub(crate) hinted: bool,
}

/// Reads `{{schema:0 count:4 sum:5 buckets:[1 2 1]}}`.
pub(crate) fn read(text: &str) -> Option<Written> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let mut histogram = Histogram::default();
    let mut hinted = false;
    let (mut positive, mut negative, mut offset, mut negative_offset) =
        (Vec::new(), Vec::new(), 0, 0);
    let mut rest = inner.trim();
    while !rest.is_empty() {
        let (key, tail) = rest.split_once(':')?;
        let (value, tail) = match tail.strip_prefix('[') {
            Some(list) => list.split_once(']')?,
            None => tail.split_once(' ').unwrap_or((tail, "")),
        };
        rest = tail.trim_start();
        let list = || value.split_whitespace().map(number).collect::<Option<Vec<f64>>>();
        match key {
            "schema" => histogram.schema = value.parse().ok()?,
            "sum" => histogram.sum = number(value)?,
            "count" => histogram.count = number(value)?,
            "z_bucket" => histogram.zero_count = number(value)?,
            "z_bucket_w" => histogram.zero_threshold = number(value)?,
            "buckets" => positive = list()?,
            "n_buckets" => negative = list()?,
            "offset" => offset = value.parse().ok()?,
            "n_offset" => negative_offset = value.parse().ok()?,
            "custom_values" => histogram.bounds = list()?,
            "counter_reset_hint" => {
                hinted = true;
                histogram.reset = match value {
                    "unknown" => ResetHint::Unknown,
                    "reset" => ResetHint::Reset,
                    "not_reset" => ResetHint::NotReset,
                    "gauge" => ResetHint::Gauge,
                    _ => return None,
                };
            }
            _ => return None,
        }
    }
    let indexed = |counts: Vec<f64>, offset: i32| {
        counts.into_iter().zip(offset..).map(|(c, i)| (i, c)).collect()
    };
    histogram.positive = indexed(positive, offset);
    histogram.negative = indexed(negative, negative_offset);
    debug_assert!(histogram.schema >= -4 || histogram.schema == CUSTOM_SCHEMA, "no such schema");
    Some(Written { histogram, hinted })
}

/// Reads `{{…}}+{{…}}` or `{{…}}-{{…}}` repeated: the first one and what every step adds.
pub(crate) fn read_run(text: &str, copies: usize) -> Option<Vec<Written>> {
    let end = text.find("}}")? + 2;
    let first = read(&text[..end])?;
    let mut run = vec![first];
    let sign = text[end..].chars().next();
    let step = sign.and_then(|sign| read(&text[end + sign.len_utf8()..]));
    for _ in 1..copies {
        let last = run.last()?;
        let next = match (sign, &step) {
            (None, _) => last.histogram.clone(),
            (Some('+'), Some(step)) => last.histogram.plus(&step.histogram)?,
            (Some('-'), Some(step)) => last.histogram.minus(&step.histogram)?,
            _ => return None,
        };
        run.push(Written { histogram: next, hinted: last.hinted });
    }
    Some(run)
}

/// Whether two histograms are the same up to a millionth; hints count when they were written.
pub(crate) fn same(wanted: &Written, got: &Histogram, close: fn(f64, f64) -> bool) -> bool {
    let (a, b) = (wanted.histogram.clone().compact(), got.clone().compact());
    let buckets = |a: &[(i32, f64)], b: &[(i32, f64)]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && close(a.1, b.1))
    };
    (!wanted.hinted || a.reset == b.reset)
        && a.schema == b.schema
        && a.bounds == b.bounds
        && a.zero_threshold == b.zero_threshold
        && close(a.zero_count, b.zero_count)
        && close(a.count, b.count)
        && close(a.sum, b.sum)
        && buckets(&a.positive, &b.positive)
        && buckets(&a.negative, &b.negative)
}
