//! Reading the write-ahead log back into the head.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use model::{Sample, Timestamp};

use crate::block_meta::Cut;
use crate::frame::Frames;
use crate::head::Head;
use crate::index::SeriesId;
use crate::record::{Decoder, Record};
use crate::retention::FinishedSegment;
use crate::stats::{ReplayReport, WalFault};
use crate::wal::segment_number;

/// Reads segments, oldest first, into an empty head, but for what is in blocks already: `cut` says up
/// to where. Damage costs the rest of its segment and
/// nothing else: the segments after it declare their series themselves. Fails only when a segment
/// cannot be opened at all.
pub(crate) fn replay(
    paths: Vec<PathBuf>,
    head: &Head,
    cut: Option<Cut>,
    now: Timestamp,
) -> Result<(Vec<FinishedSegment>, ReplayReport), (PathBuf, io::Error)> {
    let mut report = ReplayReport::default();
    let mut segments = Vec::with_capacity(paths.len());
    let mut bytes = Vec::new();
    let last = paths.len().saturating_sub(1);
    for (at, path) in paths.into_iter().enumerate() {
        bytes.clear();
        let unreadable = match File::open(&path) {
            Ok(mut file) => file.read_to_end(&mut bytes).err(),
            Err(error) => return Err((path, error)),
        };
        if let Some(error) = unreadable {
            tracing::warn!(wal.path = %path.display(), %error, "cannot read a segment to its end");
        }
        let number = segment_number(&path).unwrap_or_default();
        let bytes_read = bytes.len() as u64;
        let mut segment =
            FinishedSegment { number, path, bytes: bytes_read, newest: None, is_damaged: false };
        let in_blocks = cut.filter(|cut| number <= cut.segment).map_or(i64::MIN, |cut| cut.before);
        if let Some((offset, reason)) = read(&bytes, head, in_blocks, &mut segment, &mut report) {
            report_fault(&mut segment, offset, reason, at == last, &mut report);
            // What could not be read may have been as new as now.
            segment.newest = segment.newest.max(Some(now.millis()));
            segment.is_damaged = true;
        }
        report.segments += 1;
        report.bytes += segment.bytes;
        segments.push(segment);
    }
    Ok((segments, report))
}

/// Reads one segment, whose samples before `in_blocks` are left out; answers where it stopped and
/// why, when that is not the end.
fn read(
    bytes: &[u8],
    head: &Head,
    in_blocks: i64,
    segment: &mut FinishedSegment,
    report: &mut ReplayReport,
) -> Option<(usize, &'static str)> {
    let mut frames = match Frames::new(bytes) {
        Ok(frames) => frames,
        Err(reason) => return Some((0, reason)),
    };
    let mut decoder = Decoder::default();
    let mut record = Record::default();
    let mut ids: Vec<Option<SeriesId>> = Vec::new();
    let mut rows: Vec<(SeriesId, Sample)> = Vec::new();
    loop {
        let payload = match frames.peek() {
            Ok(Some(payload)) => payload,
            Ok(None) => return None,
            Err(reason) => return Some((frames.offset(), reason)),
        };
        if decoder.decode(payload, &mut record).is_none() {
            return Some((frames.offset(), "the record is whole but cannot be understood"));
        }
        frames.advance(payload);
        ids.extend(head.declare(&record.declared));
        rows.clear();
        for (number, sample) in &record.samples {
            segment.newest = segment.newest.max(Some(sample.timestamp.millis()));
            if sample.timestamp.millis() < in_blocks {
                continue;
            }
            rows.extend(ids.get(*number as usize).copied().flatten().map(|id| (id, *sample)));
        }
        head.restore(&rows, record.metadata.drain(..));
        report.records += 1;
        report.samples += record.samples.len() as u64;
    }
}

fn report_fault(
    segment: &mut FinishedSegment,
    offset: usize,
    reason: &'static str,
    is_last: bool,
    report: &mut ReplayReport,
) {
    let offset = offset as u64;
    let bytes_lost = segment.bytes - offset;
    // Only the last segment can be torn by a crash. Damage elsewhere is another matter, and whoever
    // looks into it wants to find it as it was; so does whoever has started an older version on a
    // newer format by mistake.
    let cut = is_last && offset > 0 && cut(&segment.path, offset);
    tracing::warn!(
        wal.path = %segment.path.display(),
        wal.offset = offset,
        wal.bytes_lost = bytes_lost,
        wal.cut = cut,
        "the write-ahead log {} is damaged at byte {offset}: {reason}; {bytes_lost} bytes from there on are lost, \
         everything before is kept",
        segment.path.display(),
    );
    report.faults.push(WalFault { path: segment.path.clone(), offset, bytes_lost, reason, cut });
    if cut {
        segment.bytes = offset;
    }
}

fn cut(path: &Path, offset: u64) -> bool {
    let result = OpenOptions::new().write(true).open(path).and_then(|file| {
        file.set_len(offset)?;
        file.sync_all()
    });
    if let Err(error) = &result {
        tracing::warn!(wal.path = %path.display(), %error, "cannot cut the damaged end off");
    }
    result.is_ok()
}
