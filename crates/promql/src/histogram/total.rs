//! Sums of histograms, compensated in every bucket.

use std::collections::BTreeMap;

use super::{Histogram, ResetHint};
use crate::number::Sum;

/// Histograms with computed and with listed bounds cannot be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Incompatible;

/// What came up while histograms were added.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// One said that the counter was reset, another one that it was not.
    pub(crate) conflicting_resets: bool,
    /// Listed bounds differed, and only those in common are left.
    pub(crate) reconciled_bounds: bool,
}

/// A sum of histograms.
#[derive(Debug, Clone)]
pub(crate) struct Total {
    shape: Histogram,
    zero: Sum,
    count: Sum,
    sum: Sum,
    positive: BTreeMap<i32, Sum>,
    negative: BTreeMap<i32, Sum>,
    pub(crate) findings: Findings,
}

fn cells(buckets: &[(i32, f64)]) -> BTreeMap<i32, Sum> {
    buckets.iter().map(|(index, count)| (*index, single(*count))).collect()
}

fn single(value: f64) -> Sum {
    Sum { value, rest: 0.0 }
}

impl Total {
    pub(crate) fn new(first: &Histogram) -> Self {
        Self {
            zero: single(first.zero_count),
            count: single(first.count),
            sum: single(first.sum),
            positive: cells(&first.positive),
            negative: cells(&first.negative),
            shape: Histogram { positive: Vec::new(), negative: Vec::new(), ..first.clone() },
            findings: Findings::default(),
        }
    }

    /// Adds a histogram.
    pub(crate) fn add(&mut self, other: &Histogram) -> Result<(), Incompatible> {
        if self.shape.is_custom() != other.is_custom() {
            return Err(Incompatible);
        }
        self.adjust_hint(other.reset);
        let mut other = other.clone();
        if self.shape.is_custom() {
            self.reconcile_bounds(&mut other);
        } else {
            self.reconcile_zero(&mut other);
            let schema = self.shape.schema.min(other.schema);
            self.reshape(|shape| shape.coarsened(schema));
            other = other.coarsened(schema);
        }
        self.zero = self.zero.plus(other.zero_count);
        self.count = self.count.plus(other.count);
        self.sum = self.sum.plus(other.sum);
        for (cells, buckets) in
            [(&mut self.positive, &other.positive), (&mut self.negative, &other.negative)]
        {
            for (index, count) in buckets {
                let cell = cells.entry(*index).or_default();
                *cell = cell.plus(*count);
            }
        }
        Ok(())
    }

    /// Takes a histogram away.
    pub(crate) fn subtract(&mut self, other: &Histogram) -> Result<(), Incompatible> {
        let negated = Histogram { reset: other.reset, ..other.scaled(|count| -count) };
        self.add(&negated)
    }

    fn adjust_hint(&mut self, other: ResetHint) {
        let hint = &mut self.shape.reset;
        match (*hint, other) {
            (a, b) if a == b => {}
            (ResetHint::Gauge, _) | (_, ResetHint::Gauge) => *hint = ResetHint::Gauge,
            (ResetHint::Unknown, _) | (_, ResetHint::Unknown) => *hint = ResetHint::Unknown,
            _ => {
                *hint = ResetHint::Unknown;
                self.findings.conflicting_resets = true;
            }
        }
    }

    fn reconcile_bounds(&mut self, other: &mut Histogram) {
        if self.shape.bounds == other.bounds {
            return;
        }
        self.findings.reconciled_bounds = true;
        let common = common_bounds(&self.shape.bounds, &other.bounds);
        other.positive = other.on_bounds(&common);
        other.bounds.clone_from(&common);
        self.reshape(|shape| {
            let positive = shape.on_bounds(&common);
            Histogram { positive, bounds: common.clone(), ..shape }
        });
    }

    fn reconcile_zero(&mut self, other: &mut Histogram) {
        while self.shape.zero_threshold != other.zero_threshold {
            if self.shape.zero_threshold > other.zero_threshold {
                *other = std::mem::take(other).widen_zero(self.shape.zero_threshold);
            }
            if other.zero_threshold > self.shape.zero_threshold {
                let threshold = other.zero_threshold;
                self.reshape(|shape| shape.widen_zero(threshold));
            }
        }
    }

    /// Changes buckets and bounds. What the sums hold beyond their rounded values moves along.
    fn reshape(&mut self, change: impl Fn(Histogram) -> Histogram) {
        let part = |pick: fn(&Sum) -> f64| {
            let all = |cells: &BTreeMap<i32, Sum>| {
                cells.iter().map(|(index, cell)| (*index, pick(cell))).collect()
            };
            let (positive, negative) = (all(&self.positive), all(&self.negative));
            change(Histogram {
                positive,
                negative,
                zero_count: pick(&self.zero),
                ..self.shape.clone()
            })
        };
        let value = part(|cell| cell.value);
        // Whatever the values say about the zero bucket holds for the rest.
        let rest = part(|cell| cell.rest).widen_zero(value.zero_threshold);
        let join = |values: &[(i32, f64)], rests: &[(i32, f64)]| {
            let mut cells = cells(values);
            for (index, rest) in rests {
                cells.entry(*index).or_default().rest += *rest;
            }
            cells
        };
        self.positive = join(&value.positive, &rest.positive);
        self.negative = join(&value.negative, &rest.negative);
        self.zero = Sum { value: value.zero_count, rest: rest.zero_count };
        self.shape = Histogram { positive: Vec::new(), negative: Vec::new(), ..value };
    }

    /// Multiplies what was added so far.
    pub(crate) fn scale(&mut self, factor: f64) {
        let all = self.positive.values_mut().chain(self.negative.values_mut());
        for cell in all.chain([&mut self.zero, &mut self.count, &mut self.sum]) {
            *cell = Sum { value: cell.value * factor, rest: cell.rest * factor };
        }
    }

    /// Whether any number has grown beyond all bounds.
    pub(crate) fn overflows(&self) -> bool {
        let all = self.positive.values().chain(self.negative.values());
        all.chain([&self.zero, &self.count, &self.sum]).any(|cell| cell.value.is_infinite())
    }

    pub(crate) fn finish(&self) -> Histogram {
        let all = |cells: &BTreeMap<i32, Sum>| {
            cells.iter().map(|(index, cell)| (*index, cell.total())).collect()
        };
        Histogram {
            zero_count: self.zero.total(),
            count: self.count.total(),
            sum: self.sum.total(),
            positive: all(&self.positive),
            negative: all(&self.negative),
            ..self.shape.clone()
        }
        .compact()
    }

    /// The mean of histograms: a quotient until a number overflows, incremental from there on.
    pub(crate) fn mean(all: &[&Histogram]) -> Result<Option<(Histogram, Findings)>, Incompatible> {
        let Some((first, rest)) = all.split_first() else { return Ok(None) };
        let mut total = Self::new(first);
        let mut incremental = false;
        for (before, histogram) in rest.iter().enumerate().map(|(index, h)| (index + 1, h)) {
            let count = (before + 1) as f64;
            if !incremental {
                let kept = total.clone();
                total.add(histogram)?;
                if !total.overflows() {
                    continue;
                }
                incremental = true;
                total = kept;
                total.scale(1.0 / before as f64);
            }
            total.scale(before as f64 / count);
            let share = Histogram { reset: histogram.reset, ..histogram.divided(count) };
            total.add(&share)?;
        }
        if !incremental {
            total.scale(1.0 / all.len() as f64);
        }
        Ok(Some((total.finish(), total.findings)))
    }
}

/// The bounds that two lists share.
pub(crate) fn common_bounds(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().filter(|bound| b.contains(bound)).copied().collect()
}
