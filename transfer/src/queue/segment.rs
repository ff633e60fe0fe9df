//! One file of a queue: a mark, then records.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::Timestamp;

use super::record::{HEADER_BYTES, Header};

/// First bytes of a segment: name and version of the format.
const MARK: &[u8; 8] = b"SAKRQUE1";
/// Where the first record begins.
pub(super) const START: u64 = MARK.len() as u64;
const SUFFIX: &str = "queue";

/// A file of records that were written in order.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) id: u64,
    path: PathBuf,
    pub(super) file: Arc<File>,
    /// Behind the last whole record.
    pub(super) end: u64,
    /// Samples of records that have not been handed out.
    pub(super) waiting_samples: u64,
    /// When the first of them came.
    pub(super) waiting_since: Option<Timestamp>,
}

impl Segment {
    /// Makes the file.
    pub(super) fn create(dir: &Path, id: u64) -> io::Result<Self> {
        let path = dir.join(format!("{id:010}.{SUFFIX}"));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        if let Err(error) = file.write_all_at(MARK, 0) {
            // A name that is taken would be in the way of the next attempt.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        let file = Arc::new(file);
        Ok(Self { id, path, file, end: START, waiting_samples: 0, waiting_since: None })
    }

    /// Opens what an earlier process left, whose records before `from` are done with; also says how
    /// many bytes at its end are no records.
    pub(super) fn recover(dir: &Path, id: u64, from: u64) -> io::Result<(Self, u64)> {
        let path = dir.join(format!("{id:010}.{SUFFIX}"));
        let file = Arc::new(OpenOptions::new().read(true).write(true).open(&path)?);
        let length = file.metadata()?.len();
        let mut segment =
            Self { id, path, file, end: START, waiting_samples: 0, waiting_since: None };
        let mut mark = [0; MARK.len()];
        if length < START || !segment.file.read_exact_at(&mut mark, 0).is_ok_and(|()| mark == *MARK)
        {
            return Ok((segment, length));
        }
        segment.end = from.clamp(START, length);
        while let Some(header) = segment.header(segment.end, length)? {
            segment.waiting_samples += u64::from(header.samples);
            segment.waiting_since = segment.waiting_since.or(Some(header.queued_at));
            segment.end += header.record_bytes();
        }
        let lost = length - segment.end;
        Ok((segment, lost))
    }

    /// The header of the record at `at`, if a whole record is there before `end`.
    pub(super) fn header(&self, at: u64, end: u64) -> io::Result<Option<Header>> {
        if end.saturating_sub(at) < HEADER_BYTES as u64 {
            return Ok(None);
        }
        let mut bytes = [0; HEADER_BYTES];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(Header::from_bytes(&bytes).filter(|header| header.record_bytes() <= end - at))
    }

    /// Writes whole records behind the last one. After an error nothing of them remains.
    pub(super) fn append(&mut self, records: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all_at(records, self.end) {
            // A full disk takes what fits.
            self.file.set_len(self.end)?;
            return Err(error);
        }
        self.end += records.len() as u64;
        Ok(())
    }

    /// Counts a record that was appended.
    pub(super) fn count(&mut self, header: &Header) {
        self.waiting_samples += u64::from(header.samples);
        self.waiting_since = self.waiting_since.or(Some(header.queued_at));
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// The numbers of the segments in a folder, ascending.
pub(super) fn list(dir: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let is_segment = path.extension().is_some_and(|suffix| suffix == SUFFIX);
        let number: Option<u64> = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        found.extend(number.filter(|_| is_segment));
    }
    found.sort_unstable();
    Ok(found)
}
