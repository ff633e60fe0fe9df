//! What came out against what was expected.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Labels, Series};
use promql::{Histogram, HistogramSeries, Output, Value};

use super::format::{Eval, Text, Times, When};
use super::histogram;
use super::series::Item;

/// What came out of a series at a time.
#[derive(Debug, Clone)]
pub(crate) enum Got {
    Float(f64),
    Histogram(Arc<Histogram>),
}

/// A series of a result with its samples in order of time.
pub(crate) type GotSeries = (Labels, Vec<(i64, Got)>);

/// Puts floats and histograms of the same series together.
pub(crate) fn joined(floats: &[Series], histograms: &[HistogramSeries]) -> Vec<GotSeries> {
    let mut all: BTreeMap<Labels, Vec<(i64, Got)>> = BTreeMap::new();
    for series in floats {
        let samples = series.samples.iter().map(|s| (s.timestamp.millis(), Got::Float(s.value)));
        all.entry(series.labels.clone()).or_default().extend(samples);
    }
    for series in histograms {
        let sample = |s: &promql::HistogramSample| {
            (s.timestamp.millis(), Got::Histogram(Arc::clone(&s.histogram)))
        };
        all.entry(series.labels.clone()).or_default().extend(series.samples.iter().map(sample));
    }
    all.values_mut().for_each(|samples| samples.sort_by_key(|(time, _)| *time));
    all.into_iter().collect()
}

/// Compares a result; the fault says what was wanted and what came.
pub(crate) fn value(eval: &Eval, output: &Output) -> Result<(), String> {
    match &output.value {
        Value::Scalar(sample) => scalar(eval, sample.value),
        Value::String { text, .. } => match &eval.string {
            Some(wanted) if wanted == text => Ok(()),
            wanted => Err(format!("want string {wanted:?}\n      got string {text:?}")),
        },
        Value::Vector(elements) => {
            let floats =
                elements.iter().map(|(labels, sample)| (labels.clone(), Got::Float(sample.value)));
            let native = joined(&[], &output.histograms).into_iter();
            let native = native
                .filter_map(|(labels, samples)| Some((labels, samples.into_iter().next()?.1)));
            vector(eval, &floats.chain(native).collect::<Vec<_>>())
        }
        Value::Matrix(series) => {
            if !series.windows(2).all(|pair| pair[0].labels < pair[1].labels) {
                return Err("the series are not in order".to_owned());
            }
            let all = joined(series, &output.histograms);
            match (eval.when, eval.range_vector) {
                (When::Range(times), _) | (When::Instant(_), Some(times)) => {
                    matrix(eval, &all, times)
                }
                (When::Instant(at), None) => {
                    Err(format!("want a vector at {at}, got a range vector"))
                }
            }
        }
    }
}

/// Compares a scalar.
pub(crate) fn scalar(eval: &Eval, got: f64) -> Result<(), String> {
    match eval.scalar {
        Some(wanted) if close(wanted, got) => Ok(()),
        Some(wanted) => Err(format!("want scalar {wanted}\n      got scalar {got}")),
        None => Err(format!("want no scalar\n      got scalar {got}")),
    }
}

fn matches(item: &Item, got: &Got) -> bool {
    match (item, got) {
        (Item::Float(wanted), Got::Float(got)) => close(*wanted, *got),
        (Item::Histogram(wanted), Got::Histogram(got)) => histogram::same(wanted, got, close),
        _ => false,
    }
}

/// Compares an instant vector.
pub(crate) fn vector(eval: &Eval, got: &[(Labels, Got)]) -> Result<(), String> {
    let mut wanted: Vec<(&Labels, &Item)> = Vec::new();
    for (labels, items) in &eval.series {
        let [item] = items.as_slice() else {
            return Err(format!("{labels}: want exactly one value"));
        };
        wanted.push((labels, item));
    }
    let show = || {
        let want = wanted.iter().map(|(labels, item)| format!("{labels} {}", show(item))).collect();
        let got = got.iter().map(|(labels, got)| format!("{labels} {}", show_got(got))).collect();
        difference(want, got)
    };
    if wanted.len() != got.len() || eval.scalar.is_some() {
        return Err(show());
    }
    for (position, (labels, item)) in wanted.iter().enumerate() {
        let found = got.iter().position(|(found, _)| found == *labels).ok_or_else(show)?;
        let in_place = !eval.ordered || found == position;
        if !in_place || !matches(item, &got[found].1) {
            return Err(show());
        }
    }
    Ok(())
}

fn matrix(eval: &Eval, got: &[GotSeries], times: Times) -> Result<(), String> {
    let mut wanted = Vec::new();
    for (labels, items) in &eval.series {
        let at =
            |(index, item): (usize, &Item)| (times.start + index as i64 * times.step, item.clone());
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
        let line =
            |labels: &Labels, samples: Vec<String>| format!("{labels} {}", samples.join(" "));
        let want = wanted.iter().map(|(labels, samples)| {
            line(
                labels,
                samples.iter().map(|(time, item)| format!("{}@{time}", show(item))).collect(),
            )
        });
        let got = got.iter().map(|(labels, samples)| {
            line(
                labels,
                samples.iter().map(|(time, got)| format!("{}@{time}", show_got(got))).collect(),
            )
        });
        difference(want.collect(), got.collect())
    };
    if wanted.len() != got.len() {
        return Err(show());
    }
    for (labels, samples) in &wanted {
        let (_, found) = got.iter().find(|(found, _)| found == *labels).ok_or_else(show)?;
        let equal = |((time, item), (at, got)): (&(i64, Item), &(i64, Got))| {
            time == at && matches(item, got)
        };
        if samples.len() != found.len() || !samples.iter().zip(found).all(equal) {
            return Err(show());
        }
    }
    Ok(())
}

fn show_got(got: &Got) -> String {
    match got {
        Got::Float(value) => value.to_string(),
        Got::Histogram(histogram) => format!("{histogram} {:?}", histogram.reset),
    }
}

fn show(item: &Item) -> String {
    match item {
        Item::Float(value) => value.to_string(),
        Item::Histogram(written) if written.hinted => {
            format!("{} {:?}", written.histogram, written.histogram.reset)
        }
        Item::Histogram(written) => written.histogram.to_string(),
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
fn close(a: f64, b: f64) -> bool {
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
    if unmet || unexpected {
        Err(format!("want {kind} {wanted:?}\n      got {got:?}"))
    } else {
        Ok(())
    }
}
