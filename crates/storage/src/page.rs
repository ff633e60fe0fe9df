//! Files that are written once and read in pages: every page has a checksum, and pages that were
//! read are kept in a cache of bounded size. The workspace has no unsafe code, so there is no mmap.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use thiserror::Error;

/// Large enough that the samples of a series in a block are mostly in one, small enough that a
/// single chunk does not cost much.
pub(crate) const PAGE_BYTES: usize = 16 << 10;

// Pages that had to go while somebody was reading them cannot be used again; there are few.
const VACANT_MAX: usize = 16;

/// A file does not hold what was once written to it.
#[derive(Debug, Clone, Error)]
#[error("{path} is damaged: {what}")]
pub(crate) struct Damage {
    pub(crate) path: PathBuf,
    pub(crate) what: String,
}

impl Damage {
    pub(crate) fn new(path: &Path, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), what: what.into() }
    }
}

/// Length and checksums of a file, which stand in another one.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Pages {
    pub(crate) bytes: u64,
    pub(crate) checksums: Vec<u32>,
}

/// Writes a file from its beginning to its end.
#[derive(Debug)]
pub(crate) struct PageWriter {
    file: File,
    page: Vec<u8>,
    pages: Pages,
}

impl PageWriter {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = File::create_new(path)?;
        Ok(Self { file, page: Vec::with_capacity(PAGE_BYTES), pages: Pages::default() })
    }

    /// Where the next byte goes.
    pub(crate) fn position(&self) -> u64 {
        self.pages.bytes
    }

    pub(crate) fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.pages.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = PAGE_BYTES - self.page.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.page.extend_from_slice(now);
            bytes = later;
            if self.page.len() == PAGE_BYTES {
                self.write_page()?;
            }
        }
        Ok(())
    }

    /// Ends the file and waits until it is on disk.
    pub(crate) fn finish(mut self) -> io::Result<Pages> {
        if !self.page.is_empty() {
            self.write_page()?;
        }
        self.file.sync_all()?;
        Ok(self.pages)
    }

    fn write_page(&mut self) -> io::Result<()> {
        self.file.write_all(&self.page)?;
        self.pages.checksums.push(crc32fast::hash(&self.page));
        self.page.clear();
        Ok(())
    }
}

/// A file to be read. Opened once, so that it can be read on when it has been deleted meanwhile.
#[derive(Debug)]
pub(crate) struct PageFile {
    path: PathBuf,
    file: File,
    id: u64,
    pages: Pages,
    cache: Arc<PageCache>,
}

impl PageFile {
    /// Fails when the file is missing or has another length; its content is checked as it is read.
    pub(crate) fn open(path: &Path, pages: Pages, cache: &Arc<PageCache>) -> Result<Self, Damage> {
        let damage = |error: io::Error| Damage::new(path, error.to_string());
        let file = File::open(path).map_err(damage)?;
        let bytes = file.metadata().map_err(damage)?.len();
        if bytes != pages.bytes {
            let what = format!("it has {bytes} bytes and should have {}", pages.bytes);
            return Err(Damage::new(path, what));
        }
        let id = cache.files.fetch_add(1, Ordering::Relaxed);
        Ok(Self { path: path.to_owned(), file, id, pages, cache: Arc::clone(cache) })
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.pages.bytes
    }

    /// What is to be said of content that passed its checksum and makes no sense.
    pub(crate) fn nonsense(&self, what: &str) -> Damage {
        Damage::new(&self.path, what)
    }

    fn page(&self, number: usize, reading: Reading) -> Result<Arc<[u8]>, Damage> {
        if let Some(page) = self.cache.get((self.id, number)) {
            return Ok(page);
        }
        let Some(checksum) = self.pages.checksums.get(number) else {
            return Err(self.nonsense("it refers to bytes beyond its end"));
        };
        let start = number as u64 * PAGE_BYTES as u64;
        let length = (self.pages.bytes - start).min(PAGE_BYTES as u64) as usize;
        let mut page = self.cache.room(length);
        let room = Arc::get_mut(&mut page).expect("nobody has seen it yet");
        self.file
            .read_exact_at(room, start)
            .map_err(|error| self.nonsense(&format!("byte {start} cannot be read: {error}")))?;
        if crc32fast::hash(&page) != *checksum {
            let what = format!("the checksum of the {length} bytes from {start} on differs");
            return Err(self.nonsense(&what));
        }
        if reading == Reading::Again {
            self.cache.put((self.id, number), Arc::clone(&page));
        }
        Ok(page)
    }
}

/// What a reader expects of the pages that it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Somebody will ask for them again.
    Again,
    /// They are read one after the other, and the file is deleted afterwards.
    Once,
}

/// Reads a file here and there; holds the page it read last, so that neighbours cost no look-up.
#[derive(Debug)]
pub(crate) struct PageReader<'a> {
    file: &'a PageFile,
    reading: Reading,
    current: Option<(usize, Arc<[u8]>)>,
}

impl<'a> PageReader<'a> {
    pub(crate) fn new(file: &'a PageFile, reading: Reading) -> Self {
        Self { file, reading, current: None }
    }

    pub(crate) fn file(&self) -> &'a PageFile {
        self.file
    }

    /// Replaces what is in `out` by `length` bytes of the file.
    pub(crate) fn read(
        &mut self,
        start: u64,
        length: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Damage> {
        out.clear();
        let end = start.checked_add(length as u64).filter(|end| *end <= self.file.bytes());
        let end = end.ok_or_else(|| self.file.nonsense("it refers to bytes beyond its end"))?;
        let mut at = start;
        while at < end {
            let number = (at / PAGE_BYTES as u64) as usize;
            let page = match &self.current {
                Some((current, page)) if *current == number => page,
                _ => &self.current.insert((number, self.file.page(number, self.reading)?)).1,
            };
            let from = (at % PAGE_BYTES as u64) as usize;
            let to = page.len().min(from + (end - at) as usize);
            out.extend_from_slice(page.get(from..to).unwrap_or_default());
            at += (to - from) as u64;
        }
        Ok(())
    }
}

type Key = (u64, usize);

/// Pages that were read, up to a number of bytes. A page that was used since its turn came the last
/// time gets another turn.
#[derive(Debug)]
pub(crate) struct PageCache {
    bytes_max: usize,
    files: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    pages: HashMap<Key, Cached>,
    turns: VecDeque<Key>,
    bytes: usize,
    /// The room of pages that had to go, for those that come: pages that come and go among small
    /// things that stay would tear memory to pieces.
    vacant: Vec<Arc<[u8]>>,
}

#[derive(Debug)]
struct Cached {
    page: Arc<[u8]>,
    used: bool,
}

/// A cache in figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CacheFigures {
    pub(crate) bytes: usize,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
}

impl PageCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            files: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            kept: Mutex::default(),
        }
    }

    pub(crate) fn figures(&self) -> CacheFigures {
        CacheFigures {
            bytes: self.kept.lock().bytes,
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
        }
    }

    /// Room for a page that nobody else holds.
    fn room(&self, length: usize) -> Arc<[u8]> {
        let vacant = (length == PAGE_BYTES).then(|| self.kept.lock().vacant.pop()).flatten();
        vacant.unwrap_or_else(|| std::iter::repeat_n(0, length).collect())
    }

    fn get(&self, key: Key) -> Option<Arc<[u8]>> {
        let mut kept = self.kept.lock();
        let Some(cached) = kept.pages.get_mut(&key) else {
            self.misses.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        cached.used = true;
        self.hits.fetch_add(1, Ordering::Relaxed);
        Some(Arc::clone(&cached.page))
    }

    fn put(&self, key: Key, page: Arc<[u8]>) {
        let mut kept = self.kept.lock();
        let bytes = page.len();
        if kept.pages.insert(key, Cached { page, used: false }).is_some() {
            // Two readers missed it at the same time.
            return;
        }
        kept.bytes += bytes;
        kept.turns.push_back(key);
        while kept.bytes > self.bytes_max {
            let Some(key) = kept.turns.pop_front() else { return };
            match kept.pages.get_mut(&key) {
                Some(cached) if cached.used => {
                    cached.used = false;
                    kept.turns.push_back(key);
                }
                _ => {
                    let Some(Cached { mut page, .. }) = kept.pages.remove(&key) else { continue };
                    kept.bytes -= page.len();
                    let is_free = page.len() == PAGE_BYTES && Arc::get_mut(&mut page).is_some();
                    if is_free && kept.vacant.len() < VACANT_MAX {
                        kept.vacant.push(page);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn written(bytes: &[u8], pieces: usize) -> (tempfile::TempDir, PathBuf, Pages) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mut writer = PageWriter::create(&path).unwrap();
        bytes.chunks(pieces.max(1)).for_each(|piece| writer.put(piece).unwrap());
        let pages = writer.finish().unwrap();
        (dir, path, pages)
    }

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at * 31 % 251) as u8).collect()
    }

    #[test]
    fn the_cache_stays_within_its_bytes_and_keeps_what_is_used() {
        let all = bytes(10 * PAGE_BYTES);
        let (_dir, path, pages) = written(&all, 1 << 20);
        let cache = Arc::new(PageCache::new(3 * PAGE_BYTES));
        let file = PageFile::open(&path, pages, &cache).unwrap();
        for number in [0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0] {
            file.page(number, Reading::Again).unwrap();
            assert!(cache.figures().bytes <= 3 * PAGE_BYTES);
        }
        assert_eq!((cache.figures().hits, cache.figures().misses), (6, 7));
    }

    #[test]
    fn a_changed_byte_is_noticed_in_its_page_and_another_length_at_once() {
        let all = bytes(3 * PAGE_BYTES + 5);
        let (_dir, path, pages) = written(&all, 1000);
        let mut changed = all.clone();
        changed[PAGE_BYTES + 7] ^= 1;
        fs::write(&path, &changed).unwrap();
        let cache = Arc::new(PageCache::new(0));
        let file = PageFile::open(&path, pages.clone(), &cache).unwrap();
        let mut out = Vec::new();
        PageReader::new(&file, Reading::Again).read(0, PAGE_BYTES, &mut out).unwrap();
        let error = PageReader::new(&file, Reading::Again)
            .read(PAGE_BYTES as u64 - 1, 2, &mut out)
            .unwrap_err();
        assert!(
            error.to_string().contains("the checksum of the 16384 bytes from 16384 on differs"),
            "{error}"
        );
        fs::write(&path, &all[1..]).unwrap();
        let error = PageFile::open(&path, pages, &cache).unwrap_err();
        assert!(error.to_string().ends_with("it has 49156 bytes and should have 49157"), "{error}");
    }

    #[test]
    fn what_is_read_once_takes_no_room_in_the_cache() {
        let (_dir, path, pages) = written(&bytes(3 * PAGE_BYTES), 1 << 20);
        let cache = Arc::new(PageCache::new(1 << 20));
        let file = PageFile::open(&path, pages, &cache).unwrap();
        let mut out = Vec::new();
        PageReader::new(&file, Reading::Once).read(0, 3 * PAGE_BYTES, &mut out).unwrap();
        assert_eq!((out.len(), cache.figures().bytes), (3 * PAGE_BYTES, 0));
    }

    #[test]
    fn bytes_beyond_the_end_are_damage_and_not_a_panic() {
        let (_dir, path, pages) = written(&bytes(100), 100);
        let file = PageFile::open(&path, pages, &Arc::new(PageCache::new(0))).unwrap();
        for (start, length) in [(101, 0), (100, 1), (0, 101), (u64::MAX, 2)] {
            PageReader::new(&file, Reading::Again)
                .read(start, length, &mut Vec::new())
                .unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn any_span_reads_as_it_was_written(length in 0usize..70_000, pieces in 1usize..40_000, from: prop::sample::Index, to: prop::sample::Index) {
            let all = bytes(length);
            let (_dir, path, pages) = written(&all, pieces);
            let file = PageFile::open(&path, pages, &Arc::new(PageCache::new(40_000))).unwrap();
            let (a, b) = (from.index(length + 1), to.index(length + 1));
            let (from, to) = (a.min(b), a.max(b));
            let mut out = Vec::new();
            PageReader::new(&file, Reading::Again).read(from as u64, to - from, &mut out).unwrap();
            prop_assert_eq!(&out, &all[from..to]);
        }
    }
}
