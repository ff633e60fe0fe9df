//! One batch in a segment: a header of 13 bytes and the body.

/// Bytes before the body.
pub(super) const HEADER_BYTES: usize = 13;
/// State of a record that is still to be sent.
const UNSENT: u8 = 0xa5;
/// State of a record that is done with. Far from [`UNSENT`] in every bit, so that no single damaged bit makes
/// one of the other.
pub(super) const SENT: u8 = 0x5a;

/// What is known of a record before its body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    state: u8,
    pub(super) body_bytes: u32,
    pub(super) samples: u32,
    checksum: u32,
}

impl Header {
    /// The header of an unsent record; `None` when the body has 4 GiB or more.
    pub(super) fn of(body: &[u8], samples: u32) -> Option<Self> {
        let body_bytes = u32::try_from(body.len()).ok()?;
        Some(Self {
            state: UNSENT,
            body_bytes,
            samples,
            checksum: checksum(body_bytes, samples, body),
        })
    }

    pub(super) fn is_sent(&self) -> bool {
        self.state == SENT
    }

    pub(super) fn record_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.body_bytes)
    }

    /// Whether header and body belong together and are whole. The state is outside of the checksum, since it
    /// changes.
    pub(super) fn is_of(&self, body: &[u8]) -> bool {
        matches!(self.state, SENT | UNSENT)
            && self.checksum == checksum(self.body_bytes, self.samples, body)
    }

    pub(super) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [self.state; HEADER_BYTES];
        bytes[1..5].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[5..9].copy_from_slice(&self.samples.to_le_bytes());
        bytes[9..].copy_from_slice(&self.checksum.to_le_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; HEADER_BYTES]) -> Self {
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        Self { state: bytes[0], body_bytes: word(1), samples: word(5), checksum: word(9) }
    }
}

fn checksum(body_bytes: u32, samples: u32, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&body_bytes.to_le_bytes());
    hasher.update(&samples.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_its_bytes_and_knows_its_body() {
        let header = Header::of(b"body", 7).unwrap();
        let read = Header::from_bytes(&header.to_bytes());
        assert_eq!(read, header);
        assert!(read.is_of(b"body") && !read.is_of(b"bodY"));
        assert_eq!((read.samples, read.record_bytes(), read.is_sent()), (7, 17, false));
    }

    #[test]
    fn a_state_that_is_neither_is_damage() {
        let mut bytes = Header::of(b"x", 1).unwrap().to_bytes();
        bytes[0] = SENT;
        assert!(Header::from_bytes(&bytes).is_sent());
        bytes[0] = 0;
        assert!(!Header::from_bytes(&bytes).is_of(b"x"));
    }
}
