//! How far a queue has been delivered, in a small file that is written in place.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const FILE: &str = "position";
const BYTES: usize = 20;

/// A place between two records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(super) segment: u64,
    pub(super) offset: u64,
}

/// The file. It is not synced: after a power cut an older place may stand there, and what lies
/// between is sent twice, which does no harm.
#[derive(Debug)]
pub(super) struct PositionFile(File);

impl PositionFile {
    /// Opens or makes it, and reads the place; a file that makes no sense says the beginning.
    pub(super) fn open(dir: &Path) -> io::Result<(Self, Position)> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join(FILE))?;
        let mut bytes = [0; BYTES];
        let read = file.read_exact_at(&mut bytes, 0).ok();
        let position = read.and_then(|()| decode(&bytes)).unwrap_or_default();
        Ok((Self(file), position))
    }

    pub(super) fn write(&self, position: Position) -> io::Result<()> {
        self.0.write_all_at(&encode(position), 0)
    }
}

fn encode(position: Position) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(&position.segment.to_le_bytes());
    bytes[8..16].copy_from_slice(&position.offset.to_le_bytes());
    let sum = crc32fast::hash(&bytes[..16]);
    bytes[16..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8; BYTES]) -> Option<Position> {
    let (numbers, sum) = bytes.split_at(16);
    if sum != crc32fast::hash(numbers).to_le_bytes() {
        return None;
    }
    let number = |bytes: &[u8]| {
        bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    Some(Position { segment: number(&numbers[..8]), offset: number(&numbers[8..]) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_again_and_a_damaged_one_is_the_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let place = Position { segment: 7, offset: 1 << 40 };
        let (file, first) = PositionFile::open(dir.path()).unwrap();
        assert_eq!(first, Position::default());
        file.write(place).unwrap();
        assert_eq!(PositionFile::open(dir.path()).unwrap().1, place);
        file.0.write_all_at(&[1], 3).unwrap();
        assert_eq!(PositionFile::open(dir.path()).unwrap().1, Position::default());
    }
}
