//! Columns: the values of one series over all steps.

use std::sync::Arc;

use hashbrown::HashTable;
use model::{Labels, METRIC_NAME, STALE_NAN_BITS, Sample, Timestamp};

use crate::error::EvalError;
use crate::histogram::Histogram;
use crate::plan::Grid;
use crate::samples::HistogramSample;

/// Stands in a column where the series has no value. It is the bit pattern of the staleness marker,
/// which never is a value of a result, and which no arithmetic produces: its NaN are quiet ones.
/// Values that come from outside pass through [`Row::set`], which leaves one kind of NaN.
pub(super) const ABSENT: f64 = f64::from_bits(STALE_NAN_BITS);

/// Whether there is no value.
pub(super) fn is_absent(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// Stands in a column where the value is a native histogram, which the row keeps beside the column.
const HISTOGRAM: f64 = f64::from_bits(STALE_NAN_BITS + 1);

/// Whether the value is a native histogram.
pub(super) fn is_histogram(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS + 1
}

/// A value of a row.
#[derive(Debug, Clone)]
pub(super) enum Point {
    Float(f64),
    Histogram(Arc<Histogram>),
}

impl From<Histogram> for Point {
    fn from(histogram: Histogram) -> Self {
        Self::Histogram(Arc::new(histogram))
    }
}

/// The labels that make up the identity of a metric and are dropped when values become something
/// else.
const IDENTITY: [&str; 3] = [METRIC_NAME, "__type__", "__unit__"];

/// One series of a result.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) labels: Labels,
    /// Whether the name is to be dropped at the end.
    pub(super) drop_name: bool,
    /// A value a step.
    pub(super) values: Vec<f64>,
    /// Native histograms by step; empty when the row has none.
    pub(super) histograms: Vec<Option<Arc<Histogram>>>,
}

impl Row {
    pub(super) fn new(labels: Labels, values: Vec<f64>) -> Self {
        Self { labels, drop_name: false, values, histograms: Vec::new() }
    }

    /// A row without values.
    pub(super) fn absent(labels: Labels, drop_name: bool, steps: usize) -> Self {
        Self { labels, drop_name, values: vec![ABSENT; steps], histograms: Vec::new() }
    }

    pub(super) fn has_histograms(&self) -> bool {
        !self.histograms.is_empty()
    }

    pub(super) fn histogram(&self, step: usize) -> Option<&Arc<Histogram>> {
        self.histograms
            .get(step)
            .and_then(Option::as_ref)
            .filter(|_| is_histogram(self.values[step]))
    }

    pub(super) fn point(&self, step: usize) -> Option<Point> {
        match self.histogram(step) {
            Some(histogram) => Some(Point::Histogram(Arc::clone(histogram))),
            None => Some(self.values[step]).filter(|value| !is_absent(*value)).map(Point::Float),
        }
    }

    pub(super) fn set(&mut self, step: usize, point: Option<Point>) {
        self.values[step] = match point {
            None => ABSENT,
            // A stored NaN may have the bits of one of the marks, or get them when its sign is
            // turned; what is computed never has them.
            Some(Point::Float(value)) if value.is_nan() => f64::NAN,
            Some(Point::Float(value)) => value,
            Some(Point::Histogram(histogram)) => {
                if self.histograms.is_empty() {
                    self.histograms = vec![None; self.values.len()];
                }
                self.histograms[step] = Some(histogram);
                HISTOGRAM
            }
        };
    }

    /// Removes native histograms; answers whether there were any.
    pub(super) fn keep_floats(&mut self) -> bool {
        let mut found = false;
        if self.has_histograms() {
            for value in self.values.iter_mut().filter(|value| is_histogram(**value)) {
                *value = ABSENT;
                found = true;
            }
            self.histograms = Vec::new();
        }
        found
    }

    pub(super) fn has_values(&self) -> bool {
        self.values.iter().any(|value| !is_absent(*value))
    }

    /// Changes every number there is. Native histograms are dropped: functions of numbers ignore
    /// them.
    pub(super) fn map(&mut self, change: impl Fn(f64) -> f64) {
        self.keep_floats();
        for value in self.values.iter_mut().filter(|value| !is_absent(**value)) {
            *value = change(*value);
        }
    }

    /// Changes every number there is, knowing its step. Native histograms are dropped.
    pub(super) fn map_steps(&mut self, change: impl Fn(usize, f64) -> f64) {
        self.keep_floats();
        for (step, value) in
            self.values.iter_mut().enumerate().filter(|(_, value)| !is_absent(**value))
        {
            *value = change(step, *value);
        }
    }

    /// The steps that have a native histogram, as samples.
    pub(super) fn histogram_samples(&self, grid: Grid) -> Vec<HistogramSample> {
        let sample = |(step, _): (usize, &Option<Arc<Histogram>>)| {
            let histogram = Arc::clone(self.histogram(step)?);
            Some(HistogramSample { timestamp: Timestamp(grid.time(step)), histogram })
        };
        self.histograms.iter().enumerate().filter_map(sample).collect()
    }

    /// The steps that have a number, as samples.
    pub(super) fn samples(&self, grid: Grid) -> Vec<Sample> {
        let is_float = |value: f64| !is_absent(value) && !is_histogram(value);
        let present = self.values.iter().enumerate().filter(|(_, value)| is_float(**value));
        present
            .map(|(step, value)| Sample { timestamp: Timestamp(grid.time(step)), value: *value })
            .collect()
    }
}

/// A scalar over all steps.
#[derive(Debug, Clone)]
pub(super) enum Scalars {
    /// The same at every step.
    Same(f64),
    /// A value a step.
    Steps(Vec<f64>),
}

impl Scalars {
    pub(super) fn at(&self, step: usize) -> f64 {
        match self {
            Self::Same(value) => *value,
            Self::Steps(values) => values.get(step).copied().unwrap_or(f64::NAN),
        }
    }

    pub(super) fn map(self, change: impl Fn(f64) -> f64) -> Self {
        match self {
            Self::Same(value) => Self::Same(change(value)),
            Self::Steps(values) => Self::Steps(values.into_iter().map(change).collect()),
        }
    }

    /// Combines two scalars step by step.
    pub(super) fn zip(&self, other: &Self, combine: impl Fn(f64, f64) -> f64) -> Self {
        let steps = match (self, other) {
            (Self::Same(a), Self::Same(b)) => return Self::Same(combine(*a, *b)),
            (Self::Steps(values), _) | (_, Self::Steps(values)) => values.len(),
        };
        Self::Steps((0..steps).map(|step| combine(self.at(step), other.at(step))).collect())
    }

    /// The distinct values in question: one, or one a step.
    pub(super) fn values(&self) -> &[f64] {
        match self {
            Self::Same(value) => std::slice::from_ref(value),
            Self::Steps(values) => values,
        }
    }
}

/// What a node evaluates to.
#[derive(Debug, Clone)]
pub(super) enum Computed {
    Scalar(Scalars),
    Text(String),
    Vector(Vec<Row>),
}

impl Computed {
    /// How many values it holds.
    pub(super) fn points(&self) -> usize {
        match self {
            Self::Scalar(scalars) => scalars.values().len(),
            Self::Text(_) => 0,
            Self::Vector(rows) => rows.iter().map(|row| row.values.len()).sum(),
        }
    }

    /// One step spread over many.
    pub(super) fn repeated(self, steps: usize) -> Self {
        match self {
            Self::Scalar(scalars) => Self::Scalar(Scalars::Same(scalars.at(0))),
            Self::Vector(mut rows) => {
                for row in &mut rows {
                    let value = row.values.first().copied().unwrap_or(ABSENT);
                    let histogram = row.histograms.first().cloned();
                    row.values = vec![value; steps];
                    row.histograms =
                        histogram.map_or_else(Vec::new, |histogram| vec![histogram; steps]);
                }
                Self::Vector(rows)
            }
            text @ Self::Text(_) => text,
        }
    }
}

/// Removes the names that were marked to be dropped.
pub(super) fn strip_names(mut rows: Vec<Row>) -> Vec<Row> {
    for row in rows.iter_mut().filter(|row| row.drop_name) {
        row.labels = row.labels.without(&IDENTITY);
        row.drop_name = false;
    }
    rows
}

/// The labels without the identity of the metric.
pub(super) fn without_identity(labels: &Labels) -> Labels {
    labels.without(&IDENTITY)
}

/// Joins rows of the same labels. Two values at the same step are an error.
pub(super) fn unify(rows: Vec<Row>) -> Result<Vec<Row>, EvalError> {
    unify_or(rows, || EvalError::DuplicateLabels)
}

/// Joins rows of the same labels, with the error to give when two of them have values at the same
/// step.
pub(super) fn unify_or(
    rows: Vec<Row>,
    fault: impl Fn() -> EvalError,
) -> Result<Vec<Row>, EvalError> {
    if rows.len() < 2 {
        return Ok(rows);
    }
    let mut unified: Vec<Row> = Vec::with_capacity(rows.len());
    let mut index: HashTable<usize> = HashTable::with_capacity(rows.len());
    for row in rows {
        let hash = row.labels.hash();
        let same = |known: &usize| {
            let known: &Row = &unified[*known];
            known.labels == row.labels && known.drop_name == row.drop_name
        };
        let Some(&known) = index.find(hash, same) else {
            index.insert_unique(hash, unified.len(), |known| unified[*known].labels.hash());
            unified.push(row);
            continue;
        };
        let kept = &mut unified[known];
        for step in 0..row.values.len() {
            if is_absent(row.values[step]) {
                continue;
            }
            if !is_absent(kept.values[step]) {
                return Err(fault());
            }
            kept.set(step, row.point(step));
        }
    }
    Ok(unified)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, values: &[f64]) -> Row {
        Row::new(Labels::from_pairs([("a", name)]), values.to_vec())
    }

    #[test]
    fn rows_of_the_same_labels_are_joined_where_they_do_not_overlap() {
        let rows =
            unify(vec![row("x", &[1.0, ABSENT]), row("y", &[5.0, 5.0]), row("x", &[ABSENT, 2.0])]);
        let rows = rows.expect("they do not overlap");
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].values, [1.0, 2.0]);
    }

    #[test]
    fn two_values_at_the_same_step_are_an_error() {
        let rows = unify(vec![row("x", &[1.0]), row("x", &[1.0])]);
        assert_eq!(rows.map(|rows| rows.len()), Err(EvalError::DuplicateLabels));
    }

    #[test]
    fn arithmetic_never_makes_a_value_look_absent() {
        for value in
            [ABSENT + 1.0, ABSENT * 0.0, f64::NAN, -f64::NAN, f64::INFINITY - f64::INFINITY]
        {
            assert!(!is_absent(value));
        }
    }
}
