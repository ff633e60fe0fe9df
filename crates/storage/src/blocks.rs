//! The blocks of a store: which there are, and how one comes and goes without a moment at which a
//! dying process would leave a sample nowhere, or count it twice.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use model::Labels;
use parking_lot::{Mutex, RwLock};

use crate::block::Block;
use crate::block_index::Entry;
use crate::block_meta::Cut;
use crate::error::MaintainError;
use crate::page::{Damage, PageCache, Reading};
use crate::samples::Past;
use crate::stats::{BlockFault, BlockStats};
use crate::step::step;

// A folder is a block when its name is a number. Others of these names are on their way in or out.
const UNFINISHED: &str = "unfinished";
const DELETED: &str = "deleted";
const DAMAGED: &str = "damaged";

/// All open blocks.
#[derive(Debug)]
pub(crate) struct Blocks {
    dir: PathBuf,
    cache: Arc<PageCache>,
    open: RwLock<Arc<Vec<Arc<Block>>>>,
    /// No block has a sample at or after this millisecond.
    floor: AtomicI64,
    next_id: AtomicU64,
    pub(crate) counts: Counts,
    faults: Mutex<Vec<BlockFault>>,
}

/// What happened since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) cut: AtomicU64,
    pub(crate) compacted: AtomicU64,
    pub(crate) deleted: AtomicU64,
    pub(crate) failed: AtomicU64,
    damaged: AtomicU64,
}

impl Blocks {
    /// Opens the blocks of a directory, which is made when it is missing. What a dying process left
    /// half done is undone or brought to its end; a damaged block is set aside.
    pub(crate) fn open(dir: PathBuf, cache_bytes_max: usize) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        let blocks = Self {
            dir,
            cache: Arc::new(PageCache::new(cache_bytes_max)),
            open: RwLock::default(),
            floor: AtomicI64::new(i64::MIN),
            next_id: AtomicU64::new(1),
            counts: Counts::default(),
            faults: Mutex::default(),
        };
        let mut found = Vec::new();
        for entry in fs::read_dir(&blocks.dir)? {
            let path = entry?.path();
            let Some((id, state)) = parse_name(&path) else { continue };
            blocks.next_id.fetch_max(id + 1, Ordering::Relaxed);
            match state {
                "" => match Block::open(id, &path, &blocks.cache) {
                    Ok(block) => found.push(Arc::new(block)),
                    Err(damage) => blocks.put_away(&path, &damage),
                },
                UNFINISHED | DELETED => fs::remove_dir_all(&path)?,
                _ => {}
            }
        }
        let replaced: BTreeSet<u64> =
            found.iter().flat_map(|block| block.meta.replaces.iter().copied()).collect();
        for block in found.extract_if(.., |block| replaced.contains(&block.id)) {
            blocks.remove(&block.dir)?;
        }
        blocks.change(|open| *open = found);
        Ok(blocks)
    }

    /// All blocks, oldest first.
    pub(crate) fn all(&self) -> Arc<Vec<Arc<Block>>> {
        Arc::clone(&self.open.read())
    }

    /// The blocks that may have samples in the span, oldest first.
    pub(crate) fn within(&self, start: i64, end: i64) -> Vec<Arc<Block>> {
        if start >= self.floor() {
            return Vec::new();
        }
        self.open.read().iter().filter(|block| block.overlaps(start, end)).cloned().collect()
    }

    /// No block has a sample at or after this millisecond.
    pub(crate) fn floor(&self) -> i64 {
        self.floor.load(Ordering::Acquire)
    }

    /// Up to where the write-ahead log is in blocks.
    pub(crate) fn cut(&self) -> Option<Cut> {
        self.open.read().iter().map(|block| block.meta.cut).max()
    }

    /// What the blocks know of a series: its newest sample, and those in a span.
    pub(crate) fn past(&self, labels: &Labels, first: i64, last: i64) -> Past {
        let mut past = Past::default();
        if first >= self.floor() {
            return past;
        }
        for block in self.all().iter().filter(|block| block.meta.last >= first) {
            if let Err(damage) = look_up(block, labels, (first, last), &mut past) {
                self.set_aside(block, &damage);
            }
        }
        past.samples.sort_by_key(|sample| sample.timestamp);
        past
    }

    /// A number for the next block, and the folder to write it in.
    pub(crate) fn begin(&self) -> (u64, PathBuf) {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        (id, self.dir.join(format!("{id:010}.{UNFINISHED}")))
    }

    /// Takes a block in whose folder everything is on disk, and lets go of those that it replaces.
    /// The renaming decides: before it the block is not there, after it the others are not.
    pub(crate) fn commit(&self, id: u64, unfinished: &Path) -> Result<(), MaintainError> {
        let path = self.dir.join(format!("{id:010}"));
        let failed = |source| MaintainError::Block { path: path.clone(), source };
        fs::rename(unfinished, &path).map_err(failed)?;
        step("block renamed");
        self.sync().map_err(failed)?;
        step("renaming on disk");
        let block = Block::open(id, &path, &self.cache)
            .map_err(|damage| failed(io::Error::other(damage)))?;
        let replaced = self.change(|open| {
            let replaced: Vec<_> =
                open.extract_if(.., |old| block.meta.replaces.contains(&old.id)).collect();
            open.push(Arc::new(block));
            replaced
        });
        for old in replaced {
            self.remove(&old.dir)
                .map_err(|source| MaintainError::Block { path: old.dir.clone(), source })?;
        }
        Ok(())
    }

    /// Deletes a block. Who reads it at the moment can read on.
    pub(crate) fn delete(&self, block: &Block) -> Result<(), MaintainError> {
        self.leave_out(block);
        self.counts.deleted.fetch_add(1, Ordering::Relaxed);
        self.remove(&block.dir)
            .map_err(|source| MaintainError::Block { path: block.dir.clone(), source })
    }

    /// Puts a block away in which damage has shown, so that it fails one question and not all.
    pub(crate) fn set_aside(&self, block: &Block, damage: &Damage) {
        if self.leave_out(block) {
            self.put_away(&block.dir, damage);
        }
    }

    pub(crate) fn stats(&self) -> BlockStats {
        let all = self.all();
        let cache = self.cache.figures();
        BlockStats {
            blocks: all.len(),
            bytes: all.iter().map(|block| block.bytes()).sum(),
            samples: all.iter().map(|block| block.meta.samples).sum(),
            cut_total: self.counts.cut.load(Ordering::Relaxed),
            compacted_total: self.counts.compacted.load(Ordering::Relaxed),
            deleted_total: self.counts.deleted.load(Ordering::Relaxed),
            failed_total: self.counts.failed.load(Ordering::Relaxed),
            damaged_total: self.counts.damaged.load(Ordering::Relaxed),
            cache_bytes: cache.bytes,
            cache_hits_total: cache.hits,
            cache_misses_total: cache.misses,
            faults: self.faults.lock().clone(),
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Vec<Arc<Block>>) -> T) -> T {
        let mut open = self.open.write();
        let mut blocks = open.to_vec();
        let changed = change(&mut blocks);
        blocks.sort_by_key(|block| (block.meta.first, block.id));
        let floor = blocks.iter().map(|block| block.meta.last.saturating_add(1)).max();
        let floor = floor.unwrap_or(i64::MIN);
        // Who asks for the floor without the lock may find it too high, never too low.
        self.floor.fetch_max(floor, Ordering::Release);
        *open = Arc::new(blocks);
        self.floor.store(floor, Ordering::Release);
        changed
    }

    /// Whether the block was there.
    fn leave_out(&self, block: &Block) -> bool {
        self.change(|open| open.extract_if(.., |other| other.id == block.id).count() > 0)
    }

    fn put_away(&self, path: &Path, damage: &Damage) {
        let aside = path.with_extension(DAMAGED);
        tracing::error!(
            block.path = %path.display(),
            "{damage}; the block is set aside as {}: its samples are missing until it is restored, \
             docs/recover.md says how",
            aside.display(),
        );
        self.counts.damaged.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = fs::rename(path, &aside) {
            tracing::error!(block.path = %path.display(), %error, "cannot rename the damaged block");
        }
        self.faults.lock().push(BlockFault { path: aside, reason: damage.to_string() });
    }

    /// Deleting a folder is many steps; under another name it is no block from the first one on.
    fn remove(&self, path: &Path) -> io::Result<()> {
        let gone = path.with_extension(DELETED);
        fs::rename(path, &gone)?;
        step("block taken out");
        self.sync()?;
        fs::remove_dir_all(&gone)?;
        step("block deleted");
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}

fn look_up(
    block: &Block,
    labels: &Labels,
    (first, last): (i64, i64),
    past: &mut Past,
) -> Result<(), Damage> {
    let mut index = block.index(Reading::Again);
    let Some(id) = index.find(labels)? else { return Ok(()) };
    let mut entry = Entry::default();
    index.entry(id, &mut entry)?;
    past.newest = past.newest.max(entry.chunks.last().map(|chunk| chunk.last));
    block.samples(Reading::Again).read(&entry, first, last, &mut past.samples)
}

/// Number and state of a folder: `0000000001` is a block, `0000000001.deleted` is not.
fn parse_name(path: &Path) -> Option<(u64, &str)> {
    let name = path.file_name()?.to_str()?;
    let (number, state) = name.split_once('.').unwrap_or((name, ""));
    Some((number.parse().ok()?, state))
}
