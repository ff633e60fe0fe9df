//! One batch on disk: a header and the body of a request.

use model::Timestamp;

/// Bytes before the body.
pub(super) const HEADER_BYTES: usize = 24;
/// What the header has before its own checksum.
const SUMMED_BYTES: usize = HEADER_BYTES - 4;
/// A longer body cannot be one of ours.
pub(super) const BODY_BYTES_MAX: usize = 256 << 20;

/// What is known of a record before its body is read. It has a checksum of its own, so that a start
/// need not read the bodies, and a damaged body costs no other record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) body_bytes: u32,
    pub(super) samples: u32,
    pub(super) queued_at: Timestamp,
    body_sum: u32,
}

impl Header {
    /// `None` when the body is too long.
    pub(super) fn of(body: &[u8], samples: usize, queued_at: Timestamp) -> Option<Self> {
        let body_bytes = u32::try_from(body.len()).ok().filter(|_| body.len() <= BODY_BYTES_MAX)?;
        let samples = u32::try_from(samples).unwrap_or(u32::MAX);
        Some(Self { body_bytes, samples, queued_at, body_sum: crc32fast::hash(body) })
    }

    /// Of the whole record.
    pub(super) fn record_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.body_bytes)
    }

    /// Whether this is the body that was written.
    pub(super) fn is_of(&self, body: &[u8]) -> bool {
        self.body_sum == crc32fast::hash(body)
    }

    pub(super) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.samples.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.queued_at.millis().to_le_bytes());
        bytes[16..SUMMED_BYTES].copy_from_slice(&self.body_sum.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..SUMMED_BYTES]);
        bytes[SUMMED_BYTES..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// `None` when these bytes are no header.
    pub(super) fn from_bytes(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let millis = u64::from(word(8)) | u64::from(word(12)) << 32;
        let header = Self {
            body_bytes: word(0),
            samples: word(4),
            queued_at: Timestamp(millis as i64),
            body_sum: word(16),
        };
        let is_whole = crc32fast::hash(&bytes[..SUMMED_BYTES]) == word(SUMMED_BYTES);
        (is_whole && header.body_bytes as usize <= BODY_BYTES_MAX).then_some(header)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_header_survives_its_bytes_and_knows_its_body() {
        let header = Header::of(b"body", 7, Timestamp(-5)).unwrap();
        let read = Header::from_bytes(&header.to_bytes()).unwrap();
        assert_eq!((read, read.samples, read.record_bytes()), (header, 7, 28));
        assert!(read.is_of(b"body") && !read.is_of(b"bodY"));
        assert_eq!(Header::from_bytes(&[0; HEADER_BYTES]), None, "a file that was only extended");
    }

    proptest! {
        #[test]
        fn one_changed_bit_is_seen(bit in 0..HEADER_BYTES * 8) {
            let mut bytes = Header::of(b"body", 7, Timestamp(9)).unwrap().to_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Header::from_bytes(&bytes), None);
        }
    }
}
