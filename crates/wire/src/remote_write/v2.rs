//! Remote write, version 2: `io.prometheus.write.v2.Request`. All texts stand once in a table of
//! symbols; series refer to them by number.

use model::{Metadata, Series};

use super::{DecodeError, Decoded, Limits, Parts, kind_of, read_sample, unpack};
use crate::protobuf::{Fields, Malformed, Value};

/// The value of `proto` in the `Content-Type` of a request.
pub const MESSAGE: &str = "io.prometheus.write.v2.Request";
/// The header of the answer that says how many samples were stored.
pub const SAMPLES_WRITTEN: &str = "x-prometheus-remote-write-samples-written";
/// The header of the answer that says how many native histograms were stored.
pub const HISTOGRAMS_WRITTEN: &str = "x-prometheus-remote-write-histograms-written";
/// The header of the answer that says how many exemplars were stored.
pub const EXEMPLARS_WRITTEN: &str = "x-prometheus-remote-write-exemplars-written";

const SYMBOLS: u32 = 4;
const TIMESERIES: u32 = 5;

/// Decodes the body of a request. A series that is bad in itself does not cost the others.
pub fn decode(body: &[u8], limits: Limits) -> Result<Decoded, DecodeError> {
    let mut message = Vec::new();
    unpack(body, limits, &mut message)?;
    decode_message(&message, limits)
}

pub(super) fn decode_message(message: &[u8], limits: Limits) -> Result<Decoded, DecodeError> {
    let symbols = read_symbols(message, limits).map_err(DecodeError::Message)?;
    let symbols = symbols.ok_or(DecodeError::TooManySymbols { max: symbols_max(limits) })?;
    let mut decoded = Decoded::default();
    let mut parts = Parts { samples_left: limits.samples_max, ..Parts::default() };
    let mut fields = Fields::of(message);
    while let Some((number, value)) = fields.next().map_err(DecodeError::Message)? {
        if number != TIMESERIES {
            continue;
        }
        let message = value.bytes(number).map_err(DecodeError::Message)?;
        let about = read_series(&mut parts, message, &symbols).map_err(DecodeError::Message)?;
        let Some(about) = about else {
            return Err(DecodeError::TooManySamples { max: limits.samples_max });
        };
        decoded.histograms_skipped += parts.histograms;
        decoded.exemplars_skipped += parts.exemplars;
        let before = decoded.series.len();
        decoded.take(parts.labels(), &mut parts);
        if let Some(series) = decoded.series.get(before) {
            let known = decoded
                .metadata
                .last()
                .is_some_and(|(name, _)| name == series.labels.metric_name());
            let told = about != Metadata::default();
            if told && !known {
                let entry = metadata_of(series, about);
                decoded.metadata.push(entry);
            }
        }
    }
    Ok(decoded)
}

fn metadata_of(series: &Series, about: Metadata) -> (String, Metadata) {
    (series.labels.metric_name().to_owned(), about)
}

/// A symbol takes 16 bytes in memory and may take two in the message.
fn symbols_max(limits: Limits) -> usize {
    (limits.message_bytes_max / 8).max(1)
}

/// The table; `None` when it has more symbols than fit the limit of the message.
fn read_symbols(message: &[u8], limits: Limits) -> Result<Option<Vec<&[u8]>>, Malformed> {
    let max = symbols_max(limits);
    let mut symbols = Vec::new();
    let mut fields = Fields::of(message);
    while let Some((number, value)) = fields.next()? {
        if number != SYMBOLS {
            continue;
        }
        if symbols.len() >= max {
            return Ok(None);
        }
        symbols.push(value.bytes(number)?);
    }
    Ok(Some(symbols))
}

/// Reads a `TimeSeries` into `parts`, and what it says of its metric; `None` when the request has no
/// room for its samples.
fn read_series<'a>(
    parts: &mut Parts<'a>,
    message: &'a [u8],
    symbols: &[&'a [u8]],
) -> Result<Option<Metadata>, Malformed> {
    parts.clear();
    let mut references = References::default();
    let mut about = Metadata::default();
    let mut fields = Fields::of(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => references.read(parts, value, symbols)?,
            2 if parts.samples_left == 0 => return Ok(None),
            2 => {
                parts.samples_left -= 1;
                parts.samples.push(read_sample(value.bytes(number)?)?);
            }
            3 => parts.histograms += 1,
            4 => parts.exemplars += 1,
            5 => about = read_metadata(value.bytes(number)?, symbols)?,
            _ => {}
        }
    }
    // A name without a value.
    if references.name.is_some() {
        return Err(Malformed::CutOff);
    }
    Ok(Some(about))
}

/// Numbers of symbols: name, value, name, value.
#[derive(Default)]
struct References<'a> {
    name: Option<&'a [u8]>,
}

impl<'a> References<'a> {
    /// Reads a packed list, or a single number, which is the same.
    fn read(
        &mut self,
        parts: &mut Parts<'a>,
        value: Value<'a>,
        symbols: &[&'a [u8]],
    ) -> Result<(), Malformed> {
        let packed = match value {
            Value::Varint(one) => return self.add(parts, one, symbols),
            other => other.bytes(1)?,
        };
        let mut numbers = Fields::of(packed);
        while let Some(number) = numbers.next_varint()? {
            self.add(parts, number, symbols)?;
        }
        Ok(())
    }

    fn add(
        &mut self,
        parts: &mut Parts<'a>,
        number: u64,
        symbols: &[&'a [u8]],
    ) -> Result<(), Malformed> {
        let symbol = symbol(number, symbols)?;
        match self.name.take() {
            None => self.name = Some(symbol),
            Some(name) => parts.pairs.push((name, symbol)),
        }
        Ok(())
    }
}

fn symbol<'a>(number: u64, symbols: &[&'a [u8]]) -> Result<&'a [u8], Malformed> {
    let at = usize::try_from(number).map_err(|_| Malformed::NoSymbol(number))?;
    symbols.get(at).copied().ok_or(Malformed::NoSymbol(number))
}

fn read_metadata(message: &[u8], symbols: &[&[u8]]) -> Result<Metadata, Malformed> {
    let mut metadata = Metadata::default();
    let text = |value: Value<'_>, number| -> Result<String, Malformed> {
        let symbol = symbol(value.varint(number)?, symbols)?;
        Ok(String::from_utf8_lossy(symbol).into_owned())
    };
    let mut fields = Fields::of(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => metadata.kind = kind_of(value.varint(number)?),
            3 => metadata.help = text(value, number)?,
            4 => metadata.unit = text(value, number)?,
            _ => {}
        }
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    use model::{Labels, MetricKind, Sample};
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::remote_write::SeriesFault;

    // The messages as prost reads them, written after the published specification of version 2.
    #[derive(Clone, PartialEq, Message)]
    struct Request {
        #[prost(string, repeated, tag = "4")]
        symbols: Vec<String>,
        #[prost(message, repeated, tag = "5")]
        timeseries: Vec<TimeSeries>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct TimeSeries {
        #[prost(uint32, repeated, tag = "1")]
        labels_refs: Vec<u32>,
        #[prost(message, repeated, tag = "2")]
        samples: Vec<PbSample>,
        #[prost(message, repeated, tag = "3")]
        histograms: Vec<PbSample>,
        #[prost(message, repeated, tag = "4")]
        exemplars: Vec<PbSample>,
        #[prost(message, optional, tag = "5")]
        metadata: Option<PbMetadata>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct PbSample {
        #[prost(double, tag = "1")]
        value: f64,
        #[prost(int64, tag = "2")]
        timestamp: i64,
    }

    #[derive(Clone, PartialEq, Message)]
    struct PbMetadata {
        #[prost(int32, tag = "1")]
        kind: i32,
        #[prost(uint32, tag = "3")]
        help_ref: u32,
        #[prost(uint32, tag = "4")]
        unit_ref: u32,
    }

    fn request(symbols: &[&str], timeseries: Vec<TimeSeries>) -> Vec<u8> {
        let symbols = symbols.iter().map(|one| (*one).to_owned()).collect();
        Request { symbols, timeseries }.encode_to_vec()
    }

    fn one_sample() -> Vec<PbSample> {
        vec![PbSample { value: 2.5, timestamp: 7 }]
    }

    fn limits(samples_max: usize) -> Limits {
        Limits { samples_max, ..Limits::default() }
    }

    #[test]
    fn series_and_metadata_are_found_through_the_symbols() {
        let symbols = ["", "__name__", "up", "job", "node", "Is it up?", "ratio"];
        let with_metadata = TimeSeries {
            labels_refs: vec![1, 2, 3, 4],
            samples: one_sample(),
            metadata: Some(PbMetadata { kind: 2, help_ref: 5, unit_ref: 6 }),
            exemplars: one_sample(),
            ..TimeSeries::default()
        };
        let histogram = TimeSeries {
            labels_refs: vec![1, 4],
            histograms: one_sample(),
            ..TimeSeries::default()
        };
        let message = request(&symbols, vec![with_metadata.clone(), with_metadata, histogram]);
        let decoded = decode_message(&message, limits(10)).expect("prost wrote it");
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "node")]);
        let series = Series { labels, samples: vec![Sample::new(7, 2.5)] };
        assert_eq!(decoded.series, [series.clone(), series]);
        let about =
            Metadata { kind: MetricKind::Gauge, help: "Is it up?".into(), unit: "ratio".into() };
        assert_eq!(decoded.metadata, [("up".to_owned(), about)], "once is enough");
        assert_eq!((decoded.histograms_skipped, decoded.exemplars_skipped), (1, 2));
    }

    #[test]
    fn a_bad_series_costs_only_itself() {
        let symbols = ["", "a", "b", "__name__"];
        let with = |labels_refs| TimeSeries {
            labels_refs,
            samples: one_sample(),
            ..TimeSeries::default()
        };
        let message =
            request(&symbols, vec![with(vec![1, 2]), with(vec![3, 2]), with(vec![0, 1, 3, 2])]);
        let decoded = decode_message(&message, limits(10)).expect("prost wrote it");
        assert_eq!(decoded.series.len(), 1);
        let faults: Vec<SeriesFault> = decoded.refused.keys().copied().collect();
        assert_eq!(faults, [SeriesFault::NoMetricName, SeriesFault::EmptyLabelName]);
    }

    #[test]
    fn broken_requests_are_named() {
        let with = |labels_refs| TimeSeries {
            labels_refs,
            samples: one_sample(),
            ..TimeSeries::default()
        };
        let fault = |refs| {
            decode_message(&request(&["", "a"], vec![with(refs)]), limits(10)).expect_err("broken")
        };
        assert_eq!(fault(vec![1, 9]), DecodeError::Message(Malformed::NoSymbol(9)));
        assert_eq!(fault(vec![1]), DecodeError::Message(Malformed::CutOff));
        let message = request(&["__name__", "a"], vec![with(vec![0, 1]), with(vec![0, 1])]);
        assert_eq!(
            decode_message(&message, limits(1)),
            Err(DecodeError::TooManySamples { max: 1 })
        );
        let tight = Limits { message_bytes_max: 16, samples_max: 1 };
        let message = request(&["", "a", "b"], vec![]);
        assert_eq!(decode_message(&message, tight), Err(DecodeError::TooManySymbols { max: 2 }));
    }

    #[test]
    fn references_need_not_be_packed() {
        // symbols "__name__", "x"; one series with two single references and a sample.
        let mut message = b"\x22\x08__name__\x22\x01x".to_vec();
        let series = b"\x08\x00\x08\x01\x12\x02\x10\x05";
        message.extend_from_slice(&[0x2a, series.len() as u8]);
        message.extend_from_slice(series);
        let decoded = decode_message(&message, limits(10)).expect("it is a request");
        assert_eq!(decoded.series[0].labels.metric_name(), "x");
        assert_eq!(decoded.series[0].samples, [Sample::new(5, 0.0)]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            mut bytes: Vec<u8>, refs in proptest::collection::vec(0u32..6, 0..6), at: usize, to: u8,
        ) {
            let _ = decode_message(&bytes, limits(10));
            let series = TimeSeries { labels_refs: refs, samples: one_sample(), ..TimeSeries::default() };
            bytes = request(&["", "__name__", "x", "y"], vec![series]);
            let length = bytes.len();
            bytes[at % length] = to;
            let _ = decode_message(&bytes, limits(10));
        }
    }
}
