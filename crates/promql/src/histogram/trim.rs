//! What lies below or above a value, quantiles and other figures of one histogram.

use super::{Bucket, Histogram};
use crate::number::Sum;

/// A quantile, and what NaN observations did to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Quantile {
    Plain(f64),
    /// NaN observations count as the highest ones.
    Skewed(f64),
    /// The quantile lies among NaN observations.
    NotANumber,
}

impl Histogram {
    /// The buckets with the zero bucket cut to the side that observations are on, and the lowest
    /// listed bucket starting at zero when it ends above.
    fn sided_buckets(&self) -> Vec<Bucket> {
        let mut buckets = self.buckets();
        let (no_negative, no_positive) = (self.negative.is_empty(), self.positive.is_empty());
        for bucket in &mut buckets {
            if self.is_custom() {
                if bucket.lower == f64::NEG_INFINITY && bucket.upper > 0.0 {
                    bucket.lower = 0.0;
                }
            } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
                bucket.lower = if no_negative && !no_positive { 0.0 } else { bucket.lower };
                bucket.upper = if no_positive && !no_negative { 0.0 } else { bucket.upper };
            }
        }
        buckets
    }

    /// Whether values are spread evenly over a bucket rather than over its logarithm.
    fn is_linear(&self, bucket: &Bucket) -> bool {
        self.is_custom() || (bucket.lower <= 0.0 && bucket.upper >= 0.0)
    }

    /// Which part of a bucket lies below a value inside of it.
    fn part_below(&self, bucket: &Bucket, value: f64) -> f64 {
        if self.is_linear(bucket) {
            return (value - bucket.lower) / (bucket.upper - bucket.lower);
        }
        let [lower, upper, value] =
            [bucket.lower, bucket.upper, value].map(|bound| bound.abs().log2());
        (value - lower) / (upper - lower)
    }

    pub(crate) fn quantile(&self, q: f64) -> Quantile {
        if q < 0.0 {
            return Quantile::Plain(f64::NEG_INFINITY);
        }
        if q > 1.0 {
            return Quantile::Plain(f64::INFINITY);
        }
        if self.count == 0.0 || q.is_nan() {
            return Quantile::Plain(f64::NAN);
        }
        let has_nan = self.sum.is_nan();
        // Upper quantiles are counted from above, which is more exact there.
        let forward = has_nan || q < 0.5;
        let mut buckets = self.sided_buckets();
        if !forward {
            buckets.reverse();
        }
        let rank = if forward { q * self.count } else { (1.0 - q) * self.count };
        let mut count = 0.0;
        let mut reached = Bucket { lower: 0.0, upper: 0.0, count: 0.0 };
        for bucket in buckets.into_iter().filter(|bucket| bucket.count != 0.0) {
            reached = bucket;
            count += bucket.count;
            if count >= rank {
                break;
            }
        }
        let count = count.min(self.count);
        if count < rank || reached.count == 0.0 {
            return if has_nan { Quantile::NotANumber } else { Quantile::Plain(reached.upper) };
        }
        let inside = if forward { rank - (count - reached.count) } else { count - rank };
        let value = self.at_part(&reached, inside / reached.count);
        if has_nan { Quantile::Skewed(value) } else { Quantile::Plain(value) }
    }

    /// The value that has a part of a bucket below it.
    fn at_part(&self, bucket: &Bucket, part: f64) -> f64 {
        if self.is_custom() && bucket.lower == f64::NEG_INFINITY {
            return bucket.upper;
        }
        if self.is_custom() && bucket.upper == f64::INFINITY {
            return bucket.lower;
        }
        if self.is_linear(bucket) {
            return bucket.lower + (bucket.upper - bucket.lower) * part;
        }
        let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
        (lower + (upper - lower) * part).exp2().copysign(bucket.lower)
    }

    /// Which part of all observations lies between two values.
    pub(crate) fn fraction(&self, lower: f64, upper: f64) -> f64 {
        if self.count == 0.0 || lower.is_nan() || upper.is_nan() {
            return f64::NAN;
        }
        if lower >= upper {
            return 0.0;
        }
        (self.rank_of(upper) - self.rank_of(lower)) / self.count
    }

    /// How many observations lie below a value.
    fn rank_of(&self, value: f64) -> f64 {
        let mut rank: f64 = 0.0;
        for bucket in self.sided_buckets() {
            if bucket.lower >= value {
                return rank.min(self.count);
            }
            if bucket.upper > value {
                let part = match (bucket.lower.is_infinite(), bucket.upper.is_infinite()) {
                    (true, _) => 1.0,
                    (_, true) => 0.0,
                    _ => self.part_below(&bucket, value),
                };
                return (rank + bucket.count * part).min(self.count);
            }
            rank += bucket.count;
        }
        // NaN observations are in no bucket.
        if self.sum.is_nan() { rank } else { self.count }
    }

    pub(crate) fn variance(&self) -> f64 {
        let mean = self.sum / self.count;
        let mut total = Sum::default();
        for bucket in self.sided_buckets().iter().filter(|bucket| bucket.count != 0.0) {
            let zero = !self.is_custom() && bucket.lower <= 0.0 && bucket.upper >= 0.0;
            let value = if zero { 0.0 } else { self.middle(bucket) };
            total = total.plus(bucket.count * (value - mean) * (value - mean));
        }
        (total.value + total.rest) / self.count
    }

    /// The value that stands for all of a bucket.
    fn middle(&self, bucket: &Bucket) -> f64 {
        let Bucket { lower, upper, .. } = *bucket;
        if lower == f64::NEG_INFINITY {
            upper
        } else if upper == f64::INFINITY {
            lower
        } else if self.is_linear(bucket) {
            f64::midpoint(lower, upper)
        } else {
            (lower * upper).sqrt().copysign(lower)
        }
    }

    /// What lies below a value (`</`) or above it (`>/`). Count and sum are estimated from the
    /// buckets that are left, unless all of them are.
    pub(crate) fn trimmed(&self, value: f64, keep_below: bool) -> Self {
        let mut kept = Self { sum: 0.0, count: 0.0, zero_count: 0.0, ..self.clone() };
        let mut changed = false;
        let mut total = Sum::default();
        let mut take = |bucket: Bucket| {
            let (left, middle) = self.cut(bucket, value, keep_below);
            changed |= left != bucket.count;
            if left != 0.0 {
                total = total.plus(left * middle);
            }
            left
        };
        let sided = |bucket: Bucket| {
            let mut bucket = bucket;
            bucket.lower = if self.negative.is_empty() && !self.positive.is_empty() {
                0.0
            } else {
                bucket.lower
            };
            bucket.upper = if self.positive.is_empty() && !self.negative.is_empty() {
                0.0
            } else {
                bucket.upper
            };
            bucket
        };
        for (index, count) in &mut kept.negative {
            let Bucket { lower, upper, .. } = self.bucket(*index, *count);
            *count = take(Bucket { lower: -upper, upper: -lower, count: *count });
        }
        let (lower, upper) = (-self.zero_threshold, self.zero_threshold);
        if self.zero_count != 0.0 {
            kept.zero_count = take(sided(Bucket { lower, upper, count: self.zero_count }));
        }
        for (index, count) in &mut kept.positive {
            *count = take(self.bucket(*index, *count));
        }
        if !changed {
            return self.clone();
        }
        kept.sum = total.total();
        let counts = kept.negative.iter().chain(&kept.positive).map(|(_, count)| *count);
        kept.count = counts.chain([kept.zero_count]).fold(Sum::default(), Sum::plus).total();
        kept.compact()
    }

    /// How much of a bucket is left, and the value that stands for it.
    fn cut(&self, bucket: Bucket, value: f64, keep_below: bool) -> (f64, f64) {
        let mut bucket = bucket;
        if bucket.lower == f64::NEG_INFINITY && bucket.upper > 0.0 && bucket.upper.is_finite() {
            // Observations are taken to be positive, unless the cut itself is below zero.
            if !keep_below && value < 0.0 && value.is_finite() {
                return (0.0, 0.0);
            }
            bucket.lower = 0.0;
        }
        let Bucket { lower, upper, count } = bucket;
        let all = (count, self.middle(&bucket));
        if keep_below {
            if upper <= value {
                return all;
            }
            if lower >= value || upper == f64::INFINITY {
                return (0.0, 0.0);
            }
            if lower == f64::NEG_INFINITY {
                return if value.is_finite() { (count, value) } else { (0.0, 0.0) };
            }
            let left = Bucket { lower, upper: value, count };
            return (count * self.part_below(&bucket, value), self.middle_of(&bucket, &left));
        }
        if lower >= value {
            return all;
        }
        if upper <= value || lower == f64::NEG_INFINITY {
            return (0.0, 0.0);
        }
        if upper == f64::INFINITY {
            return if value.is_finite() { (count, value) } else { (0.0, 0.0) };
        }
        let left = Bucket { lower: value, upper, count };
        (count * (1.0 - self.part_below(&bucket, value)), self.middle_of(&bucket, &left))
    }

    // The middle of a part of a bucket, on the scale of the whole bucket.
    fn middle_of(&self, whole: &Bucket, part: &Bucket) -> f64 {
        if self.is_linear(whole) {
            f64::midpoint(part.lower, part.upper)
        } else {
            self.middle(part)
        }
    }
}
