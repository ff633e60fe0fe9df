//! The files of a queue: a folder with segments, the place up to which they are delivered, and a
//! lock. All of it blocks; [`super::Queue`] keeps it away from the runtime's threads.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Bytes;
use model::Timestamp;

use super::position::{Position, PositionFile};
use super::record::{BODY_BYTES_MAX, HEADER_BYTES, Header};
use super::segment::{self, START, Segment};
use super::{Entry, QueueError, Settings, Stats, WhenFull};

/// A full queue of any size has about this many segments; dropping the oldest loses so small a part.
const SEGMENTS: u64 = 32;
/// Records of one chunk at most, however small they are.
const RECORDS_PER_CHUNK_MAX: usize = 4096;

/// The files.
#[derive(Debug)]
pub(super) struct Disk {
    dir: PathBuf,
    settings: Settings,
    segments: VecDeque<Segment>,
    next_id: u64,
    /// What comes next to be handed out.
    taken: Position,
    /// Everything before it was delivered, or given up.
    settled: Position,
    position_file: PositionFile,
    unsynced: Vec<Arc<File>>,
    buffer: Vec<u8>,
    stats: Stats,
    /// Held for as long as the queue is open; the system lets go of it when the process dies.
    _lock: File,
}

/// Where the next chunk is to be read.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    file: Arc<File>,
    from: Position,
    end: u64,
}

/// How much is taken at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkLimits {
    pub(crate) samples_max: u64,
    /// Of all messages together, unpacked.
    pub(crate) message_bytes_max: usize,
}

/// A batch that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    /// The body of a remote-write request.
    pub(crate) body: Bytes,
    pub(crate) samples: u64,
}

/// Batches read in their order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chunk {
    pub(crate) batches: Vec<Taken>,
    pub(crate) samples: u64,
    /// When the first of them came.
    pub(crate) oldest: Timestamp,
    /// Behind the last of them.
    pub(crate) end: Position,
    from: Position,
    damaged_records: u64,
    damaged_samples: u64,
    /// Nothing behind `end` can be read.
    is_end_of_sense: bool,
}

impl Disk {
    /// Opens the folder, which is made when it is missing, with what an earlier process left there.
    pub(super) fn open(dir: &Path, settings: Settings) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let lock = lock(dir)?;
        let (position_file, settled) = PositionFile::open(dir)?;
        let mut disk = Self {
            dir: dir.to_owned(),
            settings,
            segments: VecDeque::new(),
            next_id: settled.segment + 1,
            taken: settled,
            settled,
            position_file,
            unsynced: Vec::new(),
            buffer: Vec::new(),
            stats: Stats::default(),
            _lock: lock,
        };
        for id in segment::list(dir)? {
            disk.next_id = disk.next_id.max(id + 1);
            let from = if id == settled.segment { settled.offset } else { START };
            let (found, lost) = Segment::recover(dir, id, from)?;
            disk.stats.damaged_bytes += if id < settled.segment { 0 } else { lost };
            if id < settled.segment || found.waiting_since.is_none() {
                found.remove()?;
            } else {
                disk.segments.push_back(found);
            }
        }
        // An unwritable folder is found now and not with the first batch. Old segments are never
        // appended to: what is behind their last whole record cannot be trusted.
        disk.rotate()?;
        disk.move_to_waiting();
        Ok(disk)
    }

    /// Figures, those of what waits included.
    pub(super) fn stats(&self) -> Stats {
        Stats {
            bytes: self.bytes(),
            waiting_samples: self.segments.iter().map(|one| one.waiting_samples).sum(),
            waiting_since: self.segments.iter().find_map(|one| one.waiting_since),
            ..self.stats
        }
    }

    /// Adds a batch; it is on disk after a sync of [`Disk::take_unsynced`].
    pub(super) fn append(&mut self, entry: &Entry) -> Result<(), QueueError> {
        let too_large = || QueueError::TooLarge { bytes: entry.body.len() };
        let header = Header::of(&entry.body, entry.samples, entry.queued_at);
        let header = header.ok_or_else(too_large)?;
        let bytes_max = self.settings.bytes_max;
        if header.record_bytes() + 2 * START > bytes_max {
            return Err(too_large());
        }
        if self.settings.when_full == WhenFull::Refuse
            && self.bytes() + header.record_bytes() > bytes_max
        {
            return Err(QueueError::Full { bytes_max });
        }
        self.write(&header, &entry.body).map_err(|error| QueueError::Disk(Arc::new(error)))
    }

    fn write(&mut self, header: &Header, body: &[u8]) -> io::Result<()> {
        let segment_bytes_max = self.settings.bytes_max / SEGMENTS;
        let is_complete = |last: &Segment| {
            last.end > START && last.end + header.record_bytes() > segment_bytes_max
        };
        if self.segments.back().is_none_or(is_complete) {
            self.rotate()?;
        }
        while self.segments.len() > 1
            && self.bytes() + header.record_bytes() > self.settings.bytes_max
        {
            self.drop_oldest()?;
        }
        self.buffer.clear();
        self.buffer.extend_from_slice(&header.to_bytes());
        self.buffer.extend_from_slice(body);
        let active = self.segments.back_mut().ok_or(io::ErrorKind::NotFound)?;
        active.append(&self.buffer)?;
        active.count(header);
        let is_noted = self.unsynced.iter().any(|file| Arc::ptr_eq(file, &active.file));
        if !is_noted {
            self.unsynced.push(Arc::clone(&active.file));
        }
        Ok(())
    }

    /// The files that have not been brought to disk since they were written.
    pub(super) fn take_unsynced(&mut self) -> Vec<Arc<File>> {
        std::mem::take(&mut self.unsynced)
    }

    /// Where to read on; `None` when everything was handed out.
    pub(super) fn reading(&mut self) -> Option<Reading> {
        self.move_to_waiting();
        let segment = self.segments.iter().find(|one| one.id == self.taken.segment)?;
        let reading =
            Reading { file: Arc::clone(&segment.file), from: self.taken, end: segment.end };
        (reading.from.offset < reading.end).then_some(reading)
    }

    /// Counts a chunk as handed out; `false` when it was dropped to make room while it was read.
    pub(super) fn hand_out(&mut self, chunk: &Chunk) -> io::Result<bool> {
        if chunk.from != self.taken {
            return Ok(false);
        }
        let Some(segment) = self.segments.iter_mut().find(|one| one.id == chunk.end.segment) else {
            return Ok(false);
        };
        self.taken = chunk.end;
        self.stats.damaged_records += chunk.damaged_records;
        self.stats.damaged_samples += chunk.damaged_samples;
        let gone = chunk.samples + chunk.damaged_samples;
        segment.waiting_samples = segment.waiting_samples.saturating_sub(gone);
        if chunk.is_end_of_sense {
            self.stats.damaged_records += 1;
            self.stats.damaged_bytes += segment.end - chunk.end.offset;
            self.stats.damaged_samples += std::mem::take(&mut segment.waiting_samples);
            self.taken.offset = segment.end;
        }
        let next = segment.header(self.taken.offset, segment.end)?;
        segment.waiting_since = next.map(|header| header.queued_at);
        Ok(true)
    }

    /// Notes that everything before `position` is done with, and removes what is of no use any more.
    pub(super) fn settle(&mut self, position: Position) -> io::Result<()> {
        if position <= self.settled {
            return Ok(());
        }
        self.settled = position;
        self.position_file.write(position)?;
        while self.segments.len() > 1 {
            let Some(first) = self.segments.front() else { break };
            let end = Position { segment: first.id, offset: first.end };
            if end > self.settled {
                break;
            }
            first.remove()?;
            self.segments.pop_front();
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.end).sum()
    }

    fn move_to_waiting(&mut self) {
        for segment in &self.segments {
            let start = Position { segment: segment.id, offset: START };
            self.taken = self.taken.max(start);
            if self.taken.segment == segment.id && self.taken.offset < segment.end {
                return;
            }
        }
    }

    fn drop_oldest(&mut self) -> io::Result<()> {
        let Some(oldest) = self.segments.front() else { return Ok(()) };
        oldest.remove()?;
        let dropped = oldest.waiting_samples;
        let behind = Position { segment: oldest.id + 1, offset: 0 };
        self.segments.pop_front();
        self.stats.dropped_samples += dropped;
        self.taken = self.taken.max(behind);
        tracing::warn!(
            queue.dir = %self.dir.display(),
            samples = dropped,
            "the queue is full, its oldest samples are dropped"
        );
        self.settle(behind)
    }

    fn rotate(&mut self) -> io::Result<()> {
        let segment = Segment::create(&self.dir, self.next_id)?;
        self.next_id += 1;
        // The name of the new file is to survive a power cut too.
        self.unsynced.push(Arc::new(File::open(&self.dir)?));
        self.unsynced.push(Arc::clone(&segment.file));
        self.segments.push_back(segment);
        Ok(())
    }
}

impl Reading {
    /// Reads records up to the limits, at least one if there is any.
    pub(super) fn read(&self, limits: ChunkLimits) -> Chunk {
        let mut chunk = Chunk { end: self.from, from: self.from, ..Chunk::default() };
        let mut message_bytes = 0;
        while chunk.end.offset < self.end && chunk.batches.len() < RECORDS_PER_CHUNK_MAX {
            let Some((header, body)) = self.record(chunk.end.offset) else {
                chunk.is_end_of_sense = true;
                break;
            };
            let Some(bytes) = body.as_ref().and_then(|body| wire::remote_write::message_len(body))
            else {
                chunk.damaged_records += 1;
                chunk.damaged_samples += u64::from(header.samples);
                chunk.end.offset += header.record_bytes();
                continue;
            };
            message_bytes += bytes;
            let samples = chunk.samples + u64::from(header.samples);
            let is_over = samples > limits.samples_max || message_bytes > limits.message_bytes_max;
            if is_over && !chunk.batches.is_empty() {
                break;
            }
            if chunk.batches.is_empty() {
                chunk.oldest = header.queued_at;
            }
            chunk.samples = samples;
            let samples = u64::from(header.samples);
            chunk.batches.extend(body.map(|body| Taken { body, samples }));
            chunk.end.offset += header.record_bytes();
        }
        chunk
    }

    /// The record at an offset, without its body when that is damaged.
    fn record(&self, at: u64) -> Option<(Header, Option<Bytes>)> {
        let mut bytes = [0; HEADER_BYTES];
        if self.end - at < HEADER_BYTES as u64 {
            return None;
        }
        self.file.read_exact_at(&mut bytes, at).ok()?;
        let header = Header::from_bytes(&bytes)?;
        let body_bytes = header.body_bytes as usize;
        if header.record_bytes() > self.end - at || body_bytes > BODY_BYTES_MAX {
            return None;
        }
        let mut body = vec![0; body_bytes];
        self.file.read_exact_at(&mut body, at + HEADER_BYTES as u64).ok()?;
        let is_whole = header.is_of(&body);
        Some((header, is_whole.then(|| Bytes::from(body))))
    }
}

// Two transfers that write the same segments would destroy each other's samples.
fn lock(dir: &Path) -> io::Result<File> {
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).open(dir.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(io::Error::new(io::ErrorKind::ResourceBusy, "another process is using it"))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: ChunkLimits = ChunkLimits { samples_max: u64::MAX, message_bytes_max: usize::MAX };

    fn settings(bytes_max: u64) -> Settings {
        Settings { bytes_max, when_full: WhenFull::DropOldest, is_synced: false }
    }

    fn open(dir: &Path, bytes_max: u64) -> Disk {
        Disk::open(dir, settings(bytes_max)).unwrap()
    }

    /// A body that holds `number`, and takes about `bytes`.
    fn body(number: u8, bytes: usize) -> Bytes {
        // Noise, or snappy would make it small.
        let noise = |at: u32| xxhash_rust::xxh3::xxh3_64(&at.to_le_bytes()) as u8;
        let mut message: Vec<u8> = (0..bytes as u32).map(noise).collect();
        message[0] = number;
        wire::remote_write::pack(&message).into()
    }

    fn push(disk: &mut Disk, number: u8, bytes: usize) -> Result<(), QueueError> {
        let queued_at = Timestamp(i64::from(number));
        disk.append(&Entry { body: body(number, bytes), samples: 10, queued_at })
    }

    fn number_of(taken: &Taken) -> u8 {
        let mut message = Vec::new();
        wire::remote_write::unpack(
            &taken.body,
            wire::remote_write::Limits::default(),
            &mut message,
        )
        .unwrap();
        message[0]
    }

    fn take(disk: &mut Disk, limits: ChunkLimits) -> Option<Chunk> {
        let chunk = disk.reading()?.read(limits);
        assert!(disk.hand_out(&chunk).unwrap());
        Some(chunk)
    }

    fn drain(disk: &mut Disk) -> Vec<u8> {
        let mut found = Vec::new();
        while let Some(chunk) = take(disk, ALL) {
            found.extend(chunk.batches.iter().map(number_of));
            disk.settle(chunk.end).unwrap();
        }
        found
    }

    fn segment_files(dir: &Path) -> Vec<PathBuf> {
        let id = |id: u64| dir.join(format!("{id:010}.queue"));
        segment::list(dir).unwrap().into_iter().map(id).collect()
    }

    #[test]
    fn batches_come_out_in_order_and_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = open(dir.path(), 1 << 20);
        (0..5).for_each(|number| push(&mut disk, number, 100).unwrap());
        let limits = ChunkLimits { samples_max: 20, ..ALL };
        let first = take(&mut disk, limits).unwrap();
        assert_eq!(first.batches.iter().map(number_of).collect::<Vec<_>>(), [0, 1]);
        disk.settle(first.end).unwrap();
        let second = take(&mut disk, limits).unwrap();
        assert_eq!((second.samples, second.oldest), (20, Timestamp(2)));
        let stats = disk.stats();
        assert_eq!((stats.waiting_samples, stats.waiting_since), (10, Some(Timestamp(4))));
        drop(disk);
        let mut disk = open(dir.path(), 1 << 20);
        push(&mut disk, 5, 100).unwrap();
        assert_eq!(disk.stats().waiting_samples, 40);
        assert_eq!(drain(&mut disk), [2, 3, 4, 5], "what was taken and not settled comes again");
        assert_eq!((disk.stats().waiting_samples, disk.stats().waiting_since), (0, None));
        drop(disk);
        assert!(drain(&mut open(dir.path(), 1 << 20)).is_empty());
        assert_eq!(segment_files(dir.path()).len(), 1);
    }

    #[test]
    fn a_chunk_is_bounded_by_its_messages_unpacked_and_never_empty() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = open(dir.path(), 1 << 20);
        (0..3).for_each(|number| push(&mut disk, number, 1000).unwrap());
        let limits = ChunkLimits { message_bytes_max: 2000, ..ALL };
        assert_eq!(take(&mut disk, limits).unwrap().batches.len(), 2);
        let small = ChunkLimits { samples_max: 1, message_bytes_max: 1 };
        assert_eq!(take(&mut disk, small).unwrap().batches.len(), 1);
        assert!(take(&mut disk, small).is_none());
    }

    #[test]
    fn the_oldest_make_room_and_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = open(dir.path(), 64 << 10);
        for number in 0..100 {
            push(&mut disk, number, 1500).unwrap();
            assert!(disk.stats().bytes <= 64 << 10);
        }
        let dropped = disk.stats().dropped_samples;
        let left = drain(&mut disk);
        assert_eq!(left.last(), Some(&99));
        assert_eq!(dropped, (100 - left.len() as u64) * 10);
        assert!(left.len() > 30, "{}", left.len());
    }

    #[test]
    fn what_is_being_sent_is_not_counted_as_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = open(dir.path(), 64 << 10);
        push(&mut disk, 0, 1500).unwrap();
        let sending = take(&mut disk, ALL).unwrap();
        let stale = {
            push(&mut disk, 1, 1500).unwrap();
            disk.reading().unwrap().read(ALL)
        };
        (2..100).for_each(|number| push(&mut disk, number, 1500).unwrap());
        assert!(!disk.hand_out(&stale).unwrap(), "it was dropped while it was read");
        let dropped = disk.stats().dropped_samples;
        disk.settle(sending.end).unwrap();
        let left = drain(&mut disk);
        assert_eq!(dropped, (99 - left.len() as u64) * 10);
    }

    #[test]
    fn a_full_queue_refuses_when_it_is_told_to() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { when_full: WhenFull::Refuse, ..settings(64 << 10) };
        let mut disk = Disk::open(dir.path(), settings).unwrap();
        let taken = (0..100).take_while(|number| push(&mut disk, *number, 1500).is_ok()).count();
        assert!((35..45).contains(&taken), "{taken}");
        assert!(matches!(push(&mut disk, 0, 1500), Err(QueueError::Full { .. })));
        assert_eq!(drain(&mut disk).len(), taken);
        push(&mut disk, 0, 1500).expect("there is room again");
    }

    #[test]
    fn a_batch_larger_than_the_queue_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = open(dir.path(), 64 << 10);
        assert!(matches!(push(&mut disk, 0, 70 << 10), Err(QueueError::TooLarge { .. })));
        push(&mut disk, 0, 60 << 10).unwrap();
        push(&mut disk, 1, 60 << 10).unwrap();
        assert_eq!(drain(&mut disk), [1]);
    }

    #[test]
    fn a_damaged_body_costs_its_record_and_a_damaged_header_what_follows() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = open(dir.path(), 1 << 20);
        (0..4).for_each(|number| push(&mut disk, number, 100).unwrap());
        let path = segment_files(dir.path()).pop().unwrap();
        let mut bytes = fs::read(&path).unwrap();
        let record = (bytes.len() - START as usize) / 4;
        bytes[START as usize + record - 3] ^= 1;
        bytes[START as usize + 2 * record] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(drain(&mut disk), [1]);
        let stats = disk.stats();
        assert_eq!((stats.damaged_samples, stats.damaged_records), (30, 2));
        push(&mut disk, 9, 100).unwrap();
        assert_eq!(drain(&mut disk), [9]);
    }

    #[test]
    fn a_torn_end_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = open(dir.path(), 1 << 20);
        (0..3).for_each(|number| push(&mut disk, number, 100).unwrap());
        drop(disk);
        let path = segment_files(dir.path()).pop().unwrap();
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
        let mut disk = open(dir.path(), 1 << 20);
        assert!(disk.stats().damaged_bytes > 90);
        push(&mut disk, 7, 100).unwrap();
        assert_eq!(drain(&mut disk), [0, 1, 7]);
    }

    #[test]
    fn a_folder_has_one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let _first = open(dir.path(), 1 << 20);
        let error = Disk::open(dir.path(), settings(1 << 20)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
    }

    proptest! {
        #[test]
        fn whatever_damage_the_rest_comes_out_in_order(
            damage in prop::collection::vec((0_usize..2000, any::<u8>()), 0..4),
            cut in 0_usize..2000,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut disk = open(dir.path(), 1 << 20);
            (0..8).for_each(|number| push(&mut disk, number, 200).unwrap());
            drop(disk);
            let path = segment_files(dir.path()).pop().unwrap();
            let mut bytes = fs::read(&path).unwrap();
            for (at, value) in damage {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            bytes.truncate(cut.max(100));
            fs::write(&path, bytes).unwrap();
            let mut disk = open(dir.path(), 1 << 20);
            push(&mut disk, 99, 200).unwrap();
            let left = drain(&mut disk);
            prop_assert!(left.is_sorted() && left.last() == Some(&99), "{:?}", left);
        }
    }
}
