//! Which segments of the write-ahead log have served their time.

use std::path::PathBuf;

/// A segment that is no longer written to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FinishedSegment {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    /// Milliseconds of its newest sample; `None` without any.
    pub(crate) newest: Option<i64>,
}

/// Takes out of `segments`, which ascend, those with no sample at or after the horizon. `active`
/// says whether a newer segment is being written. The newest of all stays: only a newer segment
/// repeats the metadata it holds.
pub(crate) fn take_expired(
    segments: &mut Vec<FinishedSegment>,
    active: bool,
    horizon: i64,
) -> Vec<FinishedSegment> {
    let candidates = if active { segments.len() } else { segments.len().saturating_sub(1) };
    segments
        .extract_if(..candidates, |segment| segment.newest.is_none_or(|newest| newest < horizon))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(newest: &[Option<i64>], active: bool, horizon: i64, kept: &[Option<i64>]) {
        let segment = |newest: &Option<i64>| FinishedSegment {
            path: PathBuf::new(),
            bytes: 1,
            newest: *newest,
        };
        let mut segments: Vec<_> = newest.iter().map(segment).collect();
        let expired = take_expired(&mut segments, active, horizon);
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
    fn the_newest_segment_stays() {
        check(&[Some(5), Some(6)], false, 10, &[Some(6)]);
        check(&[Some(5), Some(6)], true, 10, &[]);
        check(&[], false, 10, &[]);
    }
}
