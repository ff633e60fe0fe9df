//! The answers of several data centres as one. Pure.

use std::collections::{BTreeMap, HashMap};

use model::{Labels, Sample, Series, Timestamp};
use promql::Value;

/// Labels that a data centre adds to what it has; a series' own labels win.
pub(crate) fn with_labels(labels: Labels, added: &BTreeMap<String, String>) -> Labels {
    if added.iter().all(|(name, _)| labels.get(name).is_some()) {
        return labels;
    }
    let mut builder = labels.edit();
    for (name, value) in added {
        if labels.get(name).is_none() {
            builder.set(name, value);
        }
    }
    builder.build()
}

/// The elements of an answer as series; an element of a vector has one sample, at `at`.
pub(crate) fn series_of(value: Value, at: Timestamp) -> Vec<Series> {
    match value {
        Value::Matrix(matrix) => matrix,
        Value::Vector(vector) => {
            let one = |(labels, sample): (Labels, Sample)| Series {
                labels,
                samples: vec![Sample { timestamp: at, value: sample.value }],
            };
            vector.into_iter().map(one).collect()
        }
        Value::Scalar(sample) => vec![Series {
            labels: Labels::empty(),
            samples: vec![Sample { timestamp: at, value: sample.value }],
        }],
        Value::String { .. } => Vec::new(),
    }
}

/// All series of all lists, sorted, each once: of a series that several lists have, the samples of the first go
/// before those of the others, which fill its gaps.
pub(crate) fn union(lists: impl IntoIterator<Item = Vec<Series>>) -> Vec<Series> {
    let mut at: HashMap<Labels, usize> = HashMap::new();
    let mut all: Vec<Series> = Vec::new();
    for series in lists.into_iter().flatten() {
        match at.get(&series.labels) {
            Some(&known) => all[known].samples = joined(&all[known].samples, &series.samples),
            None => {
                at.insert(series.labels.clone(), all.len());
                all.push(series);
            }
        }
    }
    all.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
    all
}

/// The samples of both, ascending; at one moment the first's.
fn joined(first: &[Sample], second: &[Sample]) -> Vec<Sample> {
    let mut out = Vec::with_capacity(first.len().max(second.len()));
    let (mut first, mut second) = (first.iter().peekable(), second.iter().peekable());
    loop {
        let next = match (first.peek(), second.peek()) {
            (None, None) => return out,
            (Some(a), Some(b)) if b.timestamp < a.timestamp => second.next(),
            (Some(a), Some(b)) => {
                if a.timestamp == b.timestamp {
                    second.next();
                }
                first.next()
            }
            (Some(_), None) => first.next(),
            (None, Some(_)) => second.next(),
        };
        out.extend(next);
    }
}

/// All items of all lists, sorted, each once; at most `limit` (0: all).
pub(crate) fn sorted<T: Ord>(lists: impl IntoIterator<Item = Vec<T>>, limit: usize) -> Vec<T> {
    let mut all: Vec<T> = lists.into_iter().flatten().collect();
    all.sort_unstable();
    all.dedup();
    if limit > 0 {
        all.truncate(limit);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, samples: &[(i64, f64)]) -> Series {
        Series {
            labels: Labels::from_pairs([("__name__", name)]),
            samples: samples.iter().map(|(at, value)| Sample::new(*at, *value)).collect(),
        }
    }

    #[test]
    fn replicas_are_one_series_and_the_first_goes_before() {
        let first = vec![series("b", &[(1, 1.0)]), series("a", &[(1, 1.0), (4, 4.0)])];
        let second = vec![series("a", &[(1, 9.0), (2, 2.0), (5, 5.0)])];
        let expected =
            [series("a", &[(1, 1.0), (2, 2.0), (4, 4.0), (5, 5.0)]), series("b", &[(1, 1.0)])];
        assert_eq!(union([first, second]), expected);
    }

    #[test]
    fn a_label_of_the_data_centre_is_added_and_replaces_none() {
        let added = BTreeMap::from([("dc".to_owned(), "bj".to_owned())]);
        let labels = Labels::from_pairs([("a", "b")]);
        assert_eq!(with_labels(labels.clone(), &added), labels.with("dc", "bj"));
        let own = labels.with("dc", "sh");
        assert_eq!(with_labels(own.clone(), &added), own);
    }

    #[test]
    fn lists_are_sorted_and_without_repetitions() {
        assert_eq!(sorted([vec![3, 1], vec![2, 1]], 0), [1, 2, 3]);
        assert_eq!(sorted([vec![3, 1], vec![2, 1]], 2), [1, 2]);
    }
}
