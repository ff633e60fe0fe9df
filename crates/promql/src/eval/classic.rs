//! Quantiles and fractions of classic histograms: series with cumulative counts and their bounds in
//! label `le`.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use model::Labels;

use super::Evaluator;
use super::call::text;
use super::column::{ABSENT, Row, Scalars, is_absent};
use crate::error::EvalError;
use crate::number;
use crate::plan::{Grid, Node};
use crate::span::Span;

/// The label that holds the upper bound of a bucket.
const BOUND: &str = "le";
// Differences below this are noise of the addition of counts that were scraped apart.
const TOLERANCE: f64 = 1e-12;

/// How many values up to and with a bound.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bucket {
    bound: f64,
    count: f64,
}

/// The buckets of one histogram, as rows with their bounds.
struct Histogram {
    labels: Labels,
    drop_name: bool,
    buckets: Vec<(f64, Row)>,
    /// The native histograms of the same labels.
    native: Option<Row>,
}

impl<'a> Evaluator<'a> {
    pub(super) fn histogram_quantile(
        &mut self,
        args: &'a [Node],
        grid: Grid,
    ) -> Result<Vec<Row>, EvalError> {
        let q = self.quantile_argument(&args[0], grid)?;
        let histograms = self.histograms(&args[1], grid)?;
        let rows = self.quantile_rows(&histograms, &q, args[1].span, grid);
        self.without_names(rows)
    }

    /// Several quantiles at once, each with its own value of a label.
    pub(super) fn histogram_quantiles(
        &mut self,
        args: &'a [Node],
        grid: Grid,
    ) -> Result<Vec<Row>, EvalError> {
        let histograms = self.histograms(&args[0], grid)?;
        let label = text(&args[1]);
        let mut found = Vec::new();
        for arg in &args[2..] {
            let q = self.quantile_argument(arg, grid)?;
            for row in self.quantile_rows(&histograms, &q, args[0].span, grid) {
                // The label tells the quantile of the step.
                let mut by_value: BTreeMap<String, Row> = BTreeMap::new();
                for (step, value) in
                    row.values.iter().enumerate().filter(|(_, value)| !is_absent(**value))
                {
                    let name = number::general(q.at(step));
                    if !by_value.contains_key(&name) {
                        self.charge(grid.steps)?;
                    }
                    let target = by_value.entry(name).or_insert_with_key(|name| {
                        Row::absent(row.labels.with(label, name), row.drop_name, grid.steps)
                    });
                    target.values[step] = *value;
                }
                found.extend(by_value.into_values());
            }
        }
        self.without_names(found)
    }

    pub(super) fn histogram_fraction(
        &mut self,
        args: &'a [Node],
        grid: Grid,
    ) -> Result<Vec<Row>, EvalError> {
        let (lower, upper) = (self.scalar(&args[0], grid)?, self.scalar(&args[1], grid)?);
        let histograms = self.histograms(&args[2], grid)?;
        let mut rows = Vec::new();
        for histogram in &histograms {
            let mut values = Vec::with_capacity(grid.steps);
            for step in 0..grid.steps {
                let bounds = (lower.at(step), upper.at(step));
                let value = match self.found(histogram, step, args[2].span) {
                    Found::Nothing => ABSENT,
                    Found::Classic(mut buckets) => fraction(bounds.0, bounds.1, &mut buckets),
                    Found::Native(native) => self.native_fraction(
                        bounds,
                        &native,
                        histogram.labels.metric_name(),
                        args[2].span,
                    ),
                };
                values.push(value);
            }
            rows.push(histogram.row(values));
        }
        self.without_names(rows)
    }

    fn quantile_argument(&mut self, node: &'a Node, grid: Grid) -> Result<Scalars, EvalError> {
        let q = self.scalar(node, grid)?;
        q.values().iter().for_each(|q| self.notes.invalid_quantile(*q, node.span));
        Ok(q)
    }

    fn quantile_rows(
        &mut self,
        histograms: &[Histogram],
        q: &Scalars,
        span: Span,
        grid: Grid,
    ) -> Vec<Row> {
        let mut rows = Vec::with_capacity(histograms.len());
        for histogram in histograms {
            let mut forced = false;
            let mut values = Vec::with_capacity(grid.steps);
            let name = histogram.labels.metric_name();
            for step in 0..grid.steps {
                values.push(match self.found(histogram, step, span) {
                    Found::Nothing => ABSENT,
                    Found::Classic(mut buckets) => {
                        let (value, changed) = quantile(q.at(step), &mut buckets);
                        forced |= changed;
                        value
                    }
                    Found::Native(native) => self.native_quantile(q.at(step), &native, name, span),
                });
            }
            if forced {
                self.notes.forced_monotonicity(histogram.labels.metric_name(), span);
            }
            rows.push(histogram.row(values));
        }
        rows
    }

    /// What there is of a histogram at a step.
    fn found(&mut self, histogram: &Histogram, step: usize, span: Span) -> Found {
        let native = histogram.native.as_ref().and_then(|row| row.histogram(step));
        match (histogram.at(step), native) {
            (None, None) => Found::Nothing,
            (Some(buckets), None) => Found::Classic(buckets),
            (None, Some(native)) => Found::Native(Arc::clone(native)),
            (Some(_), Some(_)) => {
                self.notes.mixed_classic(histogram.labels.metric_name(), span);
                Found::Nothing
            }
        }
    }

    fn histograms(&mut self, node: &'a Node, grid: Grid) -> Result<Vec<Histogram>, EvalError> {
        let mut found: Vec<Histogram> = Vec::new();
        let mut index: HashMap<Labels, usize> = HashMap::new();
        let mut slot = |found: &mut Vec<Histogram>, labels: Labels, drop_name: bool| {
            *index.entry(labels).or_insert_with_key(|labels| {
                let labels = labels.clone();
                found.push(Histogram { labels, drop_name, buckets: Vec::new(), native: None });
                found.len() - 1
            })
        };
        for mut row in self.vector(node, grid)? {
            if row.has_histograms() {
                let at = slot(&mut found, row.labels.clone(), row.drop_name);
                found[at].native = Some(row.clone());
                row.keep_floats();
                if !row.has_values() {
                    continue;
                }
            }
            let le = row.labels.get(BOUND).unwrap_or("");
            let Some(bound) = bound(le) else {
                self.notes.bad_bucket(row.labels.metric_name(), le, node.span);
                continue;
            };
            let at = slot(&mut found, row.labels.without(&[BOUND]), row.drop_name);
            found[at].buckets.push((bound, row));
        }
        Ok(found)
    }
}

/// A histogram at a step.
enum Found {
    Nothing,
    Classic(Vec<Bucket>),
    Native(Arc<crate::histogram::Histogram>),
}

impl Histogram {
    /// The buckets there are at a step, by bound; `None` when there are none.
    fn at(&self, step: usize) -> Option<Vec<Bucket>> {
        let bucket = |(bound, row): &(f64, Row)| Bucket { bound: *bound, count: row.values[step] };
        let present = self.buckets.iter().map(bucket).filter(|bucket| !is_absent(bucket.count));
        let mut buckets: Vec<Bucket> = present.collect();
        buckets.sort_by(|a, b| a.bound.total_cmp(&b.bound));
        (!buckets.is_empty()).then_some(buckets)
    }

    fn row(&self, values: Vec<f64>) -> Row {
        Row { drop_name: self.drop_name, ..Row::new(self.labels.clone(), values) }
    }
}

fn bound(le: &str) -> Option<f64> {
    match le.trim_start_matches('+') {
        "" => None,
        text if text.eq_ignore_ascii_case("inf") => Some(f64::INFINITY),
        text => text.parse().ok(),
    }
}

/// Joins buckets of the same bound and makes counts rise. Answers whether counts had to be changed
/// by more than noise; `None` when the highest bucket is not the one for everything.
fn prepare(buckets: &mut Vec<Bucket>) -> Option<bool> {
    if buckets.last()?.bound != f64::INFINITY {
        return None;
    }
    buckets.dedup_by(|next, kept| {
        let same = next.bound == kept.bound;
        if same {
            kept.count += next.count;
        }
        same
    });
    let mut forced = false;
    let mut previous = buckets[0].count;
    for bucket in buckets.iter_mut().skip(1) {
        if bucket.count == previous {
            continue;
        }
        let noise = number::almost_equal(previous, bucket.count, TOLERANCE);
        if noise || bucket.count < previous {
            forced |= !noise;
            bucket.count = previous;
            continue;
        }
        previous = bucket.count;
    }
    Some(forced)
}

/// The quantile, interpolated linearly inside its bucket, and whether counts had to be forced to
/// rise.
fn quantile(q: f64, buckets: &mut Vec<Bucket>) -> (f64, bool) {
    if q.is_nan() {
        return (f64::NAN, false);
    }
    if !(0.0..=1.0).contains(&q) {
        return (if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY }, false);
    }
    let Some(forced) = prepare(buckets) else { return (f64::NAN, false) };
    let last = buckets.len() - 1;
    let observations = buckets[last].count;
    if buckets.len() < 2 || observations == 0.0 || observations.is_nan() {
        return (f64::NAN, forced);
    }
    let mut rank = q * observations;
    let at = buckets[..last].partition_point(|bucket| bucket.count < rank);
    if at == last {
        return (buckets[last - 1].bound, forced);
    }
    let Bucket { bound: end, mut count } = buckets[at];
    if at == 0 && end <= 0.0 {
        return (end, forced);
    }
    let mut start = 0.0;
    if at > 0 {
        start = buckets[at - 1].bound;
        count -= buckets[at - 1].count;
        rank -= buckets[at - 1].count;
    }
    (start + (end - start) * (rank / count), forced)
}

/// Which part of all values lies between two bounds.
fn fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if prepare(buckets).is_none() {
        return f64::NAN;
    }
    let total = buckets[buckets.len() - 1].count;
    if total == 0.0 || total.is_nan() || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    (rank_of(upper, buckets) - rank_of(lower, buckets)) / total
}

/// How many values lie below a bound, interpolated linearly.
fn rank_of(bound: f64, buckets: &[Bucket]) -> f64 {
    let mut rank = 0.0;
    let mut low = f64::NEG_INFINITY;
    for (position, bucket) in buckets.iter().enumerate() {
        if low >= bound {
            return rank;
        }
        if bucket.bound > bound {
            // The first bucket is taken to start at zero when it ends above.
            let start = if position == 0 && bucket.bound > 0.0 { 0.0 } else { low };
            if bucket.bound.is_infinite() {
                return rank;
            }
            // A bucket without a lower end cannot be cut.
            if start.is_infinite() {
                return bucket.count;
            }
            return rank
                + (bucket.count - rank) * ((bound - start) / (bucket.bound - start)).max(0.0);
        }
        rank = bucket.count;
        low = bucket.bound;
    }
    rank
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(pairs: &[(f64, f64)]) -> Vec<Bucket> {
        pairs.iter().map(|(bound, count)| Bucket { bound: *bound, count: *count }).collect()
    }

    #[test]
    fn a_quantile_is_interpolated_inside_its_bucket() {
        let mut all = buckets(&[(1.0, 2.0), (2.0, 6.0), (f64::INFINITY, 8.0)]);
        assert_eq!(quantile(0.5, &mut all), (1.5, false));
        assert_eq!(quantile(0.125, &mut all), (0.5, false));
        assert_eq!(quantile(0.9, &mut all), (2.0, false));
    }

    #[test]
    fn counts_that_fall_are_forced_to_rise() {
        let mut all = buckets(&[(1.0, 4.0), (2.0, 3.0), (f64::INFINITY, 8.0)]);
        assert!(quantile(0.5, &mut all).1);
    }

    #[test]
    fn without_the_last_bucket_nothing_is_known() {
        assert!(quantile(0.5, &mut buckets(&[(1.0, 4.0)])).0.is_nan());
        assert!(fraction(0.0, 1.0, &mut buckets(&[(1.0, 4.0)])).is_nan());
    }

    #[test]
    fn a_fraction_is_interpolated_at_both_ends() {
        let mut all = buckets(&[(1.0, 2.0), (2.0, 6.0), (f64::INFINITY, 8.0)]);
        assert_eq!(fraction(0.5, 1.5, &mut all), 3.0 / 8.0);
        assert_eq!(fraction(f64::NEG_INFINITY, f64::INFINITY, &mut all), 1.0);
        assert_eq!(fraction(2.0, 1.0, &mut all), 0.0);
    }
}
