//! Which segments of the write-ahead log have served their time.

use std::path::PathBuf;

use crate::block_meta::Cut;

/// A segment that is no longer written to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FinishedSegment {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    /// Milliseconds of its newest sample; `None` without any.
    pub(crate) newest: Option<i64>,
    /// It could not be read to its end. Whoever looks into that wants to find it as it was, until it
    /// expires.
    pub(crate) is_damaged: bool,
}

/// Takes out of `segments`, which ascend, those that have served: all their samples are before the
/// horizon, or in blocks. `active` says whether a newer segment is being written. The newest of all
/// stays: only a newer segment repeats the metadata it holds.
pub(crate) fn take_served(
    segments: &mut Vec<FinishedSegment>,
    active: bool,
    horizon: i64,
    cut: Option<Cut>,
) -> Vec<FinishedSegment> {
    let candidates = if active { segments.len() } else { segments.len().saturating_sub(1) };
    let is_before = |segment: &FinishedSegment, millis: i64| {
        segment.newest.is_none_or(|newest| newest < millis)
    };
    let is_in_blocks = |segment: &FinishedSegment| {
        cut.is_some_and(|cut| {
            !segment.is_damaged && segment.number <= cut.segment && is_before(segment, cut.before)
        })
    };
    segments
        .extract_if(..candidates, |segment| is_before(segment, horizon) || is_in_blocks(segment))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(newest: &[Option<i64>], active: bool, horizon: i64, kept: &[Option<i64>]) {
        let segment = |newest: &Option<i64>| FinishedSegment {
            number: newest.unwrap_or(0) as u64,
            path: PathBuf::new(),
            bytes: 1,
            newest: *newest,
            is_damaged: false,
        };
        let mut segments: Vec<_> = newest.iter().map(segment).collect();
        let expired = take_served(&mut segments, active, horizon, None);
        assert_eq!(segments, kept.iter().map(segment).collect::<Vec<_>>());
        assert_eq!(expired.len(), newest.len() - kept.len());
    }

    #[test]
    fn segments_go_when_their_newest_sample_has_expired() {
        check(&[Some(5), Some(9), Some(10)], true, 10, &[Some(10)]);
        check(&[Some(20), Some(9), Some(30)], true, 10, &[Some(20), Some(30)]);
        check(&[None, Some(10)], true, 10, &[Some(10)]);
    }

    #[test]
    fn segments_go_when_all_of_them_is_in_blocks() {
        let segment = |number, newest, is_damaged| FinishedSegment {
            number,
            path: PathBuf::new(),
            bytes: 1,
            newest: Some(newest),
            is_damaged,
        };
        let all = [(1, 9, false), (2, 9, true), (3, 10, false), (4, 9, false), (5, 9, false)];
        let mut segments: Vec<_> = all.map(|(n, newest, d)| segment(n, newest, d)).into();
        let cut = Some(Cut { before: 10, segment: 4 });
        let gone = take_served(&mut segments, true, i64::MIN, cut);
        assert_eq!(gone.iter().map(|segment| segment.number).collect::<Vec<_>>(), [1, 4]);
    }

    #[test]
    fn the_newest_segment_stays() {
        check(&[Some(5), Some(6)], false, 10, &[Some(6)]);
        check(&[Some(5), Some(6)], true, 10, &[]);
        check(&[], false, 10, &[]);
    }
}
