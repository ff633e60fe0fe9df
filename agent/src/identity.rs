//! Who the samples are of: the host's name and labels.

use std::collections::BTreeMap;

use model::{
    ENDPOINT, Labels, LabelsBuilder, METRIC_NAME, Metadata, Sample, Series, Timestamp,
    canonical_name,
};

/// The labels of this host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// Label `endpoint`.
    pub endpoint: String,
    /// The labels of the configuration and of hbs.
    pub labels: BTreeMap<String, String>,
}

impl Host {
    /// The labels of a series with those of the host where it has none of its own.
    pub fn complete(&self, own: &Labels) -> Labels {
        let mut labels = own.edit();
        for (name, value) in self.pairs() {
            if labels.get(name).is_none() {
                labels.set(name, value);
            }
        }
        labels.build()
    }

    /// One sample of a metric with its Open-Falcon name and tags.
    pub fn series(
        &self,
        original: &str,
        tags: &[(&'static str, String)],
        slot: Timestamp,
        value: f64,
    ) -> Series {
        let mut labels = LabelsBuilder::default();
        for (name, value) in self.pairs() {
            labels.set(name, value);
        }
        labels.set(METRIC_NAME, &canonical_name(original));
        for (tag, value) in tags {
            labels.set(tag, value);
        }
        Series { labels: labels.build(), samples: vec![Sample { timestamp: slot, value }] }
    }

    /// All labels, that of the name last.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let labels = self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        labels.chain([(ENDPOINT, self.endpoint.as_str())])
    }
}

/// Samples and what they mean, on their way to transfer.
#[derive(Debug, Default)]
pub struct Output {
    /// The series.
    pub series: Vec<Series>,
    /// Metadata by metric.
    pub metadata: BTreeMap<String, Metadata>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_keeps_its_own_labels() {
        let host = Host {
            endpoint: "h".into(),
            labels: BTreeMap::from([("idc".into(), "bj".into()), ("env".into(), "prod".into())]),
        };
        let own = Labels::from_pairs([("__name__", "a"), ("idc", "sh")]);
        assert_eq!(host.complete(&own).to_string(), r#"a{endpoint="h", env="prod", idc="sh"}"#);
        let tags = [("path", "/a b".to_owned())];
        let series = host.series("du.bs", &tags, Timestamp(5), 1.0);
        assert_eq!(
            series.labels.to_string(),
            r#"du_bs{endpoint="h", env="prod", idc="bj", path="/a b"}"#
        );
    }
}
