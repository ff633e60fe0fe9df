//! The write-ahead log: numbered segments, appended to one after another.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{Metadata, Series, Timestamp};

use crate::block_meta::Cut;
use crate::config::LocalConfig;
use crate::error::{MaintainError, WriteError};
use crate::frame::{self, FRAME_HEADER_BYTES, RECORD_BYTES_MAX, SEGMENT_HEADER};
use crate::index::SeriesId;
use crate::record::Encoder;
use crate::retention::{FinishedSegment, take_served};
use crate::step::step;

// The names of metrics that a new segment repeats are spread over records of this many.
const METADATA_PER_RECORD: usize = 1_000;

// A batch far beyond the usual must not hold its memory for good.
const BUFFER_BYTES_KEPT: usize = 8 << 20;

/// The end that is written to.
#[derive(Debug)]
pub(crate) struct Wal {
    dir: PathBuf,
    segment_bytes_max: u64,
    segment_span: std::time::Duration,
    now: Timestamp,
    next_number: u64,
    active: Option<ActiveSegment>,
    finished: Vec<FinishedSegment>,
    unsynced: Vec<Unsynced>,
    encoder: Encoder,
    buffer: Vec<u8>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Closed,
}

#[derive(Debug)]
struct ActiveSegment {
    number: u64,
    path: PathBuf,
    file: Arc<File>,
    bytes: u64,
    newest: Option<i64>,
    batches: u64,
    opened: Timestamp,
    is_dirty: bool,
}

/// A file or directory whose content may not be on disk yet.
#[derive(Debug, Clone)]
pub(crate) struct Unsynced {
    path: PathBuf,
    file: Arc<File>,
}

impl Unsynced {
    /// Waits until the content is on disk.
    pub(crate) fn sync(&self) -> Result<(), MaintainError> {
        self.file
            .sync_data()
            .map_err(|source| MaintainError::Sync { path: self.path.clone(), source })
    }
}

impl Wal {
    /// Goes on after the segments that replay has read. They are never appended to: the next batch
    /// begins a new one, with a number from `next` on.
    pub(crate) fn new(
        config: &LocalConfig,
        dir: PathBuf,
        read: Vec<FinishedSegment>,
        next: u64,
        now: Timestamp,
    ) -> Self {
        Self {
            dir,
            segment_bytes_max: config.segment_bytes_max,
            segment_span: config.segment_span,
            now,
            next_number: next.max(read.last().map_or(1, |segment| segment.number + 1)),
            active: None,
            finished: read,
            unsynced: Vec::new(),
            encoder: Encoder::default(),
            buffer: Vec::new(),
            state: State::Open,
        }
    }

    /// Appends one record and hands it to the operating system. After an error nothing of it
    /// remains. `known` is the metadata that a new segment repeats.
    pub(crate) fn append(
        &mut self,
        series: &[(SeriesId, Series)],
        metadata: &[(String, Metadata)],
        known: impl FnOnce() -> Vec<(String, Metadata)>,
    ) -> Result<(), WriteError> {
        if self.active.as_ref().is_some_and(|active| self.is_complete(active)) {
            self.finish();
        }
        let mut active = match self.active.take() {
            Some(active) => active,
            None => self.begin(&known())?,
        };
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        self.encode(series, metadata);
        let bytes = self.buffer.len() - FRAME_HEADER_BYTES;
        let written = if bytes > RECORD_BYTES_MAX {
            Err(WriteError::TooLarge { bytes, bytes_max: RECORD_BYTES_MAX })
        } else {
            write(&active, &self.buffer)
        };
        if written.is_err() {
            // The encoder has already counted on this record, so the segment cannot be gone on
            // with.
            self.active = Some(active);
            self.finish();
            return written;
        }
        active.bytes += self.buffer.len() as u64;
        let newest = series
            .iter()
            .flat_map(|(_, series)| &series.samples)
            .map(|s| s.timestamp.millis())
            .max();
        active.newest = active.newest.max(newest);
        active.batches += 1;
        active.is_dirty = true;
        self.active = Some(active);
        Ok(())
    }

    /// Forgets series whose ids will be given to others.
    pub(crate) fn forget(&mut self, ids: &[SeriesId]) {
        ids.iter().for_each(|id| self.encoder.forget(*id));
    }

    /// What is to be synced now. The caller does it without holding the log, and returns what
    /// failed.
    pub(crate) fn take_unsynced(&mut self, now: Timestamp) -> Vec<Unsynced> {
        self.now = now;
        let mut files = std::mem::take(&mut self.unsynced);
        if let Some(active) = self.active.as_mut().filter(|active| active.is_dirty) {
            active.is_dirty = false;
            files.push(Unsynced { path: active.path.clone(), file: Arc::clone(&active.file) });
        }
        files
    }

    pub(crate) fn return_unsynced(&mut self, files: Vec<Unsynced>) {
        self.unsynced.extend(files);
    }

    /// Ends the active segment; answers the number of the last one. What is appended from now on
    /// goes into later ones.
    pub(crate) fn rotate(&mut self) -> u64 {
        self.finish();
        self.next_number - 1
    }

    /// Removes segments whose samples have all outlived the retention, or are in blocks.
    pub(crate) fn remove_served(
        &mut self,
        horizon: i64,
        cut: Option<Cut>,
    ) -> Result<(), MaintainError> {
        let mut result = Ok(());
        for segment in take_served(&mut self.finished, self.active.is_some(), horizon, cut) {
            match fs::remove_file(&segment.path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    result = Err(MaintainError::Remove { path: segment.path.clone(), source });
                    self.finished.push(segment);
                }
                _ => step("segment removed"),
            }
        }
        // A segment that could not be removed was put at the end; names ascend with age.
        self.finished.sort_by(|left, right| left.path.cmp(&right.path));
        result
    }

    pub(crate) fn close(&mut self) {
        self.finish();
        self.state = State::Closed;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Number of segments, and bytes of all.
    pub(crate) fn size(&self) -> (usize, u64) {
        let active = self.active.as_ref().map(|active| active.bytes);
        let bytes = self.finished.iter().map(|segment| segment.bytes).chain(active).sum();
        (self.finished.len() + usize::from(active.is_some()), bytes)
    }

    fn is_complete(&self, active: &ActiveSegment) -> bool {
        active.bytes >= self.segment_bytes_max || self.now.since(active.opened) >= self.segment_span
    }

    /// Makes the next segment, with all metadata in it.
    fn begin(&mut self, known: &[(String, Metadata)]) -> Result<ActiveSegment, WriteError> {
        let path = self.dir.join(segment_name(self.next_number));
        let failed = |source| WriteError::Wal { path: path.clone(), source };
        let dir = File::open(&self.dir).map_err(failed)?;
        let file = OpenOptions::new().append(true).create_new(true).open(&path).map_err(failed)?;
        self.next_number += 1;
        self.encoder.reset();
        let mut active = ActiveSegment {
            number: self.next_number - 1,
            path,
            file: Arc::new(file),
            bytes: 0,
            newest: None,
            batches: 0,
            opened: self.now,
            is_dirty: true,
        };
        self.buffer.clear();
        self.buffer.extend_from_slice(SEGMENT_HEADER);
        for some in known.chunks(METADATA_PER_RECORD) {
            self.encode(&[], some);
        }
        if let Err(error) = write(&active, &self.buffer) {
            remove(&active.path);
            return Err(error);
        }
        active.bytes = self.buffer.len() as u64;
        self.unsynced.push(Unsynced { path: self.dir.clone(), file: Arc::new(dir) });
        Ok(active)
    }

    /// Ends the active segment. One without a batch is removed, so that a disk that stays full does
    /// not collect them.
    fn finish(&mut self) {
        let Some(active) = self.active.take() else { return };
        self.encoder.reset();
        if active.batches == 0 {
            remove(&active.path);
            return;
        }
        if active.is_dirty {
            self.unsynced.push(Unsynced { path: active.path.clone(), file: active.file });
        }
        self.finished.push(FinishedSegment {
            number: active.number,
            is_damaged: false,
            path: active.path,
            bytes: active.bytes,
            newest: active.newest,
        });
    }

    fn encode(&mut self, series: &[(SeriesId, Series)], metadata: &[(String, Metadata)]) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
        self.encoder.encode(series, metadata, &mut self.buffer);
        frame::seal(&mut self.buffer, start);
    }
}

/// All segments of a directory in the order of their numbers.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        found.extend(segment_number(&path).map(|number| (number, path)));
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

// Ten digits, so that names sort as numbers do for as long as anybody will look.
fn segment_name(number: u64) -> String {
    format!("{number:010}.wal")
}

/// The number of a segment.
pub(crate) fn segment_number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".wal")?.parse().ok()
}

fn write(active: &ActiveSegment, bytes: &[u8]) -> Result<(), WriteError> {
    (&*active.file).write_all(bytes).map_err(|source| {
        // Part of the record may be there: a full disk takes what fits.
        if let Err(error) = active.file.set_len(active.bytes) {
            tracing::warn!(wal.path = %active.path.display(), %error, "cannot cut off a record that was written in part");
        }
        WriteError::Wal { path: active.path.clone(), source }
    })
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(wal.path = %path.display(), %error, "cannot remove an empty segment");
    }
}
