//! What came out against what was expected.

use model::{Labels, Sample, Series};
use promql::{Output, Value};

use super::format::{Eval, Text, Times, When};
use super::series::Item;

/// Compares a result; the fault says what was wanted and what came.
pub(crate) fn value(eval: &Eval, value: &Value) -> Result<(), String> {
    match value {
        Value::Scalar(sample) => scalar(eval, sample.value),
        Value::String { text, .. } => match &eval.string {
            Some(wanted) if wanted == text => Ok(()),
            wanted => Err(format!("want string {wanted:?}\n      got string {text:?}")),
        },
        Value::Vector(elements) => vector(eval, elements),
        Value::Matrix(series) => match (eval.when, eval.range_vector) {
            (When::Range(times), _) | (When::Instant(_), Some(times)) => matrix(eval, series, times),
            (When::Instant(at), None) => Err(format!("want a vector at {at}, got a range vector")),
        },
    }
}

fn scalar(eval: &Eval, got: f64) -> Result<(), String> {
    match eval.scalar {
        Some(wanted) if same(wanted, got) => Ok(()),
        Some(wanted) => Err(format!("want scalar {wanted}\n      got scalar {got}")),
        None => Err(format!("want no scalar\n      got scalar {got}")),
    }
}

/// Compares an instant vector.
pub(crate) fn vector(eval: &Eval, got: &[(Labels, Sample)]) -> Result<(), String> {
    let line = |labels: &Labels, value: String| format!("{labels} {value}");
    let mut wanted: Vec<(&Labels, &Item)> = Vec::new();
    for (labels, items) in &eval.series {
        let [item] = items.as_slice() else { return Err(format!("{labels}: want exactly one value")) };
        wanted.push((labels, item));
    }
    let show = || {
        let want = wanted.iter().map(|(labels, item)| line(labels, show(item))).collect();
        let got = got.iter().map(|(labels, sample)| line(labels, sample.value.to_string())).collect();
        difference(want, got)
    };
    if wanted.len() != got.len() || eval.scalar.is_some() {
        return Err(show());
    }
    for (position, (labels, item)) in wanted.iter().enumerate() {
        let found = got.iter().position(|(found, _)| found == *labels).ok_or_else(show)?;
        let in_place = !eval.ordered || found == position;
        if !in_place || !matches!(item, Item::Float(value) if same(*value, got[found].1.value)) {
            return Err(show());
        }
    }
    Ok(())
}

fn matrix(eval: &Eval, got: &[Series], times: Times) -> Result<(), String> {
    let mut wanted = Vec::new();
    for (labels, items) in &eval.series {
        let at = |(index, item): (usize, &Item)| (times.start + index as i64 * times.step, item.clone());
        let mut samples: Vec<(i64, Item)> = items.iter().enumerate().map(at).collect();
        if samples.last().is_some_and(|(time, _)| *time > times.end) {
            return Err(format!("{labels}: more values than steps"));
        }
        samples.retain(|(_, item)| *item != Item::Gap);
        if !samples.is_empty() {
            wanted.push((labels, samples));
        }
    }
    let show = || {
        let item = |(time, item): &(i64, Item)| format!("{}@{time}", show(item));
        let want = wanted.iter().map(|(labels, samples)| {
            format!("{labels} {}", samples.iter().map(item).collect::<Vec<_>>().join(" "))
        });
        let sample = |sample: &Sample| format!("{}@{}", sample.value, sample.timestamp.millis());
        let got = got.iter().map(|series| {
            format!("{} {}", series.labels, series.samples.iter().map(sample).collect::<Vec<_>>().join(" "))
        });
        difference(want.collect(), got.collect())
    };
    if !got.windows(2).all(|pair| pair[0].labels < pair[1].labels) || wanted.len() != got.len() {
        return Err(show());
    }
    for (labels, samples) in &wanted {
        let found = got.iter().find(|series| series.labels == **labels).ok_or_else(show)?;
        let equal = |((time, item), sample): (&(i64, Item), &Sample)| {
            *time == sample.timestamp.millis()
                && matches!(item, Item::Float(value) if same(*value, sample.value))
        };
        if samples.len() != found.samples.len() || !samples.iter().zip(&found.samples).all(equal) {
            return Err(show());
        }
    }
    Ok(())
}

fn show(item: &Item) -> String {
    match item {
        Item::Float(value) => value.to_string(),
        Item::Histogram(text) => text.to_owned(),
        Item::Gap => "_".to_owned(),
        Item::Stale => "stale".to_owned(),
    }
}

fn difference(mut want: Vec<String>, mut got: Vec<String>) -> String {
    want.sort();
    got.sort();
    let list = |lines: &[String]| {
        if lines.is_empty() { "nothing".to_owned() } else { lines.join("\n           ") }
    };
    format!("want {}\n      got  {}", list(&want), list(&got))
}

/// Whether two values are the same up to a millionth.
fn same(a: f64, b: f64) -> bool {
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    let (sum, distance) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return distance < 1e-6 * f64::MIN_POSITIVE;
    }
    distance / sum.min(f64::MAX) < 1e-6
}

/// Compares warnings and infos in both directions.
pub(crate) fn annotations(eval: &Eval, output: &Output) -> Result<(), String> {
    check_texts("warn", &eval.warn, eval.no_warn, &output.warnings)?;
    check_texts("info", &eval.info, eval.no_info, &output.infos)
}

fn check_texts(kind: &str, wanted: &[Text], none: bool, got: &[String]) -> Result<(), String> {
    if none && !got.is_empty() {
        return Err(format!("want no {kind}\n      got {got:?}"));
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let unmet = wanted.iter().any(|text| !got.iter().any(|message| text.accepts(message)));
    let unexpected = got.iter().any(|message| !wanted.iter().any(|text| text.accepts(message)));
    if unmet || unexpected { Err(format!("want {kind} {wanted:?}\n      got {got:?}")) } else { Ok(()) }
}
