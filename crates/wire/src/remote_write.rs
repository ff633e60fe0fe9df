//! Prometheus remote write, version 1: a snappy block that holds a protobuf
//! `prometheus.WriteRequest`. Version 2 is in [`v2`].

mod encode;
mod packed;
pub mod raw;
pub mod v2;

use std::collections::BTreeMap;

use model::{Labels, METRIC_NAME, Metadata, MetricKind, Sample, Series, Timestamp};
use thiserror::Error;

use crate::known::KnownLabels;
use crate::protobuf::Fields;
pub use crate::protobuf::Malformed;

pub use encode::encode;
pub use packed::{join, message_len, pack, unpack};

/// The `Content-Type` of a request.
pub const CONTENT_TYPE: &str = "application/x-protobuf";
/// The `Content-Encoding` of a request.
pub const CONTENT_ENCODING: &str = "snappy";
/// The header that names the version of the protocol, and its value for what [`encode`] writes.
pub const VERSION_HEADER: (&str, &str) = ("x-prometheus-remote-write-version", "0.1.0");

// A name or value beyond this cannot be a label; `Labels` would cut it.
const LABEL_BYTES_MAX: usize = 64 * 1024;
// Enough of a refused series to find who sends it.
const EXAMPLE_CHARS_MAX: usize = 200;

/// How much one request may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the message after decompression.
    pub message_bytes_max: usize,
    /// Samples in the message.
    pub samples_max: usize,
}

impl Default for Limits {
    /// 32 MiB and a million samples: more than ten times what Prometheus or the agent put in one
    /// request.
    fn default() -> Self {
        Self { message_bytes_max: 32 << 20, samples_max: 1_000_000 }
    }
}

/// Why a body is refused as a whole. The sender has to change it; sending it again will not help.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The length in the header of the snappy block is over the limit.
    #[error(
        "the message has {bytes} bytes after decompression, more than the limit of {max}; send less at once"
    )]
    MessageTooLong {
        /// What the header says.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// There are more samples than the limit.
    #[error("the request has more than {max} samples; send less at once")]
    TooManySamples {
        /// The limit.
        max: usize,
    },
    /// A request of version 2 has more symbols than fit.
    #[error("the request has more than {max} symbols; send less at once")]
    TooManySymbols {
        /// The limit, an eighth of the bytes of a message.
        max: usize,
    },
    /// The body is no snappy block.
    #[error("the body is not a snappy block (not the framed format, not gzip)")]
    Snappy(#[source] snap::Error),
    /// What is in the block is no `WriteRequest`.
    #[error("the message is not a remote-write request")]
    Message(#[source] Malformed),
}

/// What is wrong with one series of an otherwise good request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SeriesFault {
    /// No label `__name__`.
    NoMetricName,
    /// A label name is there twice.
    DuplicateLabel,
    /// A label name is empty.
    EmptyLabelName,
    /// A label name or value is no UTF-8.
    InvalidUtf8,
    /// A label name or value has more than 64 KiB.
    LabelTooLong,
    /// Two samples at one moment with different values; the first is kept.
    DuplicateTimestamp,
}

impl SeriesFault {
    /// All of them, for metrics that start at zero.
    pub const ALL: [Self; 6] = [
        Self::NoMetricName,
        Self::DuplicateLabel,
        Self::EmptyLabelName,
        Self::InvalidUtf8,
        Self::LabelTooLong,
        Self::DuplicateTimestamp,
    ];

    /// The word for metrics and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoMetricName => "no_metric_name",
            Self::DuplicateLabel => "duplicate_label",
            Self::EmptyLabelName => "empty_label_name",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::LabelTooLong => "label_too_long",
            Self::DuplicateTimestamp => "duplicate_timestamp",
        }
    }
}

/// What was refused for one reason. Kept by reason, so that a hostile body cannot grow the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Series that had the fault.
    pub series: usize,
    /// Samples that were lost with it.
    pub samples: usize,
    /// The labels of the first of these series, shortened, invalid bytes replaced.
    pub example: String,
}

/// A decoded request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decoded {
    /// The good series that have samples, each with its samples in order of time. A label set may
    /// occur twice.
    pub series: Vec<Series>,
    /// Metadata by metric name.
    pub metadata: Vec<(String, Metadata)>,
    /// What was refused, by reason.
    pub refused: BTreeMap<SeriesFault, Refusal>,
    /// Native histograms that were left out: they are not supported yet.
    pub histograms_skipped: usize,
    /// Exemplars that were left out: they are not supported yet.
    pub exemplars_skipped: usize,
}

/// Decodes the body of a request. A series that is bad in itself does not cost the others.
pub fn decode(body: &[u8], limits: Limits) -> Result<Decoded, DecodeError> {
    decode_known(body, limits, &KnownLabels::new(0, 0))
}

/// As [`decode`], with the labels of series that came before from memory.
pub fn decode_known(
    body: &[u8],
    limits: Limits,
    known: &KnownLabels,
) -> Result<Decoded, DecodeError> {
    let mut message = Vec::new();
    unpack(body, limits, &mut message)?;
    decode_message(&message, limits.samples_max, known)
}

fn decode_message(
    message: &[u8],
    samples_max: usize,
    known: &KnownLabels,
) -> Result<Decoded, DecodeError> {
    let mut decoded = Decoded::default();
    let mut parts = Parts { samples_left: samples_max, ..Parts::default() };
    let mut fields = Fields::of(message);
    while let Some((number, value)) = fields.next().map_err(DecodeError::Message)? {
        let message = match number {
            1 | 3 => value.bytes(number).map_err(DecodeError::Message)?,
            _ => continue,
        };
        if number == 3 {
            decoded.metadata.extend(read_metadata(message).map_err(DecodeError::Message)?);
            continue;
        }
        let room = parts.read(message).map_err(DecodeError::Message)?;
        if !room {
            return Err(DecodeError::TooManySamples { max: samples_max });
        }
        decoded.histograms_skipped += parts.histograms;
        decoded.exemplars_skipped += parts.exemplars;
        let labels = parts.known_labels(known).map_err(DecodeError::Message)?;
        decoded.take(labels, &mut parts);
    }
    Ok(decoded)
}

impl Decoded {
    fn take(&mut self, labels: Result<Labels, SeriesFault>, parts: &mut Parts<'_>) {
        let labels = match labels {
            Ok(labels) => labels,
            Err(fault) => {
                let samples = parts.samples.len();
                return self.refuse(fault, samples, || parts.describe());
            }
        };
        let sent = parts.samples.len();
        if !parts.samples.is_sorted_by(|a, b| a.timestamp < b.timestamp) {
            parts.samples.sort_by_key(|sample| sample.timestamp);
            let mut conflicts = 0;
            parts.samples.dedup_by(|later, first| {
                let same_moment = later.timestamp == first.timestamp;
                conflicts += usize::from(same_moment && later != first);
                same_moment
            });
            if conflicts > 0 {
                self.refuse(SeriesFault::DuplicateTimestamp, conflicts, || {
                    shorten(&labels.to_string())
                });
            }
        }
        if sent > 0 {
            self.series.push(Series { labels, samples: parts.samples.as_slice().to_vec() });
        }
    }

    fn refuse(&mut self, fault: SeriesFault, samples: usize, example: impl FnOnce() -> String) {
        let refusal = self.refused.entry(fault).or_insert_with(|| Refusal {
            series: 0,
            samples: 0,
            example: example(),
        });
        refusal.series += 1;
        refusal.samples += samples;
    }
}

/// One series in pieces; its buffers are used again for the next one.
#[derive(Default)]
struct Parts<'a> {
    /// The fields of the labels where they stand together at the beginning, as all senders write
    /// them; not read yet.
    encoded_labels: &'a [u8],
    /// The labels, as far as they are read.
    pairs: Vec<(&'a [u8], &'a [u8])>,
    samples: Vec<Sample>,
    histograms: usize,
    exemplars: usize,
    samples_left: usize,
}

impl<'a> Parts<'a> {
    fn clear(&mut self) {
        self.pairs.clear();
        self.samples.clear();
        (self.histograms, self.exemplars) = (0, 0);
    }

    /// Reads a `TimeSeries`; false when the request has no room for its samples.
    fn read(&mut self, message: &'a [u8]) -> Result<bool, Malformed> {
        self.clear();
        let mut fields = Fields::of(message);
        let mut labels_end = 0;
        let mut leading = true;
        while let Some((number, value)) = fields.next()? {
            leading &= number == 1;
            match number {
                1 if leading => labels_end = message.len() - fields.rest().len(),
                1 => self.pairs.push(read_label(value.bytes(number)?)?),
                2 if self.samples_left == 0 => return Ok(false),
                2 => {
                    self.samples_left -= 1;
                    self.samples.push(read_sample(value.bytes(number)?)?);
                }
                3 => self.exemplars += 1,
                4 => self.histograms += 1,
                _ => {}
            }
        }
        self.encoded_labels = &message[..labels_end];
        Ok(true)
    }

    /// The labels of a series of version 1, from memory when they were read before.
    fn known_labels(
        &mut self,
        known: &KnownLabels,
    ) -> Result<Result<Labels, SeriesFault>, Malformed> {
        let encoded = std::mem::take(&mut self.encoded_labels);
        if !self.pairs.is_empty() {
            self.read_labels(encoded)?;
            return Ok(self.labels());
        }
        let read = known.find(encoded, || {
            self.read_labels(encoded).map_err(Unreadable::Malformed)?;
            self.labels().map_err(Unreadable::Fault)
        });
        match read {
            Ok(labels) => Ok(Ok(labels)),
            Err(Unreadable::Fault(fault)) => Ok(Err(fault)),
            Err(Unreadable::Malformed(error)) => Err(error),
        }
    }

    fn read_labels(&mut self, encoded: &'a [u8]) -> Result<(), Malformed> {
        let mut fields = Fields::of(encoded);
        while let Some((number, value)) = fields.next()? {
            self.pairs.push(read_label(value.bytes(number)?)?);
        }
        Ok(())
    }

    fn labels(&self) -> Result<Labels, SeriesFault> {
        let mut named = false;
        let mut pairs = Vec::with_capacity(self.pairs.len());
        for (name, value) in &self.pairs {
            if name.is_empty() {
                return Err(SeriesFault::EmptyLabelName);
            }
            if name.len() > LABEL_BYTES_MAX || value.len() > LABEL_BYTES_MAX {
                return Err(SeriesFault::LabelTooLong);
            }
            let name = str::from_utf8(name).map_err(|_| SeriesFault::InvalidUtf8)?;
            let value = str::from_utf8(value).map_err(|_| SeriesFault::InvalidUtf8)?;
            named |= name == METRIC_NAME && !value.is_empty();
            pairs.push((name, value));
        }
        if !named {
            return Err(SeriesFault::NoMetricName);
        }
        if let Some(labels) = Labels::from_sorted(pairs.iter().copied()) {
            return Ok(labels);
        }
        pairs.sort_unstable();
        if pairs.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(SeriesFault::DuplicateLabel);
        }
        Ok(Labels::from_pairs(pairs))
    }

    fn describe(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.pairs {
            if text.len() > EXAMPLE_CHARS_MAX {
                break;
            }
            let part = |bytes: &[u8]| {
                let start = &bytes[..bytes.len().min(EXAMPLE_CHARS_MAX)];
                String::from_utf8_lossy(start).into_owned()
            };
            text.push_str(&format!("{}={:?} ", part(name), part(value)));
        }
        shorten(text.trim_end())
    }
}

/// Why labels cannot be read.
enum Unreadable {
    Malformed(Malformed),
    Fault(SeriesFault),
}

fn shorten(text: &str) -> String {
    text.chars().take(EXAMPLE_CHARS_MAX).collect()
}

fn read_label(message: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let mut label: (&[u8], &[u8]) = (b"", b"");
    let mut fields = Fields::of(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => label.0 = value.bytes(number)?,
            2 => label.1 = value.bytes(number)?,
            _ => {}
        }
    }
    Ok(label)
}

fn read_sample(message: &[u8]) -> Result<Sample, Malformed> {
    let mut sample = Sample::new(0, 0.0);
    let mut fields = Fields::of(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => sample.value = value.double(number)?,
            2 => sample.timestamp = Timestamp(value.varint(number)? as i64),
            _ => {}
        }
    }
    Ok(sample)
}

/// `None` for metadata without a usable name: it describes nothing.
fn read_metadata(message: &[u8]) -> Result<Option<(String, Metadata)>, Malformed> {
    let mut name: &[u8] = b"";
    let mut metadata = Metadata::default();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut fields = Fields::of(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => metadata.kind = kind_of(value.varint(number)?),
            2 => name = value.bytes(number)?,
            4 => metadata.help = text(value.bytes(number)?),
            5 => metadata.unit = text(value.bytes(number)?),
            _ => {}
        }
    }
    Ok(str::from_utf8(name)
        .ok()
        .filter(|name| !name.is_empty())
        .map(|name| (name.to_owned(), metadata)))
}

fn kind_of(number: u64) -> MetricKind {
    match number {
        1 => MetricKind::Counter,
        2 => MetricKind::Gauge,
        3 => MetricKind::Histogram,
        5 => MetricKind::Summary,
        _ => MetricKind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::encode::encode_message;
    use super::*;

    // The messages as prost reads them, written after the published remote-write specification: the
    // judge of the hand-made codec above.
    #[derive(Clone, PartialEq, Message)]
    struct WriteRequest {
        #[prost(message, repeated, tag = "1")]
        timeseries: Vec<TimeSeries>,
        #[prost(message, repeated, tag = "3")]
        metadata: Vec<MetricMetadata>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct TimeSeries {
        #[prost(message, repeated, tag = "1")]
        labels: Vec<Label>,
        #[prost(message, repeated, tag = "2")]
        samples: Vec<PbSample>,
        #[prost(message, repeated, tag = "3")]
        exemplars: Vec<PbSample>,
        #[prost(message, repeated, tag = "4")]
        histograms: Vec<PbSample>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct Label {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(string, tag = "2")]
        value: String,
    }

    #[derive(Clone, PartialEq, Message)]
    struct PbSample {
        #[prost(double, tag = "1")]
        value: f64,
        #[prost(int64, tag = "2")]
        timestamp: i64,
    }

    #[derive(Clone, PartialEq, Message)]
    struct MetricMetadata {
        #[prost(int32, tag = "1")]
        kind: i32,
        #[prost(string, tag = "2")]
        name: String,
        #[prost(string, tag = "4")]
        help: String,
        #[prost(string, tag = "5")]
        unit: String,
    }

    fn series(pairs: &[(&str, &str)], samples: &[(i64, f64)]) -> Series {
        let samples = samples.iter().map(|(at, value)| Sample::new(*at, *value)).collect();
        Series { labels: Labels::from_pairs(pairs.iter().copied()), samples }
    }

    fn time_series(pairs: &[(&str, &str)], samples: &[(i64, f64)]) -> TimeSeries {
        TimeSeries {
            labels: pairs
                .iter()
                .map(|(n, v)| Label { name: (*n).into(), value: (*v).into() })
                .collect(),
            samples: samples
                .iter()
                .map(|(at, value)| PbSample { value: *value, timestamp: *at })
                .collect(),
            ..TimeSeries::default()
        }
    }

    fn decode_request(timeseries: Vec<TimeSeries>) -> Decoded {
        let message = WriteRequest { timeseries, metadata: vec![] }.encode_to_vec();
        decode_message(&message, 1000, &KnownLabels::new(0, 0)).expect("prost wrote it")
    }

    fn compress(message: &[u8]) -> Vec<u8> {
        snap::raw::Encoder::new().compress_vec(message).expect("it is short")
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let sent = vec![
            series(
                &[("__name__", "cpu_idle"), ("endpoint", "a")],
                &[(10_000, 97.5), (20_000, f64::NAN)],
            ),
            series(&[("__name__", "uptime"), ("endpoint", "主机")], &[(-1, 0.0)]),
        ];
        let about =
            Metadata { kind: MetricKind::Gauge, help: "Idle.".into(), unit: "percent".into() };
        let metadata = vec![("cpu_idle".to_owned(), about)];
        let decoded = decode(&encode(&sent, &metadata), Limits::default()).expect("we wrote it");
        assert_eq!(decoded, Decoded { series: sent, metadata, ..Decoded::default() });
    }

    #[test]
    fn prost_reads_what_is_encoded() {
        let about = Metadata { kind: MetricKind::Counter, help: "h".into(), unit: String::new() };
        let sent = [series(&[("__name__", "x"), ("a", "b")], &[(1_760_000_000_000, 1.5)])];
        let message = encode_message(&sent, &[("x".to_owned(), about)]);
        let request = WriteRequest::decode(message.as_slice()).expect("it is a message");
        assert_eq!(
            request.timeseries,
            [time_series(&[("__name__", "x"), ("a", "b")], &[(1_760_000_000_000, 1.5)])]
        );
        assert_eq!((request.metadata[0].kind, request.metadata[0].name.as_str()), (1, "x"));
    }

    #[test]
    fn a_bad_series_does_not_cost_the_others() {
        let good = time_series(&[("__name__", "ok"), ("b", "2"), ("a", "1")], &[(1, 1.0)]);
        let decoded = decode_request(vec![
            time_series(&[("job", "x")], &[(1, 1.0), (2, 1.0)]),
            time_series(&[("__name__", "x"), ("a", "1"), ("a", "2")], &[(1, 1.0)]),
            time_series(&[("__name__", "x"), ("", "2")], &[(1, 1.0)]),
            time_series(&[("__name__", ""), ("a", "2")], &[(1, 1.0)]),
            good,
        ]);
        assert_eq!(
            decoded.series,
            [series(&[("__name__", "ok"), ("a", "1"), ("b", "2")], &[(1, 1.0)])]
        );
        let nameless = &decoded.refused[&SeriesFault::NoMetricName];
        assert_eq!(
            (nameless.series, nameless.samples, nameless.example.as_str()),
            (2, 3, "job=\"x\"")
        );
        assert_eq!(decoded.refused[&SeriesFault::DuplicateLabel].samples, 1);
        assert_eq!(decoded.refused[&SeriesFault::EmptyLabelName].samples, 1);
    }

    #[test]
    fn text_that_is_no_utf8_costs_its_series_only() {
        let mut message = WriteRequest {
            timeseries: vec![
                time_series(&[("__name__", "bad?")], &[(1, 1.0)]),
                time_series(&[("__name__", "ok")], &[(1, 1.0)]),
            ],
            metadata: vec![],
        }
        .encode_to_vec();
        let at = message.iter().position(|byte| *byte == b'?').expect("it is in the name");
        message[at] = 0xff;
        let decoded = decode_message(&message, 10, &KnownLabels::new(0, 0))
            .expect("the message itself is whole");
        assert_eq!(decoded.series.len(), 1);
        assert_eq!(decoded.refused[&SeriesFault::InvalidUtf8].example, "__name__=\"bad\u{fffd}\"");
    }

    #[test]
    fn samples_are_put_in_order_and_conflicts_are_counted() {
        let sent = time_series(&[("__name__", "x")], &[(3, 3.0), (1, 1.0), (1, 2.0), (3, 3.0)]);
        let decoded = decode_request(vec![sent]);
        assert_eq!(decoded.series[0].samples, [Sample::new(1, 1.0), Sample::new(3, 3.0)]);
        assert_eq!(decoded.refused[&SeriesFault::DuplicateTimestamp].samples, 1);
    }

    #[test]
    fn histograms_and_exemplars_are_counted() {
        let mut sent = time_series(&[("__name__", "x")], &[]);
        sent.histograms.push(PbSample::default());
        sent.exemplars.push(PbSample::default());
        let decoded = decode_request(vec![sent]);
        assert_eq!((decoded.histograms_skipped, decoded.exemplars_skipped), (1, 1));
        assert!(decoded.series.is_empty() && decoded.refused.is_empty());
    }

    #[test]
    fn a_decompression_bomb_is_refused_by_its_header() {
        let bomb = compress(&vec![0; 100_000]);
        let limits = Limits { message_bytes_max: 1000, ..Limits::default() };
        assert_eq!(
            decode(&bomb, limits),
            Err(DecodeError::MessageTooLong { bytes: 100_000, max: 1000 })
        );
    }

    #[test]
    fn more_samples_than_the_limit_are_refused() {
        let sent = [series(&[("__name__", "x")], &[(1, 1.0), (2, 1.0), (3, 1.0)])];
        let limits = Limits { samples_max: 2, ..Limits::default() };
        assert_eq!(
            decode(&encode(&sent, &[]), limits),
            Err(DecodeError::TooManySamples { max: 2 })
        );
    }

    #[test]
    fn a_body_that_is_not_snappy_says_so() {
        let error = decode(b"\x1f\x8b gzip", Limits::default()).expect_err("it is no snappy block");
        assert_eq!(
            error.to_string(),
            "the body is not a snappy block (not the framed format, not gzip)"
        );
    }

    fn any_request() -> impl Strategy<Value = WriteRequest> {
        let label =
            ("(__name__|[a-c]{0,2})", "[x-z]{0,2}").prop_map(|(name, value)| Label { name, value });
        // Minus zero is left out: prost takes it for the default and does not write it.
        let value = any::<f64>().prop_map(|value| value + 0.0);
        let sample = (value, 0i64..20).prop_map(|(value, timestamp)| PbSample { value, timestamp });
        let series = (prop::collection::vec(label, 0..4), prop::collection::vec(sample, 0..4))
            .prop_map(|(labels, samples)| TimeSeries { labels, samples, ..TimeSeries::default() });
        prop::collection::vec(series, 0..4)
            .prop_map(|timeseries| WriteRequest { timeseries, metadata: vec![] })
    }

    /// The same decisions over prost's owned structs, written without regard to speed.
    fn expected(request: &WriteRequest) -> Vec<Series> {
        let mut wanted = Vec::new();
        for one in &request.timeseries {
            let names: Vec<&str> = one.labels.iter().map(|label| label.name.as_str()).collect();
            let distinct: std::collections::BTreeSet<&str> = names.iter().copied().collect();
            let labels =
                Labels::from_pairs(one.labels.iter().map(|label| (&label.name, &label.value)));
            if names.contains(&"")
                || labels.metric_name().is_empty()
                || distinct.len() != names.len()
            {
                continue;
            }
            let mut by_time = BTreeMap::new();
            for sample in &one.samples {
                by_time.entry(sample.timestamp).or_insert(sample.value);
            }
            let samples: Vec<Sample> =
                by_time.iter().map(|(at, value)| Sample::new(*at, *value)).collect();
            if !samples.is_empty() {
                wanted.push(Series { labels, samples });
            }
        }
        wanted
    }

    proptest! {
        #[test]
        fn the_walker_and_prost_agree(request in any_request()) {
            // The second time from memory.
            let known = KnownLabels::new(1000, 1);
            for _ in 0..2 {
                let decoded = decode_message(&request.encode_to_vec(), 1000, &known).expect("prost wrote it");
                prop_assert_eq!(decoded.series, expected(&request));
            }
        }

        #[test]
        fn what_prost_accepts_after_damage_the_walker_accepts(
            request in any_request(), at in any::<prop::sample::Index>(), byte: u8,
        ) {
            let mut message = request.encode_to_vec();
            let known = KnownLabels::new(1000, 1);
            let _ = decode_message(&message, 1000, &known);
            if !message.is_empty() {
                let at = at.index(message.len());
                message[at] = byte;
            }
            let ours = decode_message(&message, 1000, &known);
            // Groups are the one thing prost skips and we refuse: no sender of this format writes
            // them.
            let group = matches!(ours, Err(DecodeError::Message(Malformed::WireType(_))));
            if let (Ok(request), false) = (WriteRequest::decode(message.as_slice()), group) {
                prop_assert_eq!(ours.map(|decoded| decoded.series), Ok(expected(&request)));
            }
        }

        #[test]
        fn no_body_makes_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes, Limits::default());
            let _ = decode(&compress(&bytes), Limits::default());
        }
    }
}
