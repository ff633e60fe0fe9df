//! What a block says of itself: the file `meta` of its folder.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::bytes::{Input, put, put_signed};
use crate::page::{Damage, Pages};

/// First bytes of the file: name and version of the format of the whole block.
const HEADER: &[u8; 8] = b"SAKRBLK1";

/// The names of a block's files.
pub(crate) const META_FILE: &str = "meta";
pub(crate) const INDEX_FILE: &str = "index";
pub(crate) const CHUNKS_FILE: &str = "chunks";

/// Up to where the write-ahead log is in blocks: all samples before `before` in its segments up to
/// `segment`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Cut {
    /// Milliseconds.
    pub(crate) before: i64,
    /// Number of a segment.
    pub(crate) segment: u64,
}

/// Where the parts of the index begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Layout {
    /// Number of symbols. Their texts stand at 0.
    pub(crate) symbols: u32,
    /// Ends of the symbols' texts, with a 0 before them.
    pub(crate) symbol_ends: u64,
    /// Beginnings of the series' entries, and the end of the last one.
    pub(crate) entries: u64,
    /// Number of label names.
    pub(crate) names: u32,
    /// The table of label names.
    pub(crate) name_table: u64,
}

/// What a block says of itself.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Meta {
    /// Milliseconds of the oldest sample.
    pub(crate) first: i64,
    /// Milliseconds of the newest sample.
    pub(crate) last: i64,
    pub(crate) series: u32,
    pub(crate) samples: u64,
    pub(crate) cut: Cut,
    /// Blocks whose samples are all in this one.
    pub(crate) replaces: Vec<u64>,
    pub(crate) layout: Layout,
    pub(crate) index: Pages,
    pub(crate) chunks: Pages,
}

impl Meta {
    pub(crate) fn write(&self, dir: &Path) -> io::Result<()> {
        let mut file = File::create_new(dir.join(META_FILE))?;
        file.write_all(&self.encode())?;
        file.sync_all()
    }

    pub(crate) fn read(dir: &Path) -> Result<Self, Damage> {
        let path = dir.join(META_FILE);
        let bytes = fs::read(&path).map_err(|error| Damage::new(&path, error.to_string()))?;
        Self::decode(&bytes).map_err(|what| Damage::new(&path, what))
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = HEADER.to_vec();
        put_signed(&mut out, self.first);
        put_signed(&mut out, self.last);
        put_signed(&mut out, self.cut.before);
        let Layout { symbols, symbol_ends, entries, names, name_table } = self.layout;
        let numbers = [
            u64::from(self.series),
            self.samples,
            self.cut.segment,
            u64::from(symbols),
            symbol_ends,
            entries,
            u64::from(names),
            name_table,
        ];
        numbers.into_iter().for_each(|number| put(&mut out, number));
        put(&mut out, self.replaces.len() as u64);
        self.replaces.iter().for_each(|id| put(&mut out, *id));
        for pages in [&self.index, &self.chunks] {
            put(&mut out, pages.bytes);
            put(&mut out, pages.checksums.len() as u64);
            pages.checksums.iter().for_each(|sum| out.extend_from_slice(&sum.to_le_bytes()));
        }
        let checksum = crc32fast::hash(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        if !bytes.starts_with(HEADER) {
            return Err("it does not begin as a block of this format");
        }
        let Some((content, checksum)) = bytes.split_last_chunk() else {
            return Err("it is torn off");
        };
        if crc32fast::hash(content) != u32::from_le_bytes(*checksum) {
            return Err("its checksum differs");
        }
        let body = content.get(HEADER.len()..).unwrap_or_default();
        read(&mut Input::of(body)).ok_or("it cannot be understood")
    }
}

fn read(input: &mut Input<'_>) -> Option<Meta> {
    let (first, last, before) = (input.signed()?, input.signed()?, input.signed()?);
    let small = |number: u64| u32::try_from(number).ok();
    let mut meta = Meta {
        first,
        last,
        series: small(input.take()?)?,
        samples: input.take()?,
        cut: Cut { before, segment: input.take()? },
        replaces: Vec::new(),
        layout: Layout {
            symbols: small(input.take()?)?,
            symbol_ends: input.take()?,
            entries: input.take()?,
            names: small(input.take()?)?,
            name_table: input.take()?,
        },
        index: Pages::default(),
        chunks: Pages::default(),
    };
    for _ in 0..input.take()? {
        meta.replaces.push(input.take()?);
    }
    for pages in [&mut meta.index, &mut meta.chunks] {
        pages.bytes = input.take()?;
        for _ in 0..input.take()? {
            pages.checksums.push(u32::from_le_bytes(*input.bytes(4)?.first_chunk()?));
        }
    }
    input.is_empty().then_some(meta)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn meta() -> Meta {
        Meta {
            first: -5,
            last: 1_760_000_000_000,
            series: 7,
            samples: 12_345,
            cut: Cut { before: 1_760_000_100_000, segment: 17 },
            replaces: vec![1, 2, 300],
            layout: Layout { symbols: 9, symbol_ends: 80, entries: 400, names: 3, name_table: 900 },
            index: Pages { bytes: 936, checksums: vec![0xdead_beef] },
            chunks: Pages { bytes: 40_000, checksums: vec![1, 2, 3] },
        }
    }

    #[test]
    fn it_reads_as_it_was_written() {
        assert_eq!(Meta::decode(&meta().encode()), Ok(meta()));
    }

    #[test]
    fn every_changed_byte_and_every_missing_one_is_noticed() {
        let whole = meta().encode();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            Meta::decode(&bytes).unwrap_err();
            Meta::decode(&whole[..at]).unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&mut Input::of(&bytes));
            let _ = Meta::decode(&bytes);
        }
    }
}
