//! Batches on disk, until transfer has taken them.
//!
//! Segments are files of records, `state, length, samples, checksum, body`, written in order. A record that
//! was sent is marked in place; a segment without unsent records is removed, or cut to nothing when it is the
//! one being written, so that a spool that is drained at once hardly ever reaches the disk. Nothing is
//! synced: the spool survives the death of the agent, and of the host all but the last seconds.

mod record;

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use record::{HEADER_BYTES, Header, SENT};

/// A full spool of any size has about this many segments; dropping the oldest loses so small a part of it.
const SEGMENTS: u64 = 32;
const SUFFIX: &str = "spool";

/// Where a record is. Stays valid when the record is dropped: it then means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    segment: u64,
    offset: u64,
    samples: u32,
}

impl Ticket {
    /// Samples of the batch.
    pub fn samples(&self) -> u32 {
        self.samples
    }
}

/// Samples and bytes that were lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lost {
    /// Samples of records that were dropped.
    pub samples: u64,
    /// Bytes that could not be understood.
    pub damaged_bytes: u64,
}

/// A segment that cannot be read was given up.
#[derive(Debug, Error)]
#[error("{} samples of the spool cannot be read", lost.samples)]
pub struct Damage {
    /// What was in it.
    pub lost: Lost,
    /// Why.
    pub source: io::Error,
}

#[derive(Debug)]
struct Segment {
    id: u64,
    path: PathBuf,
    file: File,
    end: u64,
    /// Everything before it was sent.
    cursor: u64,
    unsent_records: u64,
    unsent_samples: u64,
}

/// A bounded first-in-first-out store of batches in a folder.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    bytes_max: u64,
    segments: VecDeque<Segment>,
    next_id: u64,
    /// Held for as long as the spool is open; the system lets go of it when the agent dies.
    _lock: File,
}

impl Spool {
    /// Opens the folder, which is made when it is missing, with what an earlier agent left there. A damaged
    /// tail is cut off, and counted in [`Lost`].
    ///
    /// # Errors
    /// When the folder cannot be made, or read and written, or another agent uses it.
    pub fn open(folder: &Path, bytes_max: u64) -> io::Result<(Self, Lost)> {
        fs::create_dir_all(folder)?;
        let lock = lock(folder)?;
        let mut ids: Vec<u64> =
            fs::read_dir(folder)?.filter_map(|entry| segment_id(&entry.ok()?.path())).collect();
        ids.sort_unstable();
        let mut spool = Self {
            folder: folder.to_owned(),
            bytes_max,
            segments: VecDeque::new(),
            next_id: 0,
            _lock: lock,
        };
        let mut lost = Lost::default();
        for id in ids {
            spool.next_id = id + 1;
            let segment = Segment::recover(&spool.path(id), id, &mut lost)?;
            if segment.unsent_records == 0 {
                fs::remove_file(&segment.path)?;
            } else {
                spool.segments.push_back(segment);
            }
        }
        // An unwritable folder is found now and not with the first batch.
        spool.rotate()?;
        Ok((spool, lost))
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.end).sum()
    }

    /// Adds a batch of `samples`. The oldest segments make room for it; what was in them is returned as lost.
    ///
    /// # Errors
    /// When the disk does not take it, or it is larger than the whole spool.
    pub fn append(&mut self, body: &[u8], samples: u32) -> io::Result<(Ticket, Lost)> {
        let header = Header::of(body, samples).ok_or(io::ErrorKind::FileTooLarge)?;
        let record_bytes = header.record_bytes();
        if record_bytes > self.bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let segment_bytes_max = self.bytes_max / SEGMENTS;
        if self
            .segments
            .back()
            .is_none_or(|last| last.end > 0 && last.end + record_bytes > segment_bytes_max)
        {
            self.rotate()?;
        }
        let mut lost = Lost::default();
        while self.segments.len() > 1 && self.bytes() + record_bytes > self.bytes_max {
            lost.samples += self.drop_oldest()?;
        }
        let segment = self.segments.back_mut().ok_or(io::ErrorKind::NotFound)?;
        Ok((segment.append(&header, body)?, lost))
    }

    /// Marks a batch as done with. A ticket whose record is gone is ignored.
    ///
    /// # Errors
    /// When the disk does not take the mark; the batch may then be sent twice, which does no harm.
    pub fn settle(&mut self, ticket: Ticket) -> io::Result<()> {
        let Some(at) = self.segments.iter().position(|segment| segment.id == ticket.segment) else {
            return Ok(());
        };
        let is_last = at + 1 == self.segments.len();
        let segment = &mut self.segments[at];
        segment.settle(ticket)?;
        if segment.unsent_records > 0 {
            return Ok(());
        }
        if is_last {
            return segment.clear();
        }
        fs::remove_file(&segment.path)?;
        self.segments.remove(at);
        Ok(())
    }

    /// The oldest batch that is not done with.
    ///
    /// # Errors
    /// When it cannot be read; its segment is then given up, since nothing in it can be trusted.
    pub fn oldest(&mut self) -> Result<Option<(Ticket, Vec<u8>)>, Damage> {
        let Some(at) = self.segments.iter().position(|segment| segment.unsent_records > 0) else {
            return Ok(None);
        };
        let segment = &mut self.segments[at];
        let error = match segment.first_unsent() {
            Ok(found) => return Ok(Some(found)),
            Err(error) => error,
        };
        let lost =
            Lost { samples: segment.unsent_samples, damaged_bytes: segment.end - segment.cursor };
        // Removed and not reused: a ticket of what was in it must not mean a record that comes later.
        let _ = fs::remove_file(&segment.path);
        self.segments.remove(at);
        Err(Damage { lost, source: error })
    }

    fn drop_oldest(&mut self) -> io::Result<u64> {
        let Some(oldest) = self.segments.pop_front() else { return Ok(0) };
        fs::remove_file(&oldest.path)?;
        Ok(oldest.unsent_samples)
    }

    fn rotate(&mut self) -> io::Result<()> {
        let id = self.next_id;
        let path = self.path(id);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        self.next_id += 1;
        self.segments.push_back(Segment {
            id,
            path,
            file,
            end: 0,
            cursor: 0,
            unsent_records: 0,
            unsent_samples: 0,
        });
        Ok(())
    }

    fn path(&self, id: u64) -> PathBuf {
        self.folder.join(format!("{id:016x}.{SUFFIX}"))
    }
}

// Two agents that write the same segments would destroy each other's samples.
fn lock(folder: &Path) -> io::Result<File> {
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).open(folder.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(io::Error::new(io::ErrorKind::ResourceBusy, "another agent is using it"))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn segment_id(path: &Path) -> Option<u64> {
    let is_segment = path.extension()? == SUFFIX;
    is_segment.then(|| u64::from_str_radix(path.file_stem()?.to_str()?, 16).ok())?
}

impl Segment {
    // Walks over the records of a file; from the first that is not whole on, the file is cut off.
    fn recover(path: &Path, id: u64, lost: &mut Lost) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let length = file.metadata()?.len();
        let mut segment = Self {
            id,
            path: path.to_owned(),
            file,
            end: length,
            cursor: 0,
            unsent_records: 0,
            unsent_samples: 0,
        };
        let mut at = 0;
        while let Some((header, _)) = segment.read_record(at)? {
            if !header.is_sent() {
                segment.unsent_records += 1;
                segment.unsent_samples += u64::from(header.samples);
            }
            at += header.record_bytes();
        }
        if at < length {
            lost.damaged_bytes += length - at;
            segment.file.set_len(at)?;
        }
        segment.end = at;
        Ok(segment)
    }

    fn append(&mut self, header: &Header, body: &[u8]) -> io::Result<Ticket> {
        let mut record = Vec::with_capacity(HEADER_BYTES + body.len());
        record.extend_from_slice(&header.to_bytes());
        record.extend_from_slice(body);
        if let Err(error) = self.file.write_all_at(&record, self.end) {
            // Half a record would end the segment at the next start.
            self.file.set_len(self.end)?;
            return Err(error);
        }
        let ticket = Ticket { segment: self.id, offset: self.end, samples: header.samples };
        self.end += header.record_bytes();
        self.unsent_records += 1;
        self.unsent_samples += u64::from(header.samples);
        Ok(ticket)
    }

    // Counted first: a disk that takes no mark must not make the same batch the oldest one for ever.
    fn settle(&mut self, ticket: Ticket) -> io::Result<()> {
        self.unsent_records = self.unsent_records.saturating_sub(1);
        self.unsent_samples = self.unsent_samples.saturating_sub(u64::from(ticket.samples));
        self.file.write_all_at(&[SENT], ticket.offset)
    }

    fn first_unsent(&mut self) -> io::Result<(Ticket, Vec<u8>)> {
        while let Some((header, body)) = self.read_record(self.cursor)? {
            if !header.is_sent() {
                let ticket =
                    Ticket { segment: self.id, offset: self.cursor, samples: header.samples };
                return Ok((ticket, body));
            }
            self.cursor += header.record_bytes();
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "a record of the spool is damaged"))
    }

    // `None` at the end, and where what follows is no whole record.
    fn read_record(&self, at: u64) -> io::Result<Option<(Header, Vec<u8>)>> {
        if self.end.saturating_sub(at) < HEADER_BYTES as u64 {
            return Ok(None);
        }
        let mut header = [0; HEADER_BYTES];
        self.file.read_exact_at(&mut header, at)?;
        let header = Header::from_bytes(&header);
        if header.record_bytes() > self.end - at {
            return Ok(None);
        }
        let mut body = vec![0; header.body_bytes as usize];
        self.file.read_exact_at(&mut body, at + HEADER_BYTES as u64)?;
        Ok(header.is_of(&body).then_some((header, body)))
    }

    fn clear(&mut self) -> io::Result<()> {
        self.end = 0;
        self.cursor = 0;
        self.file.set_len(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn open(folder: &Path, bytes_max: u64) -> Spool {
        Spool::open(folder, bytes_max).unwrap().0
    }

    fn drain(spool: &mut Spool) -> Vec<u8> {
        let mut found = Vec::new();
        while let Some((ticket, body)) = spool.oldest().unwrap() {
            found.push(body[0]);
            spool.settle(ticket).unwrap();
        }
        found
    }

    #[test]
    fn batches_come_out_in_order_and_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = open(dir.path(), 1 << 20);
        for number in 0..5 {
            spool.append(&[number; 100], 3).unwrap();
        }
        let (first, body) = spool.oldest().unwrap().unwrap();
        assert_eq!(body, [0; 100]);
        spool.settle(first).unwrap();
        drop(spool);
        let mut spool = open(dir.path(), 1 << 20);
        spool.append(&[5; 100], 3).unwrap();
        assert_eq!(drain(&mut spool), [1, 2, 3, 4, 5]);
        assert_eq!(spool.bytes(), 0);
    }

    #[test]
    fn a_fresh_batch_may_be_done_before_the_older_ones() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = open(dir.path(), 1 << 20);
        let tickets: Vec<_> = (0..4).map(|number| spool.append(&[number], 1).unwrap().0).collect();
        spool.settle(tickets[3]).unwrap();
        spool.settle(tickets[1]).unwrap();
        drop(spool);
        assert_eq!(drain(&mut open(dir.path(), 1 << 20)), [0, 2]);
    }

    #[test]
    fn the_oldest_make_room_and_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = open(dir.path(), 64 << 10);
        let mut lost = 0;
        for number in 0..100 {
            lost += spool.append(&[number; 1500], 10).unwrap().1.samples;
            assert!(spool.bytes() <= 64 << 10);
        }
        let left = drain(&mut spool);
        assert_eq!(left.last(), Some(&99));
        assert_eq!(lost, (100 - left.len() as u64) * 10);
        assert!(left.len() > 30, "{}", left.len());
    }

    #[test]
    fn a_ticket_of_a_dropped_batch_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = open(dir.path(), 64 << 10);
        let (old, _) = spool.append(&[1; 2000], 1).unwrap();
        for _ in 0..60 {
            spool.append(&[2; 2000], 1).unwrap();
        }
        spool.settle(old).unwrap();
        assert!(drain(&mut spool).iter().all(|first| *first == 2));
    }

    #[test]
    fn a_segment_that_goes_bad_is_given_up_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = open(dir.path(), 1 << 20);
        spool.append(&[1; 50], 7).unwrap();
        fs::write(&spool.segments[0].path, [0; 63]).unwrap();
        let damage = spool.oldest().unwrap_err();
        assert_eq!(damage.lost, Lost { samples: 7, damaged_bytes: 63 });
        spool.append(&[2; 50], 7).unwrap();
        assert_eq!(drain(&mut spool), [2]);
    }

    #[test]
    fn a_batch_larger_than_the_spool_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = open(dir.path(), 64 << 10);
        assert!(spool.append(&[0; 70 << 10], 1).is_err());
        spool.append(&[0; 60 << 10], 1).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(Spool::open(&dir.path().join("file/spool"), 1 << 20).is_err());
    }

    #[test]
    fn a_folder_has_one_agent_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let spool = open(dir.path(), 1 << 20);
        let error = Spool::open(dir.path(), 1 << 20).unwrap_err();
        assert!(error.to_string().contains("another agent"), "{error}");
        drop(spool);
        open(dir.path(), 1 << 20);
    }

    #[test]
    fn a_file_that_is_no_segment_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("notes.txt"), "mine").unwrap();
        drain(&mut open(dir.path(), 1 << 20));
        assert!(dir.path().join("notes.txt").exists());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn a_torn_or_damaged_tail_costs_only_what_follows(
            cut in 0usize..400, flip in 0usize..400, flips: bool,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut spool = open(dir.path(), 1 << 20);
            for number in 0..4 {
                spool.append(&[number; 80], 1).unwrap();
            }
            let path = spool.segments[0].path.clone();
            drop(spool);
            let mut bytes = fs::read(&path).unwrap();
            bytes.truncate(cut);
            if flips && flip < bytes.len() {
                bytes[flip] ^= 0x5a;
            }
            fs::write(&path, &bytes).unwrap();
            let (mut spool, _) = Spool::open(dir.path(), 1 << 20).unwrap();
            let record = 80 + HEADER_BYTES;
            let damage = if flips && flip < bytes.len() { flip } else { bytes.len() };
            let whole = damage.min(cut) / record;
            let found = drain(&mut spool);
            prop_assert!(found.len() >= whole, "{} of {} records", found.len(), whole);
            prop_assert!(found.iter().take(whole).copied().eq(0..whole as u8));
        }
    }
}
