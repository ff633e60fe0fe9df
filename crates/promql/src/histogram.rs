//! Native histograms: one sample that is a whole distribution.

mod literal;
mod shape;
#[cfg(test)]
mod tests;
mod text;
mod total;
mod trim;

pub(crate) use total::{Findings, Incompatible, Total};
pub(crate) use trim::Quantile;

/// The schema of histograms whose bounds are listed instead of computed.
pub const CUSTOM_SCHEMA: i32 = -53;

/// What is known about a counter reset just before a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResetHint {
    /// Nothing: compare with the histogram before.
    #[default]
    Unknown,
    /// The counter was reset.
    Reset,
    /// It was not.
    NotReset,
    /// The histogram is no counter.
    Gauge,
}

/// A native histogram. Counts are floats, so that rates and means are histograms too.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Histogram {
    /// Resolution: -4 to 8, each doubling the number of buckets, or [`CUSTOM_SCHEMA`].
    pub schema: i32,
    /// How far the zero bucket reaches to either side.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// All observations.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// Counts by bucket index, ascending. Bucket `i` ends at 2^(i * 2^-schema), or at `bounds[i]`
    /// in custom schema.
    pub positive: Vec<(i32, f64)>,
    /// Counts of negative observations, by the index of the mirrored bucket.
    pub negative: Vec<(i32, f64)>,
    /// Upper bounds of the buckets in custom schema, ascending; the last bucket, without a bound,
    /// is not listed.
    pub bounds: Vec<f64>,
    /// What is known about a reset.
    pub reset: ResetHint,
}

/// A bucket with its bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bucket {
    pub(crate) lower: f64,
    pub(crate) upper: f64,
    pub(crate) count: f64,
}

impl Histogram {
    /// Whether bounds are listed.
    pub fn is_custom(&self) -> bool {
        self.schema == CUSTOM_SCHEMA
    }

    /// The upper bound of a positive bucket.
    fn bound(&self, index: i32) -> f64 {
        if self.is_custom() {
            let at = usize::try_from(index);
            return match at {
                Ok(at) => self.bounds.get(at).copied().unwrap_or(f64::INFINITY),
                Err(_) => f64::NEG_INFINITY,
            };
        }
        let exponent = f64::from(index) * 2f64.powi(-self.schema);
        // The last bucket before infinity holds everything that is finite.
        if exponent == 1024.0 { f64::MAX } else { exponent.exp2() }
    }

    fn bucket(&self, index: i32, count: f64) -> Bucket {
        Bucket { lower: self.bound(index - 1), upper: self.bound(index), count }
    }

    /// All buckets in ascending order, the zero bucket included when it is not empty.
    pub(crate) fn buckets(&self) -> Vec<Bucket> {
        let mirrored = |(index, count): &(i32, f64)| {
            let Bucket { lower, upper, count } = self.bucket(*index, *count);
            Bucket { lower: -upper, upper: -lower, count }
        };
        let mut all: Vec<Bucket> = self.negative.iter().rev().map(mirrored).collect();
        if self.zero_count != 0.0 {
            let (lower, upper) = (-self.zero_threshold, self.zero_threshold);
            all.push(Bucket { lower, upper, count: self.zero_count });
        }
        all.extend(self.positive.iter().map(|(index, count)| self.bucket(*index, *count)));
        all
    }

    /// The same histogram without empty buckets.
    #[must_use]
    pub fn compact(mut self) -> Self {
        self.positive.retain(|(_, count)| *count != 0.0);
        self.negative.retain(|(_, count)| *count != 0.0);
        self
    }

    /// Every number changed by the same function, bounds excepted.
    fn scaled(&self, change: impl Fn(f64) -> f64) -> Self {
        let all = |buckets: &[(i32, f64)]| {
            buckets.iter().map(|(index, count)| (*index, change(*count))).collect()
        };
        Self {
            zero_count: change(self.zero_count),
            count: change(self.count),
            sum: change(self.sum),
            positive: all(&self.positive),
            negative: all(&self.negative),
            ..self.clone()
        }
    }

    /// The histogram multiplied by a number; what is negative is no counter any more.
    #[must_use]
    pub fn times(&self, factor: f64) -> Self {
        let mut scaled = self.scaled(|count| count * factor);
        if factor < 0.0 {
            scaled.reset = ResetHint::Gauge;
        }
        scaled
    }

    /// The histogram divided by a number. Division by zero leaves no buckets.
    #[must_use]
    pub fn divided(&self, divisor: f64) -> Self {
        let mut scaled = self.scaled(|count| count / divisor);
        if divisor == 0.0 {
            scaled.positive.clear();
            scaled.negative.clear();
        }
        if divisor < 0.0 {
            scaled.reset = ResetHint::Gauge;
        }
        scaled
    }

    /// The sum of two histograms; `None` when one has listed bounds and the other computed ones.
    pub fn plus(&self, other: &Self) -> Option<Self> {
        let mut total = Total::new(self);
        total.add(other).ok()?;
        Some(total.finish())
    }

    /// The difference of two histograms; `None` when one has listed bounds and the other computed
    /// ones.
    pub fn minus(&self, other: &Self) -> Option<Self> {
        let mut total = Total::new(self);
        total.subtract(other).ok()?;
        Some(total.finish())
    }

    /// Whether two histograms hold the same, empty buckets left out; what is known about resets
    /// does not count.
    pub fn same_as(&self, other: &Self) -> bool {
        let same = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan());
        let filled = |buckets: &[(i32, f64)]| -> Vec<(i32, f64)> {
            buckets.iter().filter(|(_, count)| *count != 0.0).copied().collect()
        };
        let header = [
            (self.zero_threshold, other.zero_threshold),
            (self.zero_count, other.zero_count),
            (self.count, other.count),
            (self.sum, other.sum),
        ];
        self.schema == other.schema
            && self.bounds == other.bounds
            && header.iter().all(|(a, b)| same(*a, *b))
            && filled(&self.positive) == filled(&other.positive)
            && filled(&self.negative) == filled(&other.negative)
    }

    /// Whether the counter was reset since `previous`.
    pub fn is_reset_after(&self, previous: &Self) -> bool {
        match self.reset {
            ResetHint::Reset => return true,
            ResetHint::NotReset => return false,
            ResetHint::Unknown | ResetHint::Gauge => {}
        }
        if self.is_custom() != previous.is_custom() || self.count < previous.count {
            return true;
        }
        if self.is_custom() {
            let common = total::common_bounds(&self.bounds, &previous.bounds);
            let (now, before) = (self.on_bounds(&common), previous.on_bounds(&common));
            return any_fell(&now, &before);
        }
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let widened = previous.clone().widen_zero(self.zero_threshold);
        if widened.zero_threshold != self.zero_threshold || self.zero_count < widened.zero_count {
            return true;
        }
        let before = widened.coarsened(self.schema);
        any_fell(&self.positive, &before.positive) || any_fell(&self.negative, &before.negative)
    }
}

/// Whether any bucket holds less than it did.
fn any_fell(now: &[(i32, f64)], before: &[(i32, f64)]) -> bool {
    before.iter().any(|(index, count)| {
        let found = now.binary_search_by_key(index, |(index, _)| *index);
        let current = found.map_or(0.0, |at| now[at].1);
        current < *count
    })
}
