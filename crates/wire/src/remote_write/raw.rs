//! A message of version 1 series by series, still in its bytes: for whoever hands most of it on as
//! it came.

use model::{Labels, METRIC_NAME};

use super::{Malformed, Parts, SeriesFault, read_label, read_sample};
use crate::protobuf::{Fields, put_length, put_text, put_varint, text_len, varint_len};

/// A part of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawPart<'a> {
    /// A series with its samples.
    Series(RawSeries<'a>),
    /// Metadata of a metric, with the key and the length before it.
    Metadata(&'a [u8]),
}

/// A series with its samples, as it stands in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawSeries<'a> {
    /// All of it, with the key and the length before it.
    pub field: &'a [u8],
    /// Its labels, as far as they stand at the beginning.
    pub labels: &'a [u8],
    /// What comes behind them: samples, and maybe exemplars and native histograms.
    pub rest: &'a [u8],
    /// How many samples and native histograms there are.
    pub samples: usize,
    /// The time of the latest sample, in milliseconds; that of histograms is not looked at.
    pub newest: i64,
    /// Whether all labels are in `labels` and the samples ascend in time: so it is written by every
    /// sender in order. What is not is to be decoded.
    pub is_plain: bool,
}

/// Walks over the parts of a message.
#[derive(Debug, Clone)]
pub struct RawParts<'a> {
    fields: Fields<'a>,
}

impl<'a> RawParts<'a> {
    /// The parts of `message`, which is unpacked.
    pub fn of(message: &'a [u8]) -> Self {
        Self { fields: Fields::of(message) }
    }

    fn part(&mut self) -> Result<Option<RawPart<'a>>, Malformed> {
        loop {
            let before = self.fields.rest();
            let Some((number, value)) = self.fields.next()? else { return Ok(None) };
            let field = &before[..before.len() - self.fields.rest().len()];
            match number {
                1 => return read_series(field, value.bytes(1)?).map(Some),
                3 => {
                    value.bytes(3)?;
                    return Ok(Some(RawPart::Metadata(field)));
                }
                _ => {}
            }
        }
    }
}

/// Unknown fields are passed over. After an error nothing of what follows makes sense.
impl<'a> Iterator for RawParts<'a> {
    type Item = Result<RawPart<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        self.part().transpose()
    }
}

fn read_series<'a>(field: &'a [u8], message: &'a [u8]) -> Result<RawPart<'a>, Malformed> {
    let mut fields = Fields::of(message);
    let mut labels_end = 0;
    let (mut samples, mut histograms, mut newest) = (0, 0, i64::MIN);
    let (mut is_leading, mut is_plain) = (true, true);
    while let Some((number, value)) = fields.next()? {
        is_leading &= number == 1;
        match number {
            1 => {
                value.bytes(1)?;
                is_plain &= is_leading;
                labels_end =
                    if is_leading { message.len() - fields.rest().len() } else { labels_end };
            }
            2 => {
                let at = read_sample(value.bytes(2)?)?.timestamp.millis();
                is_plain &= samples == 0 || at > newest;
                newest = newest.max(at);
                samples += 1;
            }
            4 => histograms += 1,
            _ => {}
        }
    }
    let (labels, rest) = message.split_at(labels_end);
    let samples = samples + histograms;
    Ok(RawPart::Series(RawSeries { field, labels, rest, samples, newest, is_plain }))
}

/// The labels that `encoded` holds, as [`RawSeries::labels`] has them.
///
/// # Errors
/// `Err(None)` when it is no protobuf, else what is wrong with the labels.
pub fn read_labels(encoded: &[u8]) -> Result<Labels, Option<SeriesFault>> {
    let mut parts = Parts::default();
    parts.read_labels(encoded).map_err(|_| None)?;
    parts.labels().map_err(Some)
}

/// The value of one label in `encoded`; `None` also when it cannot be read.
pub fn find_label<'a>(encoded: &'a [u8], wanted: &str) -> Option<&'a str> {
    let mut fields = Fields::of(encoded);
    while let Ok(Some((_, value))) = fields.next() {
        let (name, value) = read_label(value.bytes(1).ok()?).ok()?;
        if name == wanted.as_bytes() {
            return str::from_utf8(value).ok();
        }
    }
    None
}

/// The name of the metric in `encoded`, for a human.
pub fn describe(encoded: &[u8]) -> String {
    find_label(encoded, METRIC_NAME).unwrap_or("?").chars().take(200).collect()
}

/// Encodes labels as they stand at the beginning of a series.
pub fn encode_labels(labels: &Labels) -> Vec<u8> {
    let mut out = Vec::with_capacity(labels.byte_len() + 4 * labels.len());
    for (name, value) in labels.iter() {
        put_length(&mut out, 1, text_len(name) + text_len(value));
        put_text(&mut out, 1, name);
        put_text(&mut out, 2, value);
    }
    out
}

/// Adds a series to a message: its encoded labels, and what comes behind them.
pub fn put_series(out: &mut Vec<u8>, labels: &[u8], rest: &[u8]) {
    out.reserve(1 + varint_len((labels.len() + rest.len()) as u64) + labels.len() + rest.len());
    out.push(1 << 3 | 2);
    put_varint(out, (labels.len() + rest.len()) as u64);
    out.extend_from_slice(labels);
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use model::{Metadata, Sample, Series};
    use proptest::prelude::*;

    use super::super::encode::encode_message;
    use super::super::{Limits, decode, pack};
    use super::*;

    fn series(value: &str, times: &[i64]) -> Series {
        let samples = times.iter().map(|at| Sample::new(*at, 1.5)).collect();
        Series { labels: Labels::from_pairs([("__name__", "up"), ("endpoint", value)]), samples }
    }

    fn all(message: &[u8]) -> Vec<RawPart<'_>> {
        RawParts::of(message).collect::<Result<_, _>>().expect("it is a message")
    }

    #[test]
    fn a_message_is_the_sum_of_its_parts() {
        let about = ("up".to_owned(), Metadata::default());
        let message = encode_message(&[series("a", &[5]), series("b", &[6, 9])], &[about]);
        let parts = all(&message);
        let [RawPart::Series(a), RawPart::Series(b), RawPart::Metadata(metadata)] = parts[..]
        else {
            panic!("{parts:?}")
        };
        assert_eq!([a.field, b.field, metadata].concat(), message);
        assert_eq!((a.samples, a.newest, a.is_plain), (1, 5, true));
        assert_eq!((b.samples, b.newest, b.is_plain), (2, 9, true));
        assert_eq!(read_labels(a.labels), Ok(series("a", &[]).labels));
        assert_eq!(find_label(b.labels, "endpoint"), Some("b"));
        assert_eq!((find_label(b.labels, "x"), describe(b.labels)), (None, "up".to_owned()));
        let mut again = Vec::new();
        put_series(&mut again, &encode_labels(&series("a", &[]).labels), a.rest);
        assert_eq!(again, a.field);
    }

    #[test]
    fn what_is_out_of_order_is_not_plain() {
        for times in [&[5, 5][..], &[6, 5]] {
            let message = encode_message(&[series("a", times)], &[]);
            assert!(matches!(all(&message)[..], [RawPart::Series(one)] if !one.is_plain));
        }
        // A sample before the labels.
        let labels = encode_labels(&series("a", &[]).labels);
        let sample = [&[2 << 3 | 2, 2, 2 << 3, 7][..]].concat();
        let mut message = Vec::new();
        put_series(&mut message, &sample, &labels);
        assert!(matches!(all(&message)[..], [RawPart::Series(one)] if !one.is_plain));
    }

    #[test]
    fn bad_labels_are_named() {
        let nameless = encode_labels(&Labels::from_pairs([("a", "b")]));
        assert_eq!(read_labels(&nameless), Err(Some(SeriesFault::NoMetricName)));
        assert_eq!(read_labels(&nameless[1..]), Err(None));
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_panic_and_both_readers_agree(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let walked = RawParts::of(&bytes).take_while(Result::is_ok).count();
            let walked = walked == RawParts::of(&bytes).take(walked + 1).count();
            let decoded = decode(&pack(&bytes), Limits::default());
            prop_assert!(walked || decoded.is_err() || bytes.is_empty());
        }

        #[test]
        fn plain_series_have_the_samples_that_decoding_finds(
            times in prop::collection::btree_set(any::<i64>(), 1..20),
        ) {
            let times: Vec<i64> = times.into_iter().collect();
            let message = encode_message(&[series("a", &times)], &[]);
            let parts = all(&message);
            let is_same = matches!(parts[..], [RawPart::Series(one)]
                if one.is_plain && one.samples == times.len() && Some(&one.newest) == times.last());
            prop_assert!(is_same, "{:?}", parts);
        }
    }
}
