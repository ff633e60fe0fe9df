//! Reading the index of a block: from matchers to series, from series to labels and chunks.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use model::{Labels, MatchOp, Matcher};

use crate::block_meta::Meta;
use crate::block_write::{LabelIds, ROW_BYTES};
use crate::bytes::Input;
use crate::index::{keep_by, union};
use crate::page::{Damage, PageFile, PageReader, Reading};

// Symbols that are kept during one question: names and values that most series share.
const SYMBOLS_KEPT_MAX: usize = 10_000;

/// Reads an index for one question.
#[derive(Debug)]
pub(crate) struct IndexReader<'a> {
    meta: &'a Meta,
    texts: PageReader<'a>,
    ends: PageReader<'a>,
    entries: PageReader<'a>,
    places: PageReader<'a>,
    tables: PageReader<'a>,
    lists: PageReader<'a>,
    symbols: HashMap<u32, Arc<str>>,
    buffer: Vec<u8>,
}

/// A row of a table: a symbol, how many things, and where.
#[derive(Debug, Clone, Copy)]
struct Row {
    symbol: u32,
    count: u32,
    at: u64,
}

/// A series of a block.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    pub(crate) labels: Vec<LabelIds>,
    /// Ascending in time, side by side in the file.
    pub(crate) chunks: Vec<ChunkPlace>,
}

/// Where a chunk is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ChunkPlace {
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) count: u16,
    pub(crate) at: u64,
    pub(crate) bytes: usize,
}

impl<'a> IndexReader<'a> {
    pub(crate) fn new(meta: &'a Meta, file: &'a PageFile, reading: Reading) -> Self {
        let reader = || PageReader::new(file, reading);
        Self {
            meta,
            texts: reader(),
            ends: reader(),
            entries: reader(),
            places: reader(),
            tables: reader(),
            lists: reader(),
            symbols: HashMap::new(),
            buffer: Vec::new(),
        }
    }

    /// The series that all matchers pick, ascending.
    pub(crate) fn resolve(&mut self, matchers: &[Matcher]) -> Result<Vec<u32>, Damage> {
        let (excluding, mut requiring): (Vec<_>, Vec<_>) =
            matchers.iter().partition(|matcher| matcher.matches_empty());
        // What names its values costs little and leaves little.
        requiring.sort_by_key(|matcher| matcher.exact_values().is_none());
        let mut picked: Option<Vec<u32>> = None;
        for matcher in requiring {
            let lists = self.lists(matcher, true)?;
            let lists: Vec<&[u32]> = lists.iter().map(Vec::as_slice).collect();
            match &mut picked {
                None => picked = Some(union(&lists)),
                Some(ids) => keep_by(ids, &lists, true),
            }
            if picked.as_ref().is_some_and(Vec::is_empty) {
                return Ok(Vec::new());
            }
        }
        let mut ids = picked.unwrap_or_else(|| (0..self.meta.series).collect());
        for matcher in excluding {
            let lists = self.lists(matcher, false)?;
            keep_by(&mut ids, &lists.iter().map(Vec::as_slice).collect::<Vec<_>>(), false);
        }
        Ok(ids)
    }

    /// The lists of those values of the label that the matcher picks, or of those it does not pick.
    fn lists(&mut self, matcher: &Matcher, picked: bool) -> Result<Vec<Vec<u32>>, Damage> {
        let Some(name) = self.name(&matcher.name)? else { return Ok(Vec::new()) };
        let exact = match (matcher.op, matcher.exact_values()) {
            (_, Some(exact)) if picked => Some(exact),
            (MatchOp::NotEqual, _) if !picked => Some(vec![matcher.value.as_str()]),
            _ => None,
        };
        let mut lists = Vec::new();
        if let Some(exact) = exact {
            for value in exact {
                if let Some(row) = self.value(name, value)? {
                    lists.push(self.list(row)?);
                }
            }
            return Ok(lists);
        }
        let is_alike = matches!(matcher.op, MatchOp::Equal | MatchOp::Regex);
        let prefix = if is_alike == picked { matcher.prefix() } else { "" };
        for at in self.first_value(name, prefix)?..name.count {
            let row = self.row(name.at, at)?;
            let value = self.symbol(row.symbol)?;
            if !value.starts_with(prefix) {
                break;
            }
            if matcher.matches(&value) == picked {
                lists.push(self.list(row)?);
            }
        }
        Ok(lists)
    }

    /// All label names, ascending.
    pub(crate) fn label_names(&mut self) -> Result<Vec<Arc<str>>, Damage> {
        self.texts_of(Row {
            symbol: 0,
            count: self.meta.layout.names,
            at: self.meta.layout.name_table,
        })
    }

    /// All values of a label, ascending.
    pub(crate) fn label_values(&mut self, name: &str) -> Result<Vec<Arc<str>>, Damage> {
        match self.name(name)? {
            Some(name) => self.texts_of(name),
            None => Ok(Vec::new()),
        }
    }

    fn texts_of(&mut self, table: Row) -> Result<Vec<Arc<str>>, Damage> {
        let mut texts = Vec::new();
        for at in 0..table.count {
            let row = self.row(table.at, at)?;
            texts.push(self.symbol(row.symbol)?);
        }
        Ok(texts)
    }

    /// All symbols, ascending.
    pub(crate) fn all_symbols(&mut self) -> Result<Vec<String>, Damage> {
        (0..self.meta.layout.symbols).map(|id| Ok(self.symbol(id)?.to_string())).collect()
    }

    /// The texts of symbols, in no order.
    pub(crate) fn texts(&mut self, ids: HashSet<u32>) -> Result<Vec<String>, Damage> {
        ids.into_iter().map(|id| Ok(self.symbol(id)?.to_string())).collect()
    }

    /// Reads the entry of a series into `entry`.
    pub(crate) fn entry(&mut self, id: u32, entry: &mut Entry) -> Result<(), Damage> {
        let (start, end) = self.span(self.meta.layout.entries, id)?;
        let length = end.saturating_sub(start) as usize;
        self.entries.read(start, length, &mut self.buffer)?;
        entry.labels.clear();
        entry.chunks.clear();
        read_entry(&mut Input::of(&self.buffer), entry)
            .ok_or_else(|| self.nonsense("the entry of a series cannot be understood"))
    }

    pub(crate) fn labels(&mut self, ids: &[LabelIds]) -> Result<Labels, Damage> {
        let mut texts = Vec::with_capacity(ids.len());
        for (name, value) in ids {
            texts.push((self.symbol(*name)?, self.symbol(*value)?));
        }
        Labels::from_sorted(texts.iter().map(|(name, value)| (&**name, &**value)))
            .ok_or_else(|| self.nonsense("the labels of a series are not in order"))
    }

    /// The number of the series with exactly these labels.
    pub(crate) fn find(&mut self, labels: &Labels) -> Result<Option<u32>, Damage> {
        let mut wanted = Vec::with_capacity(labels.len());
        for (name, value) in labels.iter() {
            let (Some(name), Some(value)) = (self.find_symbol(name)?, self.find_symbol(value)?)
            else {
                return Ok(None);
            };
            wanted.push((name, value));
        }
        let mut entry = Entry::default();
        let (mut from, mut to) = (0, self.meta.series);
        while from < to {
            let middle = from + (to - from) / 2;
            self.entry(middle, &mut entry)?;
            match entry.labels.cmp(&wanted) {
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Greater => to = middle,
                std::cmp::Ordering::Equal => return Ok(Some(middle)),
            }
        }
        Ok(None)
    }

    fn nonsense(&self, what: &str) -> Damage {
        self.texts.file().nonsense(what)
    }

    /// Two neighbours in a list of eight-byte places.
    fn span(&mut self, list: u64, at: u32) -> Result<(u64, u64), Damage> {
        self.places.read(list + u64::from(at) * 8, 16, &mut self.buffer)?;
        let mut input = Input::of(&self.buffer);
        let mut place = || input.bytes(8)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        match (place(), place()) {
            (Some(start), Some(end)) => Ok((start, end)),
            _ => Err(self.nonsense("it is too short")),
        }
    }

    fn symbol(&mut self, id: u32) -> Result<Arc<str>, Damage> {
        if let Some(text) = self.symbols.get(&id) {
            return Ok(Arc::clone(text));
        }
        if id >= self.meta.layout.symbols {
            return Err(self.nonsense("it refers to a symbol that is not there"));
        }
        let at = self.meta.layout.symbol_ends + u64::from(id) * 4;
        self.ends.read(at, 8, &mut self.buffer)?;
        let (start, end) = pair(&self.buffer);
        let length = end.saturating_sub(start) as usize;
        self.texts.read(u64::from(start), length, &mut self.buffer)?;
        let text: Arc<str> = match str::from_utf8(&self.buffer) {
            Ok(text) => text.into(),
            Err(_) => return Err(self.nonsense("a symbol is no text")),
        };
        if self.symbols.len() < SYMBOLS_KEPT_MAX {
            self.symbols.insert(id, Arc::clone(&text));
        }
        Ok(text)
    }

    /// The number of a text.
    pub(crate) fn find_symbol(&mut self, text: &str) -> Result<Option<u32>, Damage> {
        let (mut from, mut to) = (0, self.meta.layout.symbols);
        while from < to {
            let middle = from + (to - from) / 2;
            match (*self.symbol(middle)?).cmp(text) {
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Greater => to = middle,
                std::cmp::Ordering::Equal => return Ok(Some(middle)),
            }
        }
        Ok(None)
    }

    fn row(&mut self, table: u64, at: u32) -> Result<Row, Damage> {
        let start = table + u64::from(at) * ROW_BYTES as u64;
        self.tables.read(start, ROW_BYTES, &mut self.buffer)?;
        let (symbol, count) = pair(&self.buffer);
        let at = self.buffer.last_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Ok(Row { symbol, count, at })
    }

    /// The row of a label name.
    fn name(&mut self, name: &str) -> Result<Option<Row>, Damage> {
        let layout = self.meta.layout;
        self.search(Row { symbol: 0, count: layout.names, at: layout.name_table }, name)
    }

    /// The row of a value of a label.
    fn value(&mut self, name: Row, value: &str) -> Result<Option<Row>, Damage> {
        self.search(name, value)
    }

    fn search(&mut self, table: Row, text: &str) -> Result<Option<Row>, Damage> {
        let at = self.first_value(table, text)?;
        if at >= table.count {
            return Ok(None);
        }
        let row = self.row(table.at, at)?;
        Ok((*self.symbol(row.symbol)? == *text).then_some(row))
    }

    /// The first row of a table whose text is not before the given one.
    fn first_value(&mut self, table: Row, text: &str) -> Result<u32, Damage> {
        let (mut from, mut to) = (0, table.count);
        while from < to {
            let middle = from + (to - from) / 2;
            let row = self.row(table.at, middle)?;
            if *self.symbol(row.symbol)? < *text {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        Ok(from)
    }

    fn list(&mut self, row: Row) -> Result<Vec<u32>, Damage> {
        // A number of 32 bits takes at most five bytes; what follows the list is not read as part of
        // it. The index ends with the tables, so that there may be fewer.
        let left = self.texts.file().bytes().saturating_sub(row.at);
        let length = (u64::from(row.count) * 5).min(left) as usize;
        self.lists.read(row.at, length, &mut self.buffer)?;
        let mut input = Input::of(&self.buffer);
        let mut ids = Vec::new();
        let mut id = 0u64;
        for _ in 0..row.count {
            let Some(more) = input.take() else {
                return Err(self.nonsense("a list of series is too short"));
            };
            id = id.saturating_add(more);
            match u32::try_from(id).ok().filter(|id| *id < self.meta.series) {
                Some(id) => ids.push(id),
                None => return Err(self.nonsense("it refers to a series that is not there")),
            }
        }
        Ok(ids)
    }
}

fn pair(bytes: &[u8]) -> (u32, u32) {
    let number = |at: usize| {
        let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    };
    (number(0), number(4))
}

fn read_entry(input: &mut Input<'_>, entry: &mut Entry) -> Option<()> {
    let small = |number: u64| u32::try_from(number).ok();
    for _ in 0..input.take()? {
        entry.labels.push((small(input.take()?)?, small(input.take()?)?));
    }
    let chunks = input.take()?;
    let mut at = input.take()?;
    let mut end = 0i64;
    for _ in 0..chunks {
        let first = end.wrapping_add(input.signed()?);
        let last = first.wrapping_add(input.take()? as i64);
        let count = u16::try_from(input.take()?).ok()?;
        let bytes = input.take()?;
        let chunk = ChunkPlace { first, last, count, at, bytes: usize::try_from(bytes).ok()? };
        entry.chunks.push(chunk);
        at = at.checked_add(bytes)?;
        end = last;
    }
    input.is_empty().then_some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_of_entries_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = read_entry(&mut Input::of(&bytes), &mut Entry::default());
        }
    }
}
