//! Reading head and blocks as one. What the head alone can answer costs nothing more.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use model::{Labels, Sample, Selection, Series, Timestamp};
use promql::Hint;

use crate::block::Block;
use crate::block_index::{Entry, IndexReader};
use crate::blocks::Blocks;
use crate::cut::in_order;
use crate::head::Head;
use crate::looks;
use crate::natives::Natives;
use crate::page::{Damage, Reading};
use crate::query::{Stop, at_most};

/// Where samples are: the newest in the head, the others in blocks.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) head: Head,
    pub(crate) blocks: Option<Blocks>,
    /// Only a store in memory has any.
    pub(crate) natives: Natives,
}

impl Store {
    /// Whether the head alone answers a selection.
    pub(crate) fn is_recent(&self, selection: &Selection) -> bool {
        self.blocks.as_ref().is_none_or(|blocks| selection.start.millis() >= blocks.floor())
    }

    /// The series of a selection that have a sample in its span, at most `samples_max` samples.
    /// With `hints`, samples that none of these uses looks at may be left out. `cancelled` is asked
    /// before every series.
    pub(crate) fn select(
        &self,
        selection: &Selection,
        hints: &[Hint],
        samples_max: usize,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Vec<Series>, Stop> {
        // The head first: what leaves it meanwhile is in the blocks by then.
        let recent = self.head.select(selection, hints, samples_max, cancelled)?;
        let older = self.older(selection.start, selection.end);
        if older.is_empty() {
            return Ok(recent);
        }
        let read = recent.iter().map(|series| series.samples.len()).sum::<usize>();
        let mut gathered = Gathered { left: samples_max - read, ..Gathered::default() };
        for block in older {
            gathered.read(&block, selection, hints, cancelled).map_err(|stop| match stop {
                BlockStop::Stop(stop) => stop,
                BlockStop::Damage(damage) => self.damaged(&block, &damage),
            })?;
        }
        for series in recent {
            gathered.add(series.labels, &series.samples);
        }
        let mut found = gathered.series;
        found.iter_mut().for_each(|series| in_order(&mut series.samples));
        Ok(found)
    }

    /// The label sets of all selections together, sorted.
    pub(crate) fn series(
        &self,
        selections: &[Selection],
        limit: usize,
    ) -> Result<Vec<Labels>, Stop> {
        let mut found: BTreeSet<Labels> = self.head.series(selections, 0).into_iter().collect();
        for selection in selections {
            self.each_old(selection, selection.start, selection.end, |index, entries| {
                for entry in entries {
                    found.insert(index.labels(&entry.labels)?);
                }
                Ok(())
            })?;
        }
        Ok(found.into_iter().take(at_most(limit)).collect())
    }

    /// Label names, sorted. Without selections: of all series, whatever the span.
    pub(crate) fn label_names(
        &self,
        selections: &[Selection],
        span: (Timestamp, Timestamp),
        limit: usize,
    ) -> Result<Vec<String>, Stop> {
        let recent = self.head.label_names(selections, span, 0);
        let mut names: BTreeSet<String> = recent.into_iter().collect();
        if selections.is_empty() {
            self.each_block(|index| {
                names.extend(index.label_names()?.iter().map(|name| name.to_string()));
                Ok(())
            })?;
        }
        for selection in selections {
            self.each_old(selection, span.0, span.1, |index, entries| {
                let labels = entries.iter().flat_map(|entry| &entry.labels);
                let ids: HashSet<u32> = labels.map(|(name, _)| *name).collect();
                names.extend(index.texts(ids)?);
                Ok(())
            })?;
        }
        Ok(names.into_iter().take(at_most(limit)).collect())
    }

    /// Values of a label, sorted. Without selections: of all series, whatever the span.
    pub(crate) fn label_values(
        &self,
        name: &str,
        selections: &[Selection],
        span: (Timestamp, Timestamp),
        limit: usize,
    ) -> Result<Vec<String>, Stop> {
        let recent = self.head.label_values(name, selections, span, 0);
        let mut values: BTreeSet<String> = recent.into_iter().collect();
        if selections.is_empty() {
            self.each_block(|index| {
                values.extend(index.label_values(name)?.iter().map(|value| value.to_string()));
                Ok(())
            })?;
        }
        for selection in selections {
            self.each_old(selection, span.0, span.1, |index, entries| {
                let Some(wanted) = index.find_symbol(name)? else { return Ok(()) };
                let labels = entries.iter().flat_map(|entry| &entry.labels);
                let ids: HashSet<u32> =
                    labels.filter(|(name, _)| *name == wanted).map(|(_, value)| *value).collect();
                values.extend(index.texts(ids)?);
                Ok(())
            })?;
        }
        Ok(values.into_iter().take(at_most(limit)).collect())
    }

    fn older(&self, start: Timestamp, end: Timestamp) -> Vec<Arc<Block>> {
        let within = |blocks: &Blocks| blocks.within(start.millis(), end.millis());
        self.blocks.as_ref().map(within).unwrap_or_default()
    }

    fn damaged(&self, block: &Block, damage: &Damage) -> Stop {
        if let Some(blocks) = &self.blocks {
            blocks.set_aside(block, damage);
        }
        Stop::Damaged(damage.to_string())
    }

    /// Asks every block.
    fn each_block(
        &self,
        mut ask: impl FnMut(&mut IndexReader<'_>) -> Result<(), Damage>,
    ) -> Result<(), Stop> {
        for block in self.older(Timestamp::MIN, Timestamp::MAX) {
            ask(&mut block.index(Reading::Again))
                .map_err(|damage| self.damaged(&block, &damage))?;
        }
        Ok(())
    }

    /// Hands over the series of every block that match and have a chunk in both the selection's span
    /// and the given one.
    fn each_old(
        &self,
        selection: &Selection,
        start: Timestamp,
        end: Timestamp,
        mut take: impl FnMut(&mut IndexReader<'_>, &[Entry]) -> Result<(), Damage>,
    ) -> Result<(), Stop> {
        let (start, end) = (selection.start.max(start), selection.end.min(end));
        if start > end {
            return Ok(());
        }
        for block in self.older(start, end) {
            let mut index = block.index(Reading::Again);
            let entries = present(&mut index, selection, start.millis(), end.millis());
            entries
                .and_then(|entries| take(&mut index, &entries))
                .map_err(|damage| self.damaged(&block, &damage))?;
        }
        Ok(())
    }
}

fn present(
    index: &mut IndexReader<'_>,
    selection: &Selection,
    start: i64,
    end: i64,
) -> Result<Vec<Entry>, Damage> {
    let mut entries = Vec::new();
    for id in index.resolve(&selection.matchers)? {
        let mut entry = Entry::default();
        index.entry(id, &mut entry)?;
        if !entry.chunks_within(start, end).is_empty() {
            entry.chunks = Vec::new();
            entries.push(entry);
        }
    }
    Ok(entries)
}

/// Why a block was not read to its end.
enum BlockStop {
    Stop(Stop),
    Damage(Damage),
}

impl From<Damage> for BlockStop {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

/// Series that come in pieces, oldest piece first.
#[derive(Default)]
struct Gathered {
    series: Vec<Series>,
    places: HashMap<Labels, usize>,
    left: usize,
}

impl Gathered {
    fn read(
        &mut self,
        block: &Block,
        selection: &Selection,
        hints: &[Hint],
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(), BlockStop> {
        let (start, end) = (selection.start.millis(), selection.end.millis());
        let (mut index, mut reader) = (block.index(Reading::Again), block.samples(Reading::Again));
        let (mut entry, mut samples) = (Entry::default(), Vec::new());
        for id in index.resolve(&selection.matchers)? {
            if cancelled() {
                return Err(BlockStop::Stop(Stop::Cancelled));
            }
            index.entry(id, &mut entry)?;
            samples.clear();
            reader.read(&entry, start, end, &mut samples)?;
            let seen = looks::seen(&samples, hints);
            let left = self.left.checked_sub(seen.len());
            self.left = left.ok_or(BlockStop::Stop(Stop::TooManySamples))?;
            if !seen.is_empty() {
                self.add(index.labels(&entry.labels)?, &seen);
            }
        }
        Ok(())
    }

    fn add(&mut self, labels: Labels, samples: &[Sample]) {
        let place = self.places.get(&labels).copied();
        match place.and_then(|place| self.series.get_mut(place)) {
            Some(series) => series.samples.extend_from_slice(samples),
            None => {
                self.places.insert(labels.clone(), self.series.len());
                self.series.push(Series { labels, samples: samples.to_vec() });
            }
        }
    }
}
