//! Histograms as text, in the form Prometheus prints.

use std::fmt;

use super::{Bucket, Histogram};
use crate::number::general;

/// `{count:4, sum:5, [-0.001,0.001]:1, (0.5,1]:1, (1,2]:2}`
impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", general(self.count), general(self.sum))?;
        for Bucket { lower, upper, count } in self.buckets() {
            if count == 0.0 {
                continue;
            }
            let zero = !self.is_custom() && lower <= 0.0 && upper >= 0.0;
            let (open, close) = match (zero, lower < 0.0 && !self.is_custom()) {
                (true, _) => ('[', ']'),
                (_, true) => ('[', ')'),
                _ => ('(', ']'),
            };
            write!(f, ", {open}{},{}{close}:{}", general(lower), general(upper), general(count))?;
        }
        f.write_str("}")
    }
}
