//! Values with the names of their series.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use model::{Labels, LabelsBuilder, METRIC_NAME, canonical_name};

/// Names of series that are kept for the next round. A host has some hundred series in a group; when devices
/// come and go beyond this, the names are built again.
const NAMES_MAX: usize = 8192;

/// A value and the series it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The series.
    pub labels: Labels,
    /// The value, always finite.
    pub value: f64,
}

/// What one round of a collector found. The names of the series outlive the round, so that a steady round
/// builds none.
#[derive(Debug, Default)]
pub struct Readings {
    common: LabelsBuilder,
    names: HashMap<u64, Labels>,
    found: Vec<Reading>,
}

impl Readings {
    /// For series that all have the `common` labels.
    pub fn new<'a>(common: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut readings = Self::default();
        for (name, value) in common {
            readings.common.set(name, value);
        }
        readings
    }

    /// Adds the value of a metric of the catalogue without labels of its own.
    pub fn add(&mut self, original: &'static str, value: f64) {
        self.add_with(original, &[], value);
    }

    /// Adds a value with the metric's own labels. A value that is not finite would be a division by zero that
    /// a collector forgot; it is left out rather than sent.
    pub fn add_with(&mut self, original: &'static str, own: &[(&str, &str)], value: f64) {
        debug_assert!(value.is_finite(), "{original} is {value}");
        if value.is_finite() {
            let labels = self.labels(original, own);
            self.found.push(Reading { labels, value });
        }
    }

    /// Adds a number of the kernel, which counts in integers.
    pub fn count(&mut self, original: &'static str, value: u64) {
        self.add(original, value as f64);
    }

    /// What was found since the last call, in order.
    pub fn take(&mut self) -> Vec<Reading> {
        std::mem::take(&mut self.found)
    }

    /// Forgets what was found.
    pub fn clear(&mut self) {
        self.found.clear();
    }

    fn labels(&mut self, original: &'static str, own: &[(&str, &str)]) -> Labels {
        let mut hasher = DefaultHasher::new();
        (original, own).hash(&mut hasher);
        let key = hasher.finish();
        if let Some(labels) = self.names.get(&key) {
            return labels.clone();
        }
        if self.names.len() >= NAMES_MAX {
            self.names.clear();
        }
        let mut builder = self.common.clone();
        builder.set(METRIC_NAME, &canonical_name(original));
        for (name, value) in own {
            builder.set(name, value);
        }
        let labels = builder.build();
        self.names.insert(key, labels.clone());
        labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_built_once_and_kept_over_the_rounds() {
        let mut readings = Readings::new([("endpoint", "h"), ("idc", "bj")]);
        for _ in 0..3 {
            readings.add("cpu.idle", 1.0);
            readings.add_with("disk.io.util", &[("device", "sda")], 2.0);
            let found = readings.take();
            assert_eq!(found[0].labels.to_string(), r#"cpu_idle{endpoint="h", idc="bj"}"#);
            assert_eq!(
                found[1].labels.to_string(),
                r#"disk_io_util{device="sda", endpoint="h", idc="bj"}"#
            );
        }
        assert_eq!(readings.names.len(), 2);
    }

    #[test]
    fn names_that_come_and_go_do_not_pile_up() {
        let mut readings = Readings::new([]);
        for device in 0..NAMES_MAX * 2 + 1 {
            readings.add_with("disk.io.util", &[("device", &device.to_string())], 0.0);
        }
        assert!(readings.names.len() <= NAMES_MAX);
    }
}
