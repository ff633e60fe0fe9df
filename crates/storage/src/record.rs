//! Records of the write-ahead log: one batch in bytes and back.
//!
//! A record refers to series by numbers that an earlier record of the same segment, or it itself,
//! has declared, and a value is written as its difference (XOR) to the value before it of that
//! series in the segment. So a segment can be read without any other, and only from its beginning.
//!
//! ```text
//! record   := count declaration*  base-time  count row*  count metadata*
//! declaration := count (text text)*                       labels; the number is the next one of the segment
//! row      := header [count] ([time] value)*              header: difference to the number before - 1, and two flags
//! value    := 0 | (zero bytes at the end << 4 | bytes) bytes
//! metadata := text kind text text                         name, kind, help, unit
//! text     := length bytes
//! ```
//!
//! Counts and lengths are LEB128; numbers with a sign are zigzag encoded before.

use model::{Labels, Metadata, MetricKind, Sample, Series};

use crate::bytes::{Input, put, put_signed, put_text, unzigzag, zigzag};
use crate::index::SeriesId;

// The row has other than one sample, and says how many.
const FLAG_COUNTED: u64 = 1;
// The samples say their time; without it, it is the time of the sample before.
const FLAG_TIMED: u64 = 2;

const UNDECLARED: u32 = u32::MAX;

/// Writes the records of one segment after another.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    numbers: Vec<u32>,
    values: Vec<u64>,
}

impl Encoder {
    /// Begins a new segment.
    pub(crate) fn reset(&mut self) {
        self.numbers.clear();
        self.values.clear();
    }

    /// Forgets a series whose id will be given to another one.
    pub(crate) fn forget(&mut self, id: SeriesId) {
        if let Some(number) = self.numbers.get_mut(id as usize) {
            *number = UNDECLARED;
        }
    }

    /// Appends one record to `out`.
    pub(crate) fn encode(
        &mut self,
        series: &[(SeriesId, Series)],
        metadata: &[(String, Metadata)],
        out: &mut Vec<u8>,
    ) {
        self.declare(series, out);
        let first = series.iter().find_map(|(_, series)| series.samples.first());
        let mut millis = first.map_or(0, |sample| sample.timestamp.millis());
        put_signed(out, millis);
        put(out, series.len() as u64);
        let mut before = -1;
        for (id, series) in series {
            let number = self.number(*id);
            let timed = series.samples.iter().any(|sample| sample.timestamp.millis() != millis);
            let counted = series.samples.len() != 1;
            let skipped = i64::from(number) - before - 1;
            before = i64::from(number);
            let flags = if counted { FLAG_COUNTED } else { 0 } | if timed { FLAG_TIMED } else { 0 };
            put(out, zigzag(skipped) << 2 | flags);
            if counted {
                put(out, series.samples.len() as u64);
            }
            for sample in &series.samples {
                if timed {
                    put_signed(out, sample.timestamp.millis().wrapping_sub(millis));
                    millis = sample.timestamp.millis();
                }
                if let Some(value) = self.values.get_mut(number as usize) {
                    let bits = sample.value.to_bits();
                    put_xor(out, *value ^ bits);
                    *value = bits;
                }
            }
        }
        put_metadata(metadata, out);
    }

    fn declare(&mut self, series: &[(SeriesId, Series)], out: &mut Vec<u8>) {
        let undeclared = || series.iter().filter(|(id, _)| self.number(*id) == UNDECLARED);
        put(out, undeclared().count() as u64);
        let fresh: Vec<SeriesId> = undeclared().map(|(id, _)| *id).collect();
        for (_, series) in undeclared() {
            put(out, series.labels.len() as u64);
            for (name, value) in series.labels.iter() {
                put_text(out, name);
                put_text(out, value);
            }
        }
        for id in fresh {
            let at = id as usize;
            if self.numbers.len() <= at {
                self.numbers.resize(at + 1, UNDECLARED);
            }
            self.numbers[at] = self.values.len() as u32;
            self.values.push(0);
        }
    }

    fn number(&self, id: SeriesId) -> u32 {
        self.numbers.get(id as usize).copied().unwrap_or(UNDECLARED)
    }
}

/// One record in plain.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Record {
    /// Series that this record declares; they are numbered on from those declared before.
    pub(crate) declared: Vec<Labels>,
    /// Numbers of series with a sample each.
    pub(crate) samples: Vec<(u32, Sample)>,
    pub(crate) metadata: Vec<(String, Metadata)>,
}

/// Reads the records of one segment.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    values: Vec<u64>,
}

impl Decoder {
    /// Reads the next record into `record`, whose content is replaced. `None` when the bytes are no
    /// record; the rest of the segment cannot be read then.
    pub(crate) fn decode(&mut self, bytes: &[u8], record: &mut Record) -> Option<()> {
        record.declared.clear();
        record.samples.clear();
        record.metadata.clear();
        let mut input = Input::of(bytes);
        for _ in 0..input.take()? {
            let mut pairs = Vec::new();
            for _ in 0..input.take()? {
                pairs.push((input.text()?, input.text()?));
            }
            record.declared.push(Labels::from_sorted(pairs)?);
            self.values.push(0);
        }
        let mut millis = input.signed()?;
        let mut number = -1;
        for _ in 0..input.take()? {
            self.row(&mut input, &mut number, &mut millis, record)?;
        }
        for _ in 0..input.take()? {
            record.metadata.push(input.metadata()?);
        }
        input.is_empty().then_some(())
    }

    fn row(
        &mut self,
        input: &mut Input<'_>,
        number: &mut i64,
        millis: &mut i64,
        record: &mut Record,
    ) -> Option<()> {
        let header = input.take()?;
        *number = number.checked_add(unzigzag(header >> 2))?.checked_add(1)?;
        let number = u32::try_from(*number).ok()?;
        let value = self.values.get_mut(number as usize)?;
        let count = if header & FLAG_COUNTED == 0 { 1 } else { input.take()? };
        for _ in 0..count {
            if header & FLAG_TIMED != 0 {
                *millis = millis.wrapping_add(input.signed()?);
            }
            *value ^= input.xor()?;
            record.samples.push((number, Sample::new(*millis, f64::from_bits(*value))));
        }
        Some(())
    }
}

fn put_xor(out: &mut Vec<u8>, xor: u64) {
    if xor == 0 {
        out.push(0);
        return;
    }
    let (leading, trailing) = (xor.leading_zeros() / 8, xor.trailing_zeros() / 8);
    let length = 8 - leading - trailing;
    out.push((trailing << 4 | length) as u8);
    let bytes = (xor >> (trailing * 8)).to_le_bytes();
    out.extend_from_slice(&bytes[..length as usize]);
}

fn put_metadata(metadata: &[(String, Metadata)], out: &mut Vec<u8>) {
    put(out, metadata.len() as u64);
    for (name, metadata) in metadata {
        put_text(out, name);
        let kind = KINDS.iter().position(|kind| *kind == metadata.kind).unwrap_or_default();
        put(out, kind as u64);
        put_text(out, &metadata.help);
        put_text(out, &metadata.unit);
    }
}

// The position is what is written: append only.
const KINDS: [MetricKind; 5] = [
    MetricKind::Unknown,
    MetricKind::Gauge,
    MetricKind::Counter,
    MetricKind::Histogram,
    MetricKind::Summary,
];

impl Input<'_> {
    fn xor(&mut self) -> Option<u64> {
        let control = self.byte()?;
        if control == 0 {
            return Some(0);
        }
        let (trailing, length) = (u32::from(control >> 4), usize::from(control & 0xf));
        let significant = self.bytes(length)?;
        let mut word = [0; 8];
        word.get_mut(..length)?.copy_from_slice(significant);
        u64::from_le_bytes(word).checked_shl(trailing * 8)
    }

    fn metadata(&mut self) -> Option<(String, Metadata)> {
        let name = self.text()?.to_owned();
        let kind = *KINDS.get(usize::try_from(self.take()?).ok()?)?;
        let (help, unit) = (self.text()?.to_owned(), self.text()?.to_owned());
        Some((name, Metadata { kind, help, unit }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn series(id: SeriesId, samples: &[(i64, u64)]) -> (SeriesId, Series) {
        let labels = Labels::from_pairs([("__name__", "m"), ("id", &id.to_string())]);
        let samples =
            samples.iter().map(|(at, bits)| Sample::new(*at, f64::from_bits(*bits))).collect();
        (id, Series { labels, samples })
    }

    fn metadata() -> (String, Metadata) {
        let metadata = Metadata {
            kind: MetricKind::Counter,
            help: "Bytes 读".to_owned(),
            unit: "bytes".to_owned(),
        };
        ("m".to_owned(), metadata)
    }

    /// All samples by label set, as the decoder sees them.
    fn decoded(records: &[Vec<u8>]) -> Option<Vec<(Labels, Sample)>> {
        let (mut decoder, mut record, mut known, mut all) =
            (Decoder::default(), Record::default(), vec![], vec![]);
        for bytes in records {
            decoder.decode(bytes, &mut record)?;
            known.append(&mut record.declared);
            all.extend(
                record
                    .samples
                    .iter()
                    .map(|(number, sample)| (known[*number as usize].clone(), *sample)),
            );
        }
        Some(all)
    }

    proptest! {
        #[test]
        fn records_of_a_segment_are_read_as_they_were_written(
            batches in prop::collection::vec(
                prop::collection::btree_map(0u32..40, prop::collection::vec((any::<i64>(), any::<u64>()), 1..4), 0..20), 1..8),
        ) {
            let mut encoder = Encoder::default();
            let (mut records, mut wanted) = (vec![], vec![]);
            for batch in batches {
                let rows: Vec<_> = batch.iter().map(|(id, samples)| series(*id, samples)).collect();
                let mut bytes = Vec::new();
                encoder.encode(&rows, &[], &mut bytes);
                records.push(bytes);
                for (_, series) in rows {
                    wanted.extend(series.samples.iter().map(|sample| (series.labels.clone(), *sample)));
                }
            }
            prop_assert_eq!(decoded(&records), Some(wanted));
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Decoder::default().decode(&bytes, &mut Record::default());
        }

        #[test]
        fn no_change_to_a_record_makes_the_decoder_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = Vec::new();
            Encoder::default().encode(&[series(0, &[(5, 1)]), series(1, &[(5, 9), (7, 3)])], &[metadata()], &mut bytes);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = Decoder::default().decode(&bytes, &mut Record::default());
        }
    }

    #[test]
    fn metadata_is_read_as_it_was_written() {
        let mut bytes = Vec::new();
        Encoder::default().encode(&[], &[metadata()], &mut bytes);
        let mut record = Record::default();
        assert_eq!(Decoder::default().decode(&bytes, &mut record), Some(()));
        assert_eq!(record, Record { metadata: vec![metadata()], ..Record::default() });
    }

    #[test]
    fn an_unchanged_value_at_the_batch_time_costs_two_bytes() {
        let mut encoder = Encoder::default();
        let rows: Vec<_> = (0..100).map(|id| series(id, &[(1_000, 42)])).collect();
        encoder.encode(&rows, &[], &mut Vec::new());
        let mut bytes = Vec::new();
        encoder.encode(&rows, &[], &mut bytes);
        assert!(bytes.len() <= 206, "{} bytes", bytes.len());
    }

    #[test]
    fn a_forgotten_id_is_declared_again() {
        let mut encoder = Encoder::default();
        let (mut first, mut second) = (Vec::new(), Vec::new());
        encoder.encode(&[series(0, &[(1, 1)])], &[], &mut first);
        encoder.forget(0);
        let other = (
            0,
            Series {
                labels: Labels::from_pairs([("job", "b")]),
                samples: vec![Sample::new(1, 2.0)],
            },
        );
        encoder.encode(&[other], &[], &mut second);
        let read = decoded(&[first, second]).expect("both records are whole");
        assert_eq!(read[1].0.get("job"), Some("b"));
    }
}
