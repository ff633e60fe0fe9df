//! Samples of one series, compressed: delta of delta for times, XOR for values (the Gorilla
//! scheme).

use std::sync::Arc;

use model::Sample;

use crate::bits::{BitReader, BitWriter};

/// A chunk is sealed at this many samples: long enough that its fixed cost vanishes, short enough
/// that a query for a moment decodes little.
pub(crate) const CHUNK_SAMPLES_MAX: u16 = 120;

// Widths of a delta of delta by length of the prefix `10`, `110`, `1110`; `1111` is followed by all
// 64 bits. 14 bits hold the jitter of a 10 s interval in milliseconds.
const DELTA_WIDTHS: [u32; 3] = [14, 17, 20];

// Leading zeros are written in five bits.
const LEADING_MAX: u32 = 31;

/// A finished chunk. A clone shares the bytes.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    /// Milliseconds of the first sample.
    pub(crate) first: i64,
    /// Milliseconds of the last sample.
    pub(crate) last: i64,
    count: u16,
    bytes: Arc<[u8]>,
}

impl Chunk {
    /// Compresses samples that ascend in time. `None` when there are none, or more than a chunk
    /// counts.
    pub(crate) fn from_samples(samples: &[Sample]) -> Option<Self> {
        let mut open = OpenChunk::default();
        u16::try_from(samples.len()).ok()?;
        samples.iter().for_each(|sample| open.push(*sample));
        open.seal()
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.count)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether it is the same chunk, not one that is equal.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.bytes, &other.bytes)
    }

    pub(crate) fn overlaps(&self, start: i64, end: i64) -> bool {
        self.first <= end && self.last >= start
    }

    pub(crate) fn samples(&self) -> Decoder<'_> {
        Decoder::new(self.first, self.count, &self.bytes)
    }
}

/// The chunk that a series appends to.
#[derive(Debug, Default)]
pub(crate) struct OpenChunk {
    bits: BitWriter,
    first: i64,
    last: i64,
    delta: i64,
    value: u64,
    window: Option<Window>,
    count: u16,
}

/// Where the meaningful bits of the last XOR that was written in full lie.
#[derive(Debug, Clone, Copy)]
struct Window {
    leading: u8,
    significant: u8,
}

impl OpenChunk {
    /// Appends a sample; its time must be after the last one's.
    pub(crate) fn push(&mut self, sample: Sample) {
        let (millis, value) = (sample.timestamp.millis(), sample.value.to_bits());
        if self.count == 0 {
            self.first = millis;
            self.delta = 0;
            self.window = None;
            self.bits.write(value, 64);
        } else {
            let delta = millis.wrapping_sub(self.last);
            self.push_delta(delta.wrapping_sub(self.delta));
            self.push_xor(value ^ self.value);
            self.delta = delta;
        }
        self.last = millis;
        self.value = value;
        self.count += 1;
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.count)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.count >= CHUNK_SAMPLES_MAX
    }

    /// First and last millisecond, when there is a sample.
    pub(crate) fn span(&self) -> Option<(i64, i64)> {
        (self.count > 0).then_some((self.first, self.last))
    }

    pub(crate) fn samples(&self) -> Decoder<'_> {
        Decoder::new(self.first, self.count, self.bits.bytes())
    }

    /// The newest sample, which is at hand without decoding.
    pub(crate) fn newest(&self) -> Option<Sample> {
        (self.count > 0).then(|| Sample::new(self.last, f64::from_bits(self.value)))
    }

    /// Turns the samples into a finished chunk and starts anew. `None` when there are none.
    pub(crate) fn seal(&mut self) -> Option<Chunk> {
        let (first, last) = self.span()?;
        let chunk = Chunk { first, last, count: self.count, bytes: Arc::from(self.bits.bytes()) };
        self.clear();
        Some(chunk)
    }

    /// Forgets the samples.
    pub(crate) fn clear(&mut self) {
        self.bits.clear();
        self.count = 0;
    }

    /// Gives memory back that an empty chunk keeps for its next samples.
    pub(crate) fn release(&mut self) {
        if self.count == 0 {
            self.bits.release();
        }
    }

    fn push_delta(&mut self, change: i64) {
        if change == 0 {
            self.bits.write(0, 1);
            return;
        }
        for (prefix, width) in (2..).zip(DELTA_WIDTHS) {
            if fits(change, width) {
                let low = change as u64 & ((1 << width) - 1);
                self.bits.write(((1 << prefix) - 2) << width | low, prefix + width);
                return;
            }
        }
        self.bits.write(0b1111, 4);
        self.bits.write(change as u64, 64);
    }

    fn push_xor(&mut self, xor: u64) {
        if xor == 0 {
            self.bits.write(0, 1);
            return;
        }
        let leading = xor.leading_zeros().min(LEADING_MAX);
        let trailing = xor.trailing_zeros();
        if let Some(window) = self.window {
            let shift = 64 - u32::from(window.leading) - u32::from(window.significant);
            if leading >= u32::from(window.leading) && trailing >= shift {
                self.bits.write(0b10, 2);
                self.bits.write(xor >> shift, u32::from(window.significant));
                return;
            }
        }
        let significant = 64 - leading - trailing;
        // 64 does not fit six bits, and 0 never happens: it stands for 64.
        let header = 0b11 << 11 | u64::from(leading) << 6 | u64::from(significant % 64);
        self.bits.write(header, 13);
        self.bits.write(xor >> trailing, significant);
        self.window = Some(Window { leading: leading as u8, significant: significant as u8 });
    }
}

/// Whether a signed number fits into so many bits.
fn fits(number: i64, bits: u32) -> bool {
    let unused = 64 - bits;
    (number << unused) >> unused == number
}

/// Yields the samples of a chunk; ends early on bytes that are no chunk.
#[derive(Debug)]
pub(crate) struct Decoder<'a> {
    bits: BitReader<'a>,
    left: u16,
    begun: bool,
    millis: i64,
    delta: i64,
    value: u64,
    leading: u32,
    significant: u32,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(first: i64, count: u16, bytes: &'a [u8]) -> Self {
        let bits = BitReader::new(bytes);
        Self {
            bits,
            left: count,
            begun: false,
            millis: first,
            delta: 0,
            value: 0,
            leading: 0,
            significant: 0,
        }
    }

    /// Appends the samples that lie in the span; what comes after it is not even decoded.
    pub(crate) fn read_span(self, start: i64, end: i64, samples: &mut Vec<Sample>) {
        samples.reserve(usize::from(self.left));
        for sample in self {
            if sample.timestamp.millis() > end {
                return;
            }
            if sample.timestamp.millis() >= start {
                samples.push(sample);
            }
        }
    }

    #[inline]
    fn read_delta(&mut self) -> Option<i64> {
        let word = self.bits.peek();
        let prefix = word.leading_ones();
        let Some(width) = prefix.checked_sub(1).map(|at| DELTA_WIDTHS.get(at as usize)) else {
            self.bits.skip(1)?;
            return Some(0);
        };
        let Some(width) = width else {
            self.bits.skip(DELTA_WIDTHS.len() as u32 + 1)?;
            return self.bits.read(64).map(|bits| bits as i64);
        };
        // A zero ends the prefix.
        self.bits.skip(prefix + 1 + width)?;
        Some((word << (prefix + 1)) as i64 >> (64 - width))
    }

    #[inline]
    fn read_xor(&mut self) -> Option<u64> {
        let word = self.bits.peek();
        match word >> 62 {
            0 | 1 => {
                self.bits.skip(1)?;
                return Some(0);
            }
            2 => self.bits.skip(2)?,
            _ => {
                self.leading = (word << 2 >> 59) as u32;
                let significant = (word << 7 >> 58) as u32;
                self.significant = if significant == 0 { 64 } else { significant };
                self.bits.skip(13)?;
            }
        }
        let shift = 64u32.checked_sub(self.leading + self.significant)?;
        if self.significant == 0 {
            return None;
        }
        Some(self.bits.read(self.significant)? << shift)
    }
}

impl Iterator for Decoder<'_> {
    type Item = Sample;

    #[inline]
    fn next(&mut self) -> Option<Sample> {
        self.left = self.left.checked_sub(1)?;
        if self.begun {
            self.delta = self.delta.wrapping_add(self.read_delta()?);
            self.millis = self.millis.wrapping_add(self.delta);
            self.value ^= self.read_xor()?;
        } else {
            self.begun = true;
            self.value = self.bits.read(64)?;
        }
        Some(Sample::new(self.millis, f64::from_bits(self.value)))
    }
}

#[cfg(test)]
mod tests {
    use model::STALE_NAN_BITS;
    use proptest::prelude::*;

    use super::*;

    fn bits() -> impl Strategy<Value = u64> {
        prop_oneof![
            any::<u64>(),
            (0u64..1000).prop_map(|n| (n as f64).to_bits()),
            Just(STALE_NAN_BITS),
            Just(f64::NAN.to_bits()),
            Just((-0.0f64).to_bits()),
        ]
    }

    proptest! {
        #[test]
        fn every_bit_of_time_and_value_survives(
            start in any::<i64>(),
            rows in prop::collection::vec((prop_oneof![Just(10_000i64), 1i64..40_000, any::<i64>()], bits()), 1..200),
        ) {
            let mut millis = start;
            let samples: Vec<Sample> = rows
                .iter()
                .map(|(step, bits)| {
                    millis = millis.wrapping_add(*step);
                    Sample::new(millis, f64::from_bits(*bits))
                })
                .collect();
            let chunk = Chunk::from_samples(&samples).expect("there are samples");
            prop_assert_eq!(chunk.samples().collect::<Vec<_>>(), samples);
        }

        #[test]
        fn bytes_that_are_no_chunk_end_the_decoder(bytes in prop::collection::vec(any::<u8>(), 0..200), count in any::<u16>()) {
            prop_assert!(Decoder::new(0, count, &bytes).count() <= usize::from(count));
        }
    }

    #[test]
    fn a_span_is_cut_out_and_added_to_what_is_there() {
        let samples: Vec<Sample> = (0..120).map(|i| Sample::new(i * 10, (i * i) as f64)).collect();
        let chunk = Chunk::from_samples(&samples).expect("there are samples");
        let mut read = vec![samples[0]];
        chunk.samples().read_span(15, 40, &mut read);
        assert_eq!(read, [samples[0], samples[2], samples[3], samples[4]]);
        chunk.samples().read_span(1_191, 2_000, &mut read);
        assert_eq!(read.len(), 4);
    }

    #[test]
    fn a_steady_counter_costs_two_bytes_a_sample() {
        let samples: Vec<Sample> =
            (0..120i32).map(|i| Sample::new(i64::from(i) * 10_000, f64::from(i * 7))).collect();
        let chunk = Chunk::from_samples(&samples).expect("there are samples");
        assert!(chunk.bytes.len() < 240, "{} bytes", chunk.bytes.len());
    }

    #[test]
    fn a_sealed_chunk_knows_its_span_and_leaves_an_empty_one() {
        let mut open = OpenChunk::default();
        assert!(open.seal().is_none());
        open.push(Sample::new(5, 1.0));
        open.push(Sample::new(9, 1.0));
        let chunk = open.seal().expect("there are samples");
        assert_eq!((chunk.first, chunk.last, chunk.len(), open.span()), (5, 9, 2, None));
        assert!(chunk.overlaps(9, 10) && chunk.overlaps(0, 5) && !chunk.overlaps(10, 20));
    }
}
