//! Every reason for which transfer refuses a sample, in one list.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};
use storage::Refusal;
use wire::falcon_json::SampleFault;
use wire::influx;
use wire::line::LineFault;
use wire::opentsdb::PointFault;
use wire::remote_write::SeriesFault;

/// Why a sample is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Reason {
    /// The Open-Falcon sample is bad in itself.
    Falcon(SampleFault),
    /// The line of the line socket is bad in itself.
    Line(LineFault),
    /// The OpenTSDB point is bad in itself.
    OpenTsdb(PointFault),
    /// The line of the Influx body, or a field of it, is bad in itself.
    Influx(influx::LineFault),
    /// The line of the Prometheus text is bad in itself.
    PrometheusText,
    /// The remote-write series is bad in itself.
    RemoteWrite(SeriesFault),
    /// A rule of `[[transfer.relabel]]` drops the series.
    RelabelDropped,
    /// Relabelling took the name of the metric away.
    RelabelNameless,
    /// The endpoint sends more than `endpoint_samples_per_second_max`.
    EndpointRate,
    /// The endpoint has `endpoint_series_max` series already.
    EndpointSeries,
    /// There are `endpoints_max` endpoints already, so that limits of this one cannot be kept.
    EndpointsLimit,
    /// The token sends more than its `samples_per_second_max`.
    TokenRate,
    /// The token has its `series_max` series already.
    TokenSeries,
    /// The series has more than `labels_per_series_max` labels.
    TooManyLabels,
    /// A label name is longer than `label_name_bytes_max`.
    LabelNameTooLong,
    /// A label value is longer than `label_value_bytes_max`.
    LabelValueTooLong,
    /// The sample is further ahead of our clock than `future_max`.
    TooFarInFuture,
    /// Another Open-Falcon metric has this canonical name already.
    NameCollision,
    /// There are `falcon_names_max` Open-Falcon metrics already.
    FalconNamesLimit,
    /// The store refused it.
    Storage(Refusal),
}

impl Reason {
    /// All of them, for metrics that start at zero.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let own = [
            Self::PrometheusText,
            Self::RelabelDropped,
            Self::RelabelNameless,
            Self::EndpointRate,
            Self::EndpointSeries,
            Self::EndpointsLimit,
            Self::TokenRate,
            Self::TokenSeries,
            Self::TooManyLabels,
            Self::LabelNameTooLong,
            Self::LabelValueTooLong,
            Self::TooFarInFuture,
            Self::NameCollision,
            Self::FalconNamesLimit,
        ];
        let falcon = SampleFault::ALL.into_iter().map(Self::Falcon);
        let line = LineFault::OWN.into_iter().map(Self::Line);
        let opentsdb = PointFault::ALL.into_iter().map(Self::OpenTsdb);
        let influx = influx::LineFault::ALL.into_iter().map(Self::Influx);
        let remote_write = SeriesFault::ALL.into_iter().map(Self::RemoteWrite);
        let storage = Refusal::ALL.into_iter().map(Self::Storage);
        falcon
            .chain(line)
            .chain(opentsdb)
            .chain(influx)
            .chain(remote_write)
            .chain(own)
            .chain(storage)
    }

    /// The word for metrics, logs and answers.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Falcon(fault) => fault.as_str(),
            Self::Line(fault) => fault.as_str(),
            Self::OpenTsdb(fault) => fault.as_str(),
            Self::Influx(fault) => fault.as_str(),
            Self::PrometheusText => "prometheus_text_line",
            Self::RemoteWrite(fault) => fault.as_str(),
            Self::RelabelDropped => "relabel_dropped",
            Self::RelabelNameless => "relabel_nameless",
            Self::EndpointRate => "endpoint_rate",
            Self::EndpointSeries => "endpoint_series",
            Self::EndpointsLimit => "endpoints_limit",
            Self::TokenRate => "token_rate",
            Self::TokenSeries => "token_series",
            Self::TooManyLabels => "too_many_labels",
            Self::LabelNameTooLong => "label_name_too_long",
            Self::LabelValueTooLong => "label_value_too_long",
            Self::TooFarInFuture => "too_far_in_future",
            Self::NameCollision => "name_collision",
            Self::FalconNamesLimit => "falcon_names_limit",
            Self::Storage(refusal) => refusal.as_str(),
        }
    }

    /// Whether a client whose protocol has no counts is to be told with a 400. As in Prometheus, a
    /// sample that comes at the wrong time or beyond a limit is; a remote-write series that is
    /// malformed is only dropped and counted, and so is what is left out by design.
    pub(crate) const fn is_told(self) -> bool {
        !matches!(self, Self::Falcon(_) | Self::Line(_) | Self::RemoteWrite(_)) && self.is_fault()
    }

    /// Whether something is wrong with the sample; else it is left out because somebody wants that.
    const fn is_fault(self) -> bool {
        !matches!(self, Self::RelabelDropped | Self::Influx(influx::LineFault::TextField))
    }
}

/// A sample of the line socket that is bad by the rules of another format has the reason it would
/// have there.
impl From<LineFault> for Reason {
    fn from(fault: LineFault) -> Self {
        match fault {
            LineFault::Update(fault) => Self::Falcon(fault),
            LineFault::Put(fault) => Self::OpenTsdb(fault),
            own => Self::Line(own),
        }
    }
}

impl EncodeLabelValue for Reason {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        encoder.write_str(self.as_str())
    }
}

/// What was refused of one request, by reason, each with an example that a human can look for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Refusals(BTreeMap<Reason, Refused>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Refused {
    samples: usize,
    example: String,
}

impl Refusals {
    /// Adds samples; only the first example of a reason is made and kept.
    pub(crate) fn add(&mut self, reason: Reason, samples: usize, example: impl FnOnce() -> String) {
        let refused =
            self.0.entry(reason).or_insert_with(|| Refused { samples: 0, example: example() });
        refused.samples += samples;
    }

    /// Adds those of another part of the request.
    pub(crate) fn merge(&mut self, other: Self) {
        for (reason, refused) in other.0 {
            self.add(reason, refused.samples, || refused.example);
        }
    }

    /// Samples refused, over all reasons.
    pub(crate) fn samples(&self) -> usize {
        self.0.values().map(|refused| refused.samples).sum()
    }

    /// Samples refused because something is wrong with them.
    pub(crate) fn faults(&self) -> usize {
        let faults = self.0.iter().filter(|(reason, _)| reason.is_fault());
        faults.map(|(_, refused)| refused.samples).sum()
    }

    /// Reason, samples and an example, reason by reason.
    pub(crate) fn report(&self) -> impl Iterator<Item = (Reason, usize, &str)> {
        self.0.iter().map(|(reason, refused)| (*reason, refused.samples, refused.example.as_str()))
    }

    /// Samples refused, reason by reason.
    pub(crate) fn by_reason(&self) -> impl Iterator<Item = (Reason, usize)> {
        self.0.iter().map(|(reason, refused)| (*reason, refused.samples))
    }

    /// Those of which the client is told.
    pub(crate) fn told(&self) -> Self {
        Self(
            self.0
                .iter()
                .filter(|(reason, _)| reason.is_told())
                .map(|(r, refused)| (*r, refused.clone()))
                .collect(),
        )
    }

    /// Whether nothing was refused.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// `3 samples too_old (such as up{job="a"}), 1 samples duplicate (such as …)`
impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (reason, refused)) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            write!(
                f,
                "{separator}{} {} (such as {})",
                refused.samples,
                reason.as_str(),
                refused.example
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_a_word_that_fits_a_label() {
        let words: Vec<&str> = Reason::all().map(Reason::as_str).collect();
        assert!(words.iter().all(|word| {
            word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        }));
        let distinct: BTreeSet<&str> = words.iter().copied().collect();
        assert_eq!(distinct.len(), words.len(), "two reasons share a word");
    }

    #[test]
    fn a_report_names_counts_and_the_first_example() {
        let mut refusals = Refusals::default();
        refusals.add(Reason::TooFarInFuture, 2, || "a".into());
        refusals.add(Reason::TooFarInFuture, 1, || "b".into());
        refusals.add(Reason::RemoteWrite(SeriesFault::NoMetricName), 4, || "c".into());
        assert_eq!(refusals.samples(), 7);
        assert_eq!(refusals.told().to_string(), "3 too_far_in_future (such as a)");
        assert_eq!(
            refusals.to_string(),
            "4 no_metric_name (such as c), 3 too_far_in_future (such as a)"
        );
    }
}
