//! Writing a block into a folder of its own. Series come in order and are written as they come; in
//! memory stay their places, the lists of the index and one series' samples.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use model::Sample;

use crate::block_meta::{CHUNKS_FILE, Cut, INDEX_FILE, Layout, Meta};
use crate::bytes::{put, put_signed};
use crate::chunk::{Chunk, OpenChunk};
use crate::page::PageWriter;
use crate::step::step;

/// A label as numbers of symbols: name and value. Symbols are numbered in the order of their texts,
/// so that pairs compare as the texts do.
pub(crate) type LabelIds = (u32, u32);

/// Writes one block.
#[derive(Debug)]
pub(crate) struct BlockWriter {
    dir: PathBuf,
    index: PageWriter,
    chunks: PageWriter,
    meta: Meta,
    entries: Vec<u64>,
    lists: BTreeMap<LabelIds, Vec<u32>>,
    open: OpenChunk,
    sealed: Vec<Chunk>,
    entry: Vec<u8>,
}

impl BlockWriter {
    /// Makes the folder and writes the symbols, which ascend and hold every text of every label.
    pub(crate) fn create<'a>(
        dir: &Path,
        symbols: impl Iterator<Item = &'a str>,
    ) -> io::Result<Self> {
        fs::create_dir(dir)?;
        step("block folder made");
        let mut index = PageWriter::create(&dir.join(INDEX_FILE))?;
        let chunks = PageWriter::create(&dir.join(CHUNKS_FILE))?;
        let mut ends = 0u32.to_le_bytes().to_vec();
        let mut layout = Layout::default();
        for symbol in symbols {
            index.put(symbol.as_bytes())?;
            ends.extend_from_slice(&narrow(index.position())?.to_le_bytes());
            layout.symbols += 1;
        }
        layout.symbol_ends = index.position();
        index.put(&ends)?;
        Ok(Self {
            dir: dir.to_owned(),
            index,
            chunks,
            meta: Meta { layout, first: i64::MAX, last: i64::MIN, ..Meta::default() },
            entries: Vec::new(),
            lists: BTreeMap::new(),
            open: OpenChunk::default(),
            sealed: Vec::new(),
            entry: Vec::new(),
        })
    }

    /// Adds a series. Its labels are after those of the series before, in the order of their
    /// numbers; its samples ascend.
    pub(crate) fn add(&mut self, labels: &[LabelIds], samples: &[Sample]) -> io::Result<()> {
        let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return Ok(()) };
        self.meta.first = self.meta.first.min(first.timestamp.millis());
        self.meta.last = self.meta.last.max(last.timestamp.millis());
        self.meta.samples += samples.len() as u64;
        for sample in samples {
            self.open.push(*sample);
            if self.open.is_full() {
                self.sealed.extend(self.open.seal());
            }
        }
        self.sealed.extend(self.open.seal());
        for ids in labels {
            self.lists.entry(*ids).or_default().push(self.meta.series);
        }
        self.put_entry(labels)
    }

    fn put_entry(&mut self, labels: &[LabelIds]) -> io::Result<()> {
        self.entry.clear();
        put(&mut self.entry, labels.len() as u64);
        for (name, value) in labels {
            put(&mut self.entry, u64::from(*name));
            put(&mut self.entry, u64::from(*value));
        }
        put(&mut self.entry, self.sealed.len() as u64);
        put(&mut self.entry, self.chunks.position());
        let mut end = 0i64;
        for chunk in self.sealed.drain(..) {
            put_signed(&mut self.entry, chunk.first.wrapping_sub(end));
            put(&mut self.entry, chunk.last.wrapping_sub(chunk.first) as u64);
            put(&mut self.entry, chunk.len() as u64);
            put(&mut self.entry, chunk.bytes().len() as u64);
            end = chunk.last;
            self.chunks.put(chunk.bytes())?;
        }
        self.entries.push(self.index.position());
        self.meta.series += 1;
        self.index.put(&self.entry)
    }

    /// Writes the rest and brings all to disk.
    pub(crate) fn finish(mut self, cut: Cut, replaces: Vec<u64>) -> io::Result<()> {
        self.entries.push(self.index.position());
        self.meta.layout.entries = self.index.position();
        for start in std::mem::take(&mut self.entries) {
            self.index.put(&start.to_le_bytes())?;
        }
        self.put_lists()?;
        self.meta.chunks = self.chunks.finish()?;
        step("chunks on disk");
        self.meta.index = self.index.finish()?;
        step("index on disk");
        (self.meta.cut, self.meta.replaces) = (cut, replaces);
        self.meta.write(&self.dir)?;
        step("meta on disk");
        fs::File::open(&self.dir)?.sync_all()?;
        step("block folder on disk");
        Ok(())
    }

    /// The lists of series, then a table of values for every name, then the table of names.
    fn put_lists(&mut self) -> io::Result<()> {
        let mut names: Vec<(u32, Vec<u8>)> = Vec::new();
        for ((name, value), list) in std::mem::take(&mut self.lists) {
            let at = self.index.position();
            self.entry.clear();
            let mut before = 0;
            for id in &list {
                put(&mut self.entry, u64::from(id - before));
                before = *id;
            }
            self.index.put(&self.entry)?;
            if names.last().is_none_or(|(last, _)| *last != name) {
                names.push((name, Vec::new()));
            }
            if let Some((_, table)) = names.last_mut() {
                table.extend_from_slice(&value.to_le_bytes());
                table.extend_from_slice(&narrow(list.len() as u64)?.to_le_bytes());
                table.extend_from_slice(&at.to_le_bytes());
            }
        }
        let mut name_table = Vec::new();
        for (name, table) in &names {
            name_table.extend_from_slice(&name.to_le_bytes());
            name_table.extend_from_slice(&((table.len() / ROW_BYTES) as u32).to_le_bytes());
            name_table.extend_from_slice(&self.index.position().to_le_bytes());
            self.index.put(table)?;
        }
        self.meta.layout.names = names.len() as u32;
        self.meta.layout.name_table = self.index.position();
        self.index.put(&name_table)
    }
}

/// A row of a table of the index: a symbol, a count, a place.
pub(crate) const ROW_BYTES: usize = 16;

fn narrow(number: u64) -> io::Result<u32> {
    let error =
        || io::Error::new(io::ErrorKind::FileTooLarge, "the labels of a block exceed 4 GiB");
    u32::try_from(number).map_err(|_| error())
}
