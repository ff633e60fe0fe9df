//! Native histograms as test files write them.

use promql::Histogram;

/// A histogram, and whether its text says anything about counter resets.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Written {
    pub(crate) histogram: Histogram,
    pub(crate) hinted: bool,
}

/// Reads `{{schema:0 count:4 sum:5 buckets:[1 2 1]}}`.
pub(crate) fn read(text: &str) -> Option<Written> {
    let histogram = Histogram::parse(text).ok()?;
    Some(Written { histogram, hinted: text.contains("counter_reset_hint:") })
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
