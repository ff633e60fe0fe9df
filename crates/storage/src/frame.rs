//! Frames of a segment: a header, then records each with its length and checksum.

/// First bytes of a segment: name and version of the format.
pub(crate) const SEGMENT_HEADER: &[u8; 8] = b"SAKRWAL1";

/// Length and checksum before each record.
pub(crate) const FRAME_HEADER_BYTES: usize = 8;

/// A record is at most this long. A batch at the default limits of transfer takes a hundredth of
/// it.
pub(crate) const RECORD_BYTES_MAX: usize = 64 << 20;

/// Fills in the frame header of the record that begins after `FRAME_HEADER_BYTES` placeholder bytes
/// at `start`.
pub(crate) fn seal(buffer: &mut [u8], start: usize) {
    let Some((header, record)) = buffer[start..].split_at_mut_checked(FRAME_HEADER_BYTES) else {
        return;
    };
    header[..4].copy_from_slice(&(record.len() as u32).to_le_bytes());
    header[4..].copy_from_slice(&crc32fast::hash(record).to_le_bytes());
}

/// Walks over the records of a segment up to its end or the first fault.
#[derive(Debug)]
pub(crate) struct Frames<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Frames<'a> {
    /// Checks the segment's header. An empty file is a segment without records: a process died
    /// between making it and writing to it.
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, &'static str> {
        if bytes.is_empty() || bytes.starts_with(SEGMENT_HEADER) {
            return Ok(Self { bytes, offset: SEGMENT_HEADER.len().min(bytes.len()) });
        }
        Err("it does not begin as a segment of this format")
    }

    /// Where the next record begins.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// The next record and where the one after it begins; `None` at the end. The offset moves on by
    /// [`Frames::advance`] only, so that after a fault it tells where to cut.
    pub(crate) fn peek(&self) -> Result<Option<&'a [u8]>, &'static str> {
        let rest = &self.bytes[self.offset..];
        if rest.is_empty() {
            return Ok(None);
        }
        let (header, rest) =
            rest.split_at_checked(FRAME_HEADER_BYTES).ok_or("the record is torn off")?;
        let (length, checksum) = header.split_at(4);
        let number = |bytes: &[u8]| {
            bytes.iter().rev().fold(0u32, |number, byte| number << 8 | u32::from(*byte))
        };
        let length = number(length) as usize;
        if length == 0 {
            return Err("the record is empty, as in a file that was extended but not written");
        }
        if length > RECORD_BYTES_MAX {
            return Err("the record has an impossible length");
        }
        let record = rest.get(..length).ok_or("the record is torn off")?;
        if crc32fast::hash(record) != number(checksum) {
            return Err("the checksum of the record differs");
        }
        Ok(Some(record))
    }

    pub(crate) fn advance(&mut self, record: &[u8]) {
        self.offset += FRAME_HEADER_BYTES + record.len();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segment(records: &[&[u8]]) -> Vec<u8> {
        let mut bytes = SEGMENT_HEADER.to_vec();
        for record in records {
            let start = bytes.len();
            bytes.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
            bytes.extend_from_slice(record);
            seal(&mut bytes, start);
        }
        bytes
    }

    fn check(bytes: &[u8], records: usize, offset: usize, fault: &str) {
        let mut frames = Frames::new(bytes).expect("the header is whole");
        let mut count = 0;
        let reason = loop {
            match frames.peek() {
                Ok(Some(record)) => frames.advance(record),
                Ok(None) => break "",
                Err(reason) => break reason,
            }
            count += 1;
        };
        assert_eq!((count, frames.offset()), (records, offset));
        assert!(reason.contains(fault) && reason.is_empty() == fault.is_empty(), "{reason}");
    }

    #[test]
    fn whole_records_are_read_to_the_end() {
        check(&segment(&[b"one", b"three"]), 2, 8 + 11 + 13, "");
        check(&[], 0, 0, "");
    }

    #[test]
    fn each_fault_is_named_and_found_at_its_record() {
        let whole = segment(&[b"one", b"three"]);
        check(&whole[..whole.len() - 1], 1, 19, "torn");
        check(&whole[..21], 1, 19, "torn");
        check(&[&whole[..19], &[0; 100]].concat(), 1, 19, "empty");
        check(&[&whole[..19], &[0xff; 100]].concat(), 1, 19, "length");
        let mut flipped = whole.clone();
        flipped[30] ^= 4;
        check(&flipped, 1, 19, "checksum");
        assert!(Frames::new(&whole[1..]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_walk_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            bytes.splice(0..0, *SEGMENT_HEADER);
            let mut frames = Frames::new(&bytes).expect("the header is whole");
            while let Ok(Some(record)) = frames.peek() {
                frames.advance(record);
            }
        }
    }
}
