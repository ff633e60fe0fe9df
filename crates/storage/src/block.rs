//! A block: an immutable folder of compressed samples with an index of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::Sample;

use crate::block_index::{ChunkPlace, Entry, IndexReader};
use crate::block_meta::{CHUNKS_FILE, INDEX_FILE, Meta};
use crate::chunk::Decoder;
use crate::page::{Damage, PageCache, PageFile, PageReader, Reading};

/// A block that is open. In memory it is its `meta`; all else is read when it is asked for.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) id: u64,
    pub(crate) dir: PathBuf,
    pub(crate) meta: Meta,
    index: PageFile,
    chunks: PageFile,
}

impl Block {
    /// Opens the block of a folder. Damage in its `meta`, a missing file and one of the wrong length
    /// are noticed at once; a damaged page is noticed when it is read.
    pub(crate) fn open(id: u64, dir: &Path, cache: &Arc<PageCache>) -> Result<Self, Damage> {
        let meta = Meta::read(dir)?;
        let index = PageFile::open(&dir.join(INDEX_FILE), meta.index.clone(), cache)?;
        let chunks = PageFile::open(&dir.join(CHUNKS_FILE), meta.chunks.clone(), cache)?;
        Ok(Self { id, dir: dir.to_owned(), meta, index, chunks })
    }

    pub(crate) fn overlaps(&self, start: i64, end: i64) -> bool {
        self.meta.first <= end && self.meta.last >= start
    }

    /// Bytes of the large files.
    pub(crate) fn bytes(&self) -> u64 {
        self.index.bytes() + self.chunks.bytes()
    }

    pub(crate) fn index(&self, reading: Reading) -> IndexReader<'_> {
        IndexReader::new(&self.meta, &self.index, reading)
    }

    pub(crate) fn samples(&self, reading: Reading) -> SampleReader<'_> {
        SampleReader { chunks: PageReader::new(&self.chunks, reading), buffer: Vec::new() }
    }
}

impl Entry {
    /// The chunks that may have samples in the span.
    pub(crate) fn chunks_within(&self, start: i64, end: i64) -> &[ChunkPlace] {
        let from = self.chunks.partition_point(|chunk| chunk.last < start);
        let to = self.chunks.partition_point(|chunk| chunk.first <= end);
        self.chunks.get(from..to).unwrap_or_default()
    }
}

/// Reads samples of one series after another.
#[derive(Debug)]
pub(crate) struct SampleReader<'a> {
    chunks: PageReader<'a>,
    buffer: Vec<u8>,
}

impl SampleReader<'_> {
    /// Appends the samples of a series that lie in the span.
    pub(crate) fn read(
        &mut self,
        entry: &Entry,
        start: i64,
        end: i64,
        samples: &mut Vec<Sample>,
    ) -> Result<(), Damage> {
        let places = entry.chunks_within(start, end);
        let Some(first) = places.first() else { return Ok(()) };
        let bytes = places.iter().map(|place| place.bytes).sum();
        self.chunks.read(first.at, bytes, &mut self.buffer)?;
        let mut rest = self.buffer.as_slice();
        for place in places {
            let (chunk, after) = rest.split_at_checked(place.bytes).unwrap_or_default();
            Decoder::new(place.first, place.count, chunk).read_span(start, end, samples);
            rest = after;
        }
        Ok(())
    }
}
