//! The same observations in other buckets.

use super::{Bucket, Histogram};

impl Histogram {
    /// With a coarser resolution: neighbouring buckets are joined.
    pub(crate) fn coarsened(mut self, schema: i32) -> Self {
        if schema >= self.schema {
            return self;
        }
        let levels = u32::try_from(self.schema - schema).unwrap_or(0).min(31);
        let join = |buckets: &[(i32, f64)]| {
            let mut joined: Vec<(i32, f64)> = Vec::with_capacity(buckets.len());
            for (index, count) in buckets {
                let target = ((index - 1) >> levels) + 1;
                match joined.last_mut() {
                    Some((last, sum)) if *last == target => *sum += count,
                    _ => joined.push((target, *count)),
                }
            }
            joined
        };
        self.positive = join(&self.positive);
        self.negative = join(&self.negative);
        self.schema = schema;
        self
    }

    /// With a zero bucket that reaches at least to `threshold`: further when that lies inside a
    /// bucket that is not empty. Buckets inside are taken up.
    pub(crate) fn widen_zero(mut self, threshold: f64) -> Self {
        let mut threshold = threshold;
        if threshold <= self.zero_threshold {
            return self;
        }
        // Either side may push the threshold up, which changes what the other one holds.
        loop {
            let reach = |buckets: &[(i32, f64)]| {
                let cut = |(index, count): &(i32, f64)| {
                    let Bucket { lower, upper, .. } = self.bucket(*index, *count);
                    (lower < threshold && upper > threshold && *count != 0.0).then_some(upper)
                };
                buckets.iter().find_map(cut)
            };
            match reach(&self.positive).or_else(|| reach(&self.negative)) {
                Some(further) => threshold = further,
                None => break,
            }
        }
        let shape = Self { schema: self.schema, ..Self::default() };
        let mut taken = 0.0;
        for buckets in [&mut self.positive, &mut self.negative] {
            buckets.retain(|(index, count)| {
                let inside = shape.bound(*index) <= threshold;
                taken += if inside { *count } else { 0.0 };
                !inside
            });
        }
        self.zero_count += taken;
        self.zero_threshold = threshold;
        self
    }

    /// The counts of listed buckets on other bounds, each one of which is among the own ones.
    pub(crate) fn on_bounds(&self, bounds: &[f64]) -> Vec<(i32, f64)> {
        let mut moved: Vec<(i32, f64)> = Vec::with_capacity(self.positive.len());
        for (index, count) in &self.positive {
            let upper = self.bound(*index);
            let target = bounds.partition_point(|bound| *bound < upper);
            let target = i32::try_from(target).unwrap_or(i32::MAX);
            match moved.last_mut() {
                Some((last, sum)) if *last == target => *sum += count,
                _ => moved.push((target, *count)),
            }
        }
        moved
    }
}
