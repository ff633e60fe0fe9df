//! Bits packed into bytes, most significant first.

/// Appends bits. The last byte may be partly filled; its unused low bits are zero.
#[derive(Debug, Default)]
pub(crate) struct BitWriter {
    bytes: Vec<u8>,
    unused: u32,
}

impl BitWriter {
    /// Appends the lowest `bits` bits of `value`; at most 64.
    pub(crate) fn write(&mut self, value: u64, bits: u32) {
        let into_last = bits.min(self.unused);
        let left = bits - into_last;
        if let Some(last) = self.bytes.last_mut().filter(|_| into_last > 0) {
            let part = (value >> left) & ((1 << into_last) - 1);
            self.unused -= into_last;
            *last |= (part as u8) << self.unused;
        }
        if left > 0 {
            let count = left.div_ceil(8);
            let aligned = (value << (64 - left)).to_be_bytes();
            self.bytes.extend_from_slice(&aligned[..count as usize]);
            self.unused = count * 8 - left;
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets the content and keeps the allocation.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.unused = 0;
    }

    /// Forgets the content and gives the allocation back.
    pub(crate) fn release(&mut self) {
        *self = Self::default();
    }
}

/// Reads what a [`BitWriter`] wrote. Ends, rather than panics, on bytes that are too short.
#[derive(Debug)]
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> BitReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// The next bits without taking them, the first one highest. At least 57 are there; zeros stand
    /// for what lies beyond the end.
    #[inline]
    pub(crate) fn peek(&self) -> u64 {
        let rest = self.bytes.get(self.position / 8..).unwrap_or_default();
        let word =
            rest.first_chunk().map_or_else(|| padded(rest), |chunk| u64::from_be_bytes(*chunk));
        word << (self.position % 8)
    }

    /// Takes so many bits; `None` when there are fewer.
    #[inline]
    pub(crate) fn skip(&mut self, bits: u32) -> Option<()> {
        let end = self.position + bits as usize;
        if end > self.bytes.len() * 8 {
            return None;
        }
        self.position = end;
        Some(())
    }

    /// The next `bits` bits, from 1 to 64.
    #[inline]
    pub(crate) fn read(&mut self, bits: u32) -> Option<u64> {
        let (byte, shift) = (self.position / 8, (self.position % 8) as u32);
        let value = self.peek() >> (64 - bits);
        self.skip(bits)?;
        let beyond = (bits + shift).saturating_sub(64);
        if beyond == 0 {
            return Some(value);
        }
        Some(value | u64::from(self.bytes.get(byte + 8)?.unbounded_shr(8 - beyond)))
    }
}

#[cold]
fn padded(rest: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..rest.len()].copy_from_slice(rest);
    u64::from_be_bytes(word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn fields_of_any_width_are_read_as_they_were_written(fields in prop::collection::vec((any::<u64>(), 1u32..=64), 0..80)) {
            let mut writer = BitWriter::default();
            for (value, bits) in &fields {
                writer.write(*value, *bits);
            }
            let mut reader = BitReader::new(writer.bytes());
            for (value, bits) in &fields {
                let seen = (*bits).min(57);
                prop_assert_eq!(reader.peek() >> (64 - seen), value << (64 - bits) >> (64 - seen));
                prop_assert_eq!(reader.read(*bits), Some(value << (64 - bits) >> (64 - bits)));
            }
            prop_assert_eq!(reader.read(8), None);
            prop_assert_eq!(reader.skip(8), None);
        }
    }
}
