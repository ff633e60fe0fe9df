//! From the head into a block: what is old enough leaves memory.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::Sample;

use crate::block_meta::Cut;
use crate::block_write::{BlockWriter, LabelIds};
use crate::blocks::Blocks;
use crate::chunk::Chunk;
use crate::error::MaintainError;
use crate::registry::HeadSeries;

/// Chunks of one series that are to leave the head.
#[derive(Debug)]
pub(crate) struct Leaving {
    pub(crate) series: Arc<HeadSeries>,
    pub(crate) chunks: Vec<Chunk>,
}

/// Where the next cut lies: at a multiple of `span`, behind everything that may still come late.
/// `newest` is the newest sample in memory: a clock that runs ahead must not cut what is being
/// written, nor one that is behind what it has not come to.
pub(crate) fn next_cut(now: i64, newest: i64, window: i64, span: i64) -> i64 {
    let safe = now.min(newest).saturating_sub(window);
    safe.saturating_sub(safe.rem_euclid(span.max(1)))
}

/// Writes a block of what leaves the head, which is something.
pub(crate) fn write_block(
    blocks: &Blocks,
    leaving: &[Leaving],
    cut: Cut,
    stop: &AtomicBool,
) -> Result<(), MaintainError> {
    let (id, dir) = blocks.begin();
    match fill(&dir, leaving, cut, stop) {
        Ok(()) => blocks.commit(id, &dir),
        Err(error) => {
            discard(&dir);
            Err(error)
        }
    }
}

/// Removes a folder that will not become a block. What cannot be removed is removed at the next
/// start.
pub(crate) fn discard(dir: &Path) {
    if let Err(error) = std::fs::remove_dir_all(dir) {
        tracing::warn!(block.path = %dir.display(), %error, "cannot remove an unfinished block");
    }
}

fn fill(dir: &Path, leaving: &[Leaving], cut: Cut, stop: &AtomicBool) -> Result<(), MaintainError> {
    let failed = |source| MaintainError::Block { path: dir.to_owned(), source };
    let texts = || leaving.iter().flat_map(|one| one.series.labels.iter());
    let mut symbols: Vec<&str> = texts().flat_map(|(name, value)| [name, value]).collect();
    symbols.sort_unstable();
    symbols.dedup();
    let number = |text: &str| symbols.binary_search(&text).unwrap_or_default() as u32;
    let mut order: Vec<(Vec<LabelIds>, &Leaving)> = leaving
        .iter()
        .map(|one| {
            let labels = one.series.labels.iter();
            (labels.map(|(name, value)| (number(name), number(value))).collect(), one)
        })
        .collect();
    order.sort_unstable_by(|left, right| left.0.cmp(&right.0));
    let mut writer = BlockWriter::create(dir, symbols.iter().copied()).map_err(failed)?;
    let mut samples = Vec::new();
    for (labels, one) in order {
        if stop.load(Ordering::Relaxed) {
            return Err(MaintainError::Interrupted);
        }
        samples.clear();
        one.chunks.iter().for_each(|chunk| samples.extend(chunk.samples()));
        in_order(&mut samples);
        writer.add(&labels, &samples).map_err(failed)?;
    }
    writer.finish(cut, Vec::new()).map_err(failed)
}

/// Sorts samples by time and leaves one a moment, the one that stood first.
pub(crate) fn in_order(samples: &mut Vec<Sample>) {
    if samples.is_sorted_by(|left, right| left.timestamp < right.timestamp) {
        return;
    }
    samples.sort_by_key(|sample| sample.timestamp);
    samples.dedup_by_key(|sample| sample.timestamp);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_lies_behind_the_window_at_a_multiple_of_the_span() {
        let cut = |now, newest| next_cut(now, newest, 10, 20);
        assert_eq!(cut(109, 200), 80);
        assert_eq!(cut(110, 200), 100);
        assert_eq!(cut(129, 129), 100);
        assert_eq!(cut(130, 130), 120);
    }

    #[test]
    fn neither_a_clock_nor_a_sample_that_is_ahead_moves_the_cut() {
        assert_eq!(next_cut(i64::MAX, 110, 10, 20), 100);
        assert_eq!(next_cut(110, i64::MAX, 10, 20), 100);
        assert!(next_cut(110, i64::MIN, 10, 20) < -1 << 60);
    }
}
