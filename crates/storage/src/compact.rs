//! From many small blocks to few large ones.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::Sample;

use crate::block::{Block, SampleReader};
use crate::block_index::{Entry, IndexReader};
use crate::block_write::{BlockWriter, LabelIds};
use crate::blocks::Blocks;
use crate::cut::{discard, in_order};
use crate::error::MaintainError;
use crate::page::{Damage, Reading};

/// Three blocks of one size become one of the next.
const GROWTH: i64 = 3;
/// Blocks that fit into no window hold samples that came very late. So many of them become one.
const ODD_BLOCKS_MAX: usize = 4;
/// An odd block beyond this is left as it is.
const ODD_BYTES_MAX: u64 = 256 << 20;

/// A block as planning sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) id: u64,
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) bytes: u64,
}

impl Extent {
    pub(crate) fn of(block: &Block) -> Self {
        let (first, last) = (block.meta.first, block.meta.last);
        Self { id: block.id, first, last, bytes: block.bytes() }
    }

    /// The window of a length that holds the whole block.
    fn window(&self, length: i64) -> Option<i64> {
        let window = self.first.div_euclid(length);
        (window == self.last.div_euclid(length)).then_some(window)
    }
}

/// Which blocks are to become one, if any. `span` is the length of the smallest blocks, `span_max`
/// the bound of the largest; a window is complete when it ends before `complete`.
pub(crate) fn plan(blocks: &[Extent], span: i64, span_max: i64, complete: i64) -> Option<Vec<u64>> {
    let mut length = span.max(1).saturating_mul(GROWTH);
    while length <= span_max {
        let end = |window: i64| window.saturating_add(1).saturating_mul(length);
        let windows: BTreeSet<i64> =
            blocks.iter().filter_map(|block| block.window(length)).collect();
        for window in windows.into_iter().filter(|window| end(*window) <= complete) {
            let within = blocks.iter().filter(|block| block.window(length) == Some(window));
            let ids: Vec<u64> = within.map(|block| block.id).collect();
            if ids.len() > 1 {
                return Some(ids);
            }
        }
        length = length.saturating_mul(GROWTH);
    }
    let largest = length / GROWTH;
    let is_odd = |block: &&Extent| block.window(largest).is_none() && block.bytes <= ODD_BYTES_MAX;
    let odd: Vec<u64> = blocks.iter().filter(is_odd).map(|block| block.id).collect();
    (odd.len() >= ODD_BLOCKS_MAX).then_some(odd)
}

/// Which blocks retention deletes: those whose newest sample is before the horizon, and while all
/// together are larger than `bytes_max` (0: no bound) the oldest. The block that says up to where
/// the write-ahead log is in blocks, `newest_cut`, goes by time only.
pub(crate) fn expired(
    blocks: &[Extent],
    horizon: i64,
    bytes_max: u64,
    newest_cut: Option<u64>,
) -> Vec<u64> {
    let (gone, mut kept): (Vec<Extent>, Vec<Extent>) =
        blocks.iter().partition(|block| block.last < horizon);
    let mut gone: Vec<u64> = gone.iter().map(|block| block.id).collect();
    kept.sort_by_key(|block| block.last);
    let mut bytes: u64 = kept.iter().map(|block| block.bytes).sum();
    for block in kept.iter().filter(|block| Some(block.id) != newest_cut) {
        if bytes_max == 0 || bytes <= bytes_max {
            break;
        }
        bytes -= block.bytes;
        gone.push(block.id);
    }
    gone
}

/// Makes one block of several.
pub(crate) fn merge(
    blocks: &Blocks,
    sources: &[Arc<Block>],
    stop: &AtomicBool,
) -> Result<(), MaintainError> {
    let (id, dir) = blocks.begin();
    match fill(blocks, &dir, sources, stop) {
        Ok(()) => blocks.commit(id, &dir),
        Err(error) => {
            discard(&dir);
            Err(error)
        }
    }
}

fn fill(
    blocks: &Blocks,
    dir: &Path,
    sources: &[Arc<Block>],
    stop: &AtomicBool,
) -> Result<(), MaintainError> {
    let damaged = |block: &Arc<Block>, damage: Damage| {
        blocks.set_aside(block, &damage);
        MaintainError::Damaged { path: damage.path, what: damage.what }
    };
    let failed = |source| MaintainError::Block { path: dir.to_owned(), source };
    let mut texts: Vec<Vec<String>> = Vec::with_capacity(sources.len());
    for block in sources {
        let symbols = block.index(Reading::Once).all_symbols();
        texts.push(symbols.map_err(|damage| damaged(block, damage))?);
    }
    let symbols: BTreeSet<&str> = texts.iter().flatten().map(String::as_str).collect();
    let numbers: HashMap<&str, u32> = symbols.iter().copied().zip(0..).collect();
    let mut inputs = Vec::with_capacity(sources.len());
    for (block, texts) in sources.iter().zip(&texts) {
        let numbers = texts.iter().filter_map(|text| numbers.get(text.as_str()).copied());
        let mut input = Source::new(block, numbers.collect());
        input.advance().map_err(|damage| damaged(block, damage))?;
        inputs.push(input);
    }
    let mut writer = BlockWriter::create(dir, symbols.into_iter()).map_err(failed)?;
    let mut samples = Vec::new();
    while let Some(labels) = inputs.iter().filter_map(Source::labels).min().map(<[_]>::to_vec) {
        if stop.load(Ordering::Relaxed) {
            return Err(MaintainError::Interrupted);
        }
        samples.clear();
        for (input, block) in inputs.iter_mut().zip(sources) {
            if input.labels() == Some(labels.as_slice()) {
                let read = input.take(&mut samples);
                read.map_err(|damage| damaged(block, damage))?;
            }
        }
        in_order(&mut samples);
        writer.add(&labels, &samples).map_err(failed)?;
    }
    let cut = sources.iter().map(|block| block.meta.cut).max().unwrap_or_default();
    let ids = sources.iter().map(|block| block.id).collect();
    writer.finish(cut, ids).map_err(failed)
}

/// The series of a block in their order, with their labels in the numbers of the new block.
struct Source<'a> {
    series: u32,
    next: u32,
    index: IndexReader<'a>,
    samples: SampleReader<'a>,
    numbers: Vec<u32>,
    entry: Entry,
    current: Option<Vec<LabelIds>>,
}

impl<'a> Source<'a> {
    fn new(block: &'a Block, numbers: Vec<u32>) -> Self {
        Self {
            series: block.meta.series,
            next: 0,
            index: block.index(Reading::Once),
            samples: block.samples(Reading::Once),
            numbers,
            entry: Entry::default(),
            current: None,
        }
    }

    fn labels(&self) -> Option<&[LabelIds]> {
        self.current.as_deref()
    }

    /// Appends the samples of the current series and goes on to the next.
    fn take(&mut self, samples: &mut Vec<Sample>) -> Result<(), Damage> {
        self.samples.read(&self.entry, i64::MIN, i64::MAX, samples)?;
        self.advance()
    }

    fn advance(&mut self) -> Result<(), Damage> {
        self.current = None;
        if self.next == self.series {
            return Ok(());
        }
        self.index.entry(self.next, &mut self.entry)?;
        self.next += 1;
        let number = |old: &u32| self.numbers.get(*old as usize).copied().unwrap_or_default();
        let labels = self.entry.labels.iter();
        self.current = Some(labels.map(|(name, value)| (number(name), number(value))).collect());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of spans, numbered from 0.
    fn blocks(spans: &[(i64, i64)]) -> Vec<Extent> {
        let extent = |(id, (first, last)): (u64, &(i64, i64))| Extent {
            id,
            first: *first,
            last: *last,
            bytes: 10,
        };
        (0..).zip(spans).map(extent).collect()
    }

    fn check(spans: &[(i64, i64)], complete: i64, planned: Option<&[u64]>) {
        assert_eq!(plan(&blocks(spans), 2, 20, complete).as_deref(), planned, "{spans:?}");
    }

    #[test]
    fn three_neighbours_in_a_complete_window_become_one() {
        check(&[(0, 1), (2, 3), (4, 5)], 6, Some(&[0, 1, 2]));
        check(&[(0, 1), (2, 3), (4, 5)], 5, None);
        check(&[(0, 1), (2, 3), (6, 7)], 8, Some(&[0, 1]));
        check(&[(0, 1), (6, 7), (12, 13)], 14, None);
        check(&[(0, 5), (6, 11), (12, 17)], 18, Some(&[0, 1, 2]));
        check(&[(0, 17), (18, 35), (36, 53)], 54, None);
        check(&[], 10, None);
    }

    #[test]
    fn what_came_very_late_is_collected() {
        check(&[(0, 40), (1, 41), (2, 60)], 99, None);
        check(&[(0, 40), (1, 41), (2, 60), (17, 18)], 99, Some(&[0, 1, 2, 3]));
    }

    #[test]
    fn retention_deletes_by_time_and_then_by_size() {
        let all = blocks(&[(0, 9), (10, 19), (20, 29), (30, 39)]);
        assert_eq!(expired(&all, 10, 0, None), [0]);
        assert_eq!(expired(&all, 9, 0, None), [] as [u64; 0]);
        assert_eq!(expired(&all, 10, 20, None), [0, 1]);
        assert_eq!(expired(&all, 0, 15, Some(0)), [1, 2, 3]);
        assert_eq!(expired(&all, 100, 15, Some(3)), [0, 1, 2, 3]);
    }
}
