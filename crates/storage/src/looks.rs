//! Which samples of a series a query looks at. A range query with wide steps looks at little of what lies between its
//! start and its end; what it does not look at need not be held.

use std::borrow::Cow;

use model::{Sample, Selection};
use promql::Hint;

/// The samples that some look sees. `hints` are all uses of the samples; with more than one nothing is left out.
pub(crate) fn seen<'s>(samples: &'s [Sample], hints: &[Hint]) -> Cow<'s, [Sample]> {
    let [hint] = hints else { return Cow::Borrowed(samples) };
    let millis = |span: std::time::Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    let (step, range, ahead) = (millis(hint.step), millis(hint.range), millis(hint.ahead));
    let is_dense = step <= range.saturating_add(ahead);
    let is_sparse_enough = samples.len() as i64 > looks(hint, step);
    if step == 0 || (is_dense && !(hint.newest_only && is_sparse_enough)) {
        return Cow::Borrowed(samples);
    }
    let mut kept = Vec::with_capacity(samples.len().min(looks(hint, step) as usize));
    let mut next = 0;
    let mut look = hint.start.millis();
    let last = hint.end.millis();
    while look <= last && next < samples.len() {
        let end = look.saturating_add(ahead);
        let until = next + before(&samples[next..], end);
        let from = match hint.newest_only {
            true => until.saturating_sub(1).max(next),
            false => next + before(&samples[next..until], look.saturating_sub(range)),
        };
        // Of what lies between two looks nothing is seen, unless the window begins there.
        let is_seen = |sample: &&Sample| sample.timestamp.millis() > look.saturating_sub(range);
        kept.extend(samples[from..until].iter().filter(is_seen));
        next = until;
        look = look.saturating_add(step);
    }
    Cow::Owned(kept)
}

/// The time of the only look at a selection, when that sees nothing but the newest sample up to then: what most
/// rules ask for. A series whose newest sample is not after it need not be decoded.
pub(crate) fn only(selection: &Selection, hints: &[Hint]) -> Option<i64> {
    let [hint] = hints else { return None };
    let looks_once = hint.step.is_zero() && hint.start == hint.end && hint.ahead.is_zero();
    let is_only = hint.newest_only && looks_once && hint.end == selection.end;
    is_only.then(|| hint.end.millis())
}

/// How often a query looks.
fn looks(hint: &Hint, step: i64) -> i64 {
    let span = hint.end.millis().saturating_sub(hint.start.millis());
    span.checked_div(step).map_or(1, |steps| steps.saturating_add(1))
}

/// How many of the samples are not after a time. Looks follow each other closely, so the near ones are tried first.
fn before(samples: &[Sample], time: i64) -> usize {
    let mut bound = 1;
    while bound < samples.len() && samples[bound - 1].timestamp.millis() <= time {
        bound *= 2;
    }
    let from = bound / 2;
    let rest = &samples[from..bound.min(samples.len())];
    from + rest.partition_point(|sample| sample.timestamp.millis() <= time)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::{Labels, STALE_NAN_BITS, Selection, Series, Timestamp};
    use promql::{Features, Params, Plan, evaluate, parse_with, plan};
    use proptest::prelude::*;

    use super::*;

    fn planned(text: &str, step: u64) -> Plan {
        let expr = parse_with(text, Features::all()).expect("it is PromQL");
        let params = Params::range(Timestamp(0), Timestamp(86_400_000), Duration::from_secs(step));
        plan(&expr, params).expect("it fits")
    }

    fn every(seconds: i64) -> Vec<Sample> {
        (0..=86_400 / seconds).map(|n| Sample::new(n * seconds * 1000, n as f64)).collect()
    }

    fn kept(text: &str, step: u64, samples: &[Sample]) -> usize {
        seen(samples, &planned(text, step).hints()[0]).len()
    }

    #[test]
    fn only_what_a_look_sees_is_kept() {
        let samples = every(10);
        // 25 looks, 30 samples each but for the first, which sees one.
        assert_eq!(kept("rate(x[5m])", 3600, &samples), 24 * 30 + 1);
        assert_eq!(kept("x", 3600, &samples), 25);
        assert_eq!(kept("x", 60, &samples), 24 * 60 + 1);
        assert_eq!(kept("rate(x[5m])", 60, &samples), samples.len());
        assert_eq!(kept("rate(x[5m]) + x", 3600, &samples), samples.len());
    }

    const EXPRESSIONS: [&str; 11] = [
        "x",
        "timestamp(x)",
        "rate(x[5m])",
        "x offset 7m",
        "x @ 3600",
        "sum_over_time(x[90s] offset -3m)",
        "max_over_time(x[1h:7m])",
        "quantile_over_time(0.5, x[20m])",
        "increase(x[5m] anchored)",
        "increase(x[5m] smoothed)",
        "x smoothed",
    ];

    proptest! {
        #[test]
        fn the_answer_is_the_same_from_what_is_kept(
            expression in prop::sample::select(EXPRESSIONS.to_vec()),
            step in prop::sample::select(vec![1_u64, 15, 60, 301, 1000, 3600, 7200]),
            gaps in prop::collection::vec((1_i64..2_000_000, 0_u8..12), 0..120),
        ) {
            let plan = planned(expression, step);
            let mut time = -3_600_000;
            let samples: Vec<Sample> = gaps
                .into_iter()
                .map(|(gap, value)| {
                    time += gap;
                    let value = if value == 0 { f64::from_bits(STALE_NAN_BITS) } else { f64::from(value) };
                    Sample::new(time, value)
                })
                .collect();
            let answer = |prune: bool| {
                let input = |(selection, hints): (&Selection, &Vec<Hint>)| {
                    let inside: Vec<Sample> = samples
                        .iter()
                        .copied()
                        .filter(|s| selection.start <= s.timestamp && s.timestamp <= selection.end)
                        .collect();
                    let samples = if prune { seen(&inside, hints).into_owned() } else { inside };
                    vec![Series { labels: Labels::from_pairs([("__name__", "x")]), samples }]
                };
                let inputs: Vec<_> = plan.selections().iter().zip(plan.hints()).map(input).collect();
                format!("{:?}", evaluate(&plan, &inputs, &|| false))
            };
            prop_assert_eq!(answer(true), answer(false));
        }
    }
}
