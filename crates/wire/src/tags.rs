//! Free names and tags of other systems as names and labels of ours.

use model::{Labels, LabelsBuilder, METRIC_NAME, canonical_name};

/// The label for a tag: characters that a label name cannot have become `_`, and a tag that would
/// hide the name of the metric is kept as `exported_…`.
pub(crate) fn label_name(key: &str) -> String {
    let starts_with_digit = key.starts_with(|c: char| c.is_ascii_digit());
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
    let prefix = match key {
        METRIC_NAME => "exported_",
        _ if starts_with_digit => "_",
        _ => "",
    };
    prefix.chars().chain(key.chars().map(allowed)).collect()
}

/// The tags of one sample as labels.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tags<'a> {
    labels: LabelsBuilder,
    seen: Vec<(String, &'a str)>,
}

impl<'a> Tags<'a> {
    /// Adds a tag; the later of two with one key wins. False when another key became the same
    /// label.
    pub(crate) fn add(&mut self, key: &'a str, value: &str) -> bool {
        let name = label_name(key);
        if self.seen.iter().any(|(other_name, other_key)| *other_name == name && *other_key != key)
        {
            return false;
        }
        self.labels.set(&name, value);
        self.seen.push((name, key));
        true
    }

    /// The series of a metric with these tags.
    pub(crate) fn labels(&self, metric: &str) -> Labels {
        let mut labels = self.labels.clone();
        labels.set(METRIC_NAME, &canonical_name(metric)).build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_label_names() {
        for (key, name) in [
            ("host", "host"),
            ("a-b.c", "a_b_c"),
            ("5xx", "_5xx"),
            ("__name__", "exported___name__"),
        ] {
            assert_eq!(label_name(key), name);
        }
    }

    #[test]
    fn two_keys_of_one_label_are_told() {
        let mut tags = Tags::default();
        assert!(tags.add("a-b", "1") && tags.add("a-b", "2"));
        assert!(!tags.add("a.b", "3"));
        assert_eq!(tags.labels("cpu.idle").to_string(), "cpu_idle{a_b=\"2\"}");
    }
}
