//! Whether what came out is what was expected, and the difference as text.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::Labels;
use promql::Histogram;
use wire::prom_api::format_exponent;

/// Labels and annotations of an alert, in the order in which alerts are compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fired {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
}

/// The difference of two lists of alerts; `None` when they are equal. The order does not count.
pub(crate) fn alerts(mut expected: Vec<Fired>, mut got: Vec<Fired>) -> Option<String> {
    expected.sort();
    got.sort();
    if expected == got {
        return None;
    }
    let mut text = format!("\n    exp: {}\n    got: {}", list(&expected), list(&got));
    text.push_str("\n    difference:");
    for (sign, one, other) in [('-', &expected, &got), ('+', &got, &expected)] {
        let what = if sign == '-' { "expected, does not fire" } else { "fires, not expected" };
        let mut left = other.clone();
        for alert in one {
            match left.iter().position(|candidate| candidate == alert) {
                Some(at) => drop(left.swap_remove(at)),
                None => text.push_str(&format!("\n      {sign} {what}: {}", short(alert, other))),
            }
        }
    }
    Some(text)
}

/// An alert; beside one of the other side with the same labels only what is different in annotations.
fn short(alert: &Fired, others: &[Fired]) -> String {
    let labels = pairs(&alert.labels);
    let same = others.iter().find(|other| other.labels == alert.labels);
    let annotations = alert.annotations.iter().filter(|(name, text)| {
        same.is_none_or(|other| other.annotations.get(name.as_str()) != Some(text))
    });
    let annotations: BTreeMap<String, String> =
        annotations.map(|(name, text)| (name.clone(), text.clone())).collect();
    format!("{labels} annotations {}", pairs(&annotations))
}

fn list(alerts: &[Fired]) -> String {
    if alerts.is_empty() {
        return "[]".to_owned();
    }
    let lines = alerts.iter().enumerate().map(|(at, alert)| {
        let (labels, annotations) = (pairs(&alert.labels), pairs(&alert.annotations));
        format!("\n      {at}: Labels:{labels}\n         Annotations:{annotations}")
    });
    format!("[{}\n    ]", lines.collect::<Vec<_>>().join(","))
}

fn pairs(map: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = map.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// The value of an element.
#[derive(Debug, Clone)]
pub(crate) enum Got {
    /// A number.
    Float(f64),
    /// A native histogram.
    Native(Arc<Histogram>),
}

/// The difference of two vectors; `None` when they are equal. The order does not count.
pub(crate) fn samples(
    mut expected: Vec<(Labels, Got)>,
    mut got: Vec<(Labels, Got)>,
    fuzzy: bool,
) -> Option<String> {
    for side in [&mut expected, &mut got] {
        side.sort_by(|a, b| a.0.cmp(&b.0));
    }
    let is_same = |(a, b): (&(Labels, Got), &(Labels, Got))| {
        let is_equal = match (&a.1, &b.1) {
            (Got::Float(a), Got::Float(b)) => equal(*a, *b, fuzzy),
            (Got::Native(a), Got::Native(b)) => a.same_as(b),
            _ => false,
        };
        a.0 == b.0 && is_equal
    };
    if expected.len() == got.len() && expected.iter().zip(&got).all(is_same) {
        return None;
    }
    Some(format!("\n    exp: {}\n    got: {}", vector(&expected), vector(&got)))
}

// As promtool: NaN equals nothing, itself included.
fn equal(a: f64, b: f64, fuzzy: bool) -> bool {
    a == b || (fuzzy && (a.next_up() == b || a.next_down() == b))
}

fn vector(samples: &[(Labels, Got)]) -> String {
    if samples.is_empty() {
        return "nil".to_owned();
    }
    let element = |(labels, value): &(Labels, Got)| match value {
        Got::Float(value) => format!("{labels} {}", format_exponent(*value).to_uppercase()),
        Got::Native(histogram) => format!("{labels} {histogram}"),
    };
    samples.iter().map(element).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(host: &str, summary: &str) -> Fired {
        let map = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        Fired { labels: map("endpoint", host), annotations: map("summary", summary) }
    }

    #[test]
    fn the_order_of_alerts_does_not_count() {
        let (a, b) = (fired("a", "x"), fired("b", "x"));
        assert_eq!(alerts(vec![a.clone(), b.clone()], vec![b, a]), None);
        assert_eq!(alerts(vec![], vec![]), None);
    }

    #[test]
    fn a_difference_names_what_is_missing_and_what_is_too_much() {
        let text = alerts(vec![fired("a", "x"), fired("b", "x")], vec![fired("a", "y")]).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let expected = [
            "- expected, does not fire: {endpoint=\"a\"} annotations {summary=\"x\"}",
            "- expected, does not fire: {endpoint=\"b\"} annotations {summary=\"x\"}",
            "+ fires, not expected: {endpoint=\"a\"} annotations {summary=\"y\"}",
        ];
        assert!(lines.ends_with(&expected), "{text}");
    }

    #[test]
    fn the_same_alert_twice_is_not_the_same_as_once() {
        let twice = vec![fired("a", "x"), fired("a", "x")];
        assert!(alerts(twice, vec![fired("a", "x")]).is_some());
    }

    #[test]
    fn fuzzy_values_may_differ_in_the_last_bit() {
        let one = |value: f64| vec![(Labels::empty(), Got::Float(value))];
        assert_eq!(samples(one(0.3), one(0.1 + 0.2), true), None);
        let text = samples(one(0.3), one(0.1 + 0.2), false).unwrap();
        assert!(text.contains("exp: {} 3E-01"), "{text}");
        assert!(samples(one(0.3), one(0.301), true).is_some());
        assert!(samples(one(f64::NAN), one(f64::NAN), true).is_some());
        assert!(samples(one(1.0), vec![], true).unwrap().contains("got: nil"));
    }
}
