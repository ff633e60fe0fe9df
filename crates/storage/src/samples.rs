//! The samples of one series in memory, and the decision which samples may join them.

use model::{Sample, Timestamp};

use crate::batch::Refusal;
use crate::chunk::{CHUNK_SAMPLES_MAX, Chunk, OpenChunk};

/// What a store accepts at this moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Admission {
    /// Milliseconds that a sample may be behind the newest of its series.
    pub(crate) window: i64,
    /// Samples before this millisecond have outlived the retention.
    pub(crate) horizon: i64,
}

/// What is to be done with a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Store,
    Unchanged,
    Refuse(Refusal),
}

impl Admission {
    /// Judges a sample by the newest one of its series and by what is stored at its own moment.
    pub(crate) fn judge(
        &self,
        sample: Sample,
        newest: Option<i64>,
        stored: Option<f64>,
    ) -> Verdict {
        let millis = sample.timestamp.millis();
        if let Some(stored) = stored {
            let same = stored.to_bits() == sample.value.to_bits();
            return if same { Verdict::Unchanged } else { Verdict::Refuse(Refusal::Duplicate) };
        }
        if millis < self.horizon {
            return Verdict::Refuse(Refusal::TooOld);
        }
        match newest {
            Some(newest) if millis < newest && self.window == 0 => {
                Verdict::Refuse(Refusal::OutOfOrder)
            }
            Some(newest) if millis < newest.saturating_sub(self.window) => {
                Verdict::Refuse(Refusal::TooOld)
            }
            _ => Verdict::Store,
        }
    }
}

/// What is stored of a series outside memory.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// Milliseconds of the newest sample, when it was asked for.
    pub(crate) newest: Option<i64>,
    /// The samples of the span in question, in order of time.
    pub(crate) samples: Vec<Sample>,
}

/// Chunks in order of time, and beside them what came late.
#[derive(Debug, Default)]
pub(crate) struct SeriesSamples {
    sealed: Vec<Chunk>,
    open: OpenChunk,
    late: Option<Box<Late>>,
}

/// Samples that came after a newer one of their series. The chunks may overlap each other and those
/// in order.
#[derive(Debug, Default)]
struct Late {
    sealed: Vec<Chunk>,
    sorted: Vec<Sample>,
}

/// What a query needs of one series: chunks to be decoded without holding the lock, and the rest
/// already decoded. Made once and used for many series.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    chunks: Vec<Chunk>,
    recent: Vec<Sample>,
    decoded: Vec<Sample>,
    overlapping: bool,
}

impl SeriesSamples {
    /// Milliseconds of the newest sample. What came late is older, but may be all that is left when
    /// the rest has gone into a block.
    pub(crate) fn newest(&self) -> Option<i64> {
        self.open
            .span()
            .map(|(_, last)| last)
            .or_else(|| self.sealed.last().map(|chunk| chunk.last))
            .or_else(|| self.late.as_deref().and_then(Late::newest))
    }

    /// The newest sample of all, if it is in the open chunk. What came late is older.
    pub(crate) fn newest_open(&self) -> Option<Sample> {
        self.open.newest()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.newest().is_none()
    }

    /// Whether any sample may lie in the span, judged by the bounds of chunks.
    pub(crate) fn overlaps(&self, start: i64, end: i64) -> bool {
        let in_open = self.open.span().is_some_and(|(first, last)| first <= end && last >= start);
        let in_late = |late: &Late| {
            late.sealed.iter().any(|chunk| chunk.overlaps(start, end))
                || !within(&late.sorted, start, end).is_empty()
        };
        in_open
            || self.sealed.iter().rev().any(|chunk| chunk.overlaps(start, end))
            || self.late.as_deref().is_some_and(in_late)
    }

    /// Keeps of `samples`, which are sorted by time, those that are to be stored; tells `refused` of
    /// the others.
    pub(crate) fn admit(
        &self,
        samples: &mut Vec<Sample>,
        admission: &Admission,
        past: &Past,
        mut refused: impl FnMut(Verdict),
    ) {
        let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return };
        let (first, last) = (first.timestamp.millis(), last.timestamp.millis());
        let newest = self.newest().max(past.newest);
        let is_newer = newest.is_none_or(|newest| first > newest);
        let ascends = samples.is_sorted_by(|left, right| left.timestamp < right.timestamp);
        if is_newer && ascends && first >= admission.horizon {
            return;
        }
        let mut snapshot = Snapshot::default();
        if !is_newer {
            self.snapshot(first, last, &mut snapshot);
        }
        let stored = snapshot.samples(first, last);
        let mut accepted: Option<Sample> = None;
        samples.retain(|sample| {
            let present = at_moment(stored, *sample)
                .or_else(|| at_moment(&past.samples, *sample))
                .or(accepted.filter(|accepted| accepted.timestamp == sample.timestamp));
            let verdict = admission.judge(*sample, newest, present.map(|present| present.value));
            if verdict != Verdict::Store {
                refused(verdict);
                return false;
            }
            accepted = Some(*sample);
            true
        });
    }

    /// Adds a sample wherever its time belongs.
    pub(crate) fn store(&mut self, sample: Sample) {
        if self.newest().is_some_and(|newest| sample.timestamp.millis() <= newest) {
            self.late.get_or_insert_default().insert(sample);
            return;
        }
        self.open.push(sample);
        if self.open.is_full() {
            self.seal();
        }
    }

    /// Ends the open chunk, so that a series that has fallen silent holds no spare memory.
    pub(crate) fn seal(&mut self) {
        self.sealed.extend(self.open.seal());
    }

    /// Seals the open chunk when its newest sample is older than `before`, and gives spare memory
    /// back.
    pub(crate) fn seal_silent(&mut self, before: i64) {
        if self.open.span().is_some_and(|(_, last)| last < before) {
            self.seal();
            self.open.release();
            self.sealed.shrink_to_fit();
        }
    }

    /// Drops chunks that lie wholly before the horizon; answers how many samples went.
    pub(crate) fn drop_before(&mut self, horizon: i64) -> usize {
        let mut dropped = 0;
        let mut keep = |chunk: &Chunk| {
            let kept = chunk.last >= horizon;
            dropped += if kept { 0 } else { chunk.len() };
            kept
        };
        self.sealed.retain(&mut keep);
        if let Some(late) = &mut self.late {
            late.sealed.retain(&mut keep);
            let expired = late.sorted.partition_point(|sample| sample.timestamp.millis() < horizon);
            late.sorted.drain(..expired);
            dropped += expired;
        }
        if self.open.span().is_some_and(|(_, last)| last < horizon) {
            dropped += self.open.len();
            self.open = OpenChunk::default();
        }
        self.late.take_if(|late| late.is_empty());
        dropped
    }

    /// Gives every sample before a millisecond a chunk that ends before it, and answers these chunks.
    /// They stay until [`SeriesSamples::remove`].
    pub(crate) fn split(&mut self, before: i64) -> Vec<Chunk> {
        if self.open.span().is_some_and(|(first, _)| first < before) {
            let samples: Vec<Sample> = self.open.samples().collect();
            let (old, new) = samples.split_at(below(&samples, before));
            self.open.clear();
            self.sealed.extend(Chunk::from_samples(old));
            new.iter().for_each(|sample| self.open.push(*sample));
        }
        split_chunks(&mut self.sealed, before);
        let mut leaving: Vec<Chunk> =
            self.sealed.iter().take_while(|chunk| chunk.last < before).cloned().collect();
        if let Some(late) = &mut self.late {
            let sorted = late.sorted.drain(..below(&late.sorted, before)).collect::<Vec<_>>();
            late.sealed.extend(Chunk::from_samples(&sorted));
            split_chunks(&mut late.sealed, before);
            leaving.extend(late.sealed.iter().filter(|chunk| chunk.last < before).cloned());
        }
        leaving
    }

    /// Drops chunks that [`SeriesSamples::split`] answered; answers how many samples went.
    pub(crate) fn remove(&mut self, leaving: &[Chunk]) -> usize {
        let mut removed = 0;
        let mut stays = |chunk: &Chunk| {
            let stays = !leaving.iter().any(|gone| gone.is(chunk));
            removed += if stays { 0 } else { chunk.len() };
            stays
        };
        self.sealed.retain(&mut stays);
        self.sealed.shrink_to_fit();
        if let Some(late) = &mut self.late {
            late.sealed.retain(&mut stays);
        }
        self.late.take_if(|late| late.is_empty());
        removed
    }

    /// Puts what a query over the span needs into `snapshot`, whatever was there before. Sealed
    /// chunks are shared, not copied; the caller decodes them after it has let go of the lock.
    pub(crate) fn snapshot(&self, start: i64, end: i64, snapshot: &mut Snapshot) {
        snapshot.clear();
        let from = self.sealed.partition_point(|chunk| chunk.last < start);
        let to = self.sealed.partition_point(|chunk| chunk.first <= end);
        snapshot.chunks.extend_from_slice(self.sealed.get(from..to).unwrap_or_default());
        if self.open.span().is_some_and(|(first, last)| first <= end && last >= start) {
            self.open.samples().read_span(start, end, &mut snapshot.recent);
        }
        if let Some(late) = self.late.as_deref() {
            let sorted = within(&late.sorted, start, end);
            let chunks = snapshot.chunks.len();
            snapshot
                .chunks
                .extend(late.sealed.iter().filter(|chunk| chunk.overlaps(start, end)).cloned());
            snapshot.overlapping = !sorted.is_empty() || snapshot.chunks.len() > chunks;
            snapshot.recent.extend_from_slice(sorted);
        }
    }
}

/// Cuts chunks in two that reach from before a millisecond to it or beyond.
fn split_chunks(chunks: &mut Vec<Chunk>, before: i64) {
    let mut at = 0;
    while let Some(chunk) = chunks.get(at) {
        if chunk.first < before && chunk.last >= before {
            let samples: Vec<Sample> = chunk.samples().collect();
            let (old, new) = samples.split_at(below(&samples, before));
            let parts = [Chunk::from_samples(old), Chunk::from_samples(new)];
            chunks.splice(at..=at, parts.into_iter().flatten());
        }
        at += 1;
    }
}

/// How many of the samples are before a millisecond.
fn below(samples: &[Sample], before: i64) -> usize {
    samples.partition_point(|sample| sample.timestamp.millis() < before)
}

impl Late {
    fn newest(&self) -> Option<i64> {
        let sorted = self.sorted.last().map(|sample| sample.timestamp.millis());
        self.sealed.iter().map(|chunk| chunk.last).max().max(sorted)
    }

    fn is_empty(&self) -> bool {
        self.sealed.is_empty() && self.sorted.is_empty()
    }

    fn insert(&mut self, sample: Sample) {
        let at = self.sorted.binary_search_by_key(&sample.timestamp, |stored| stored.timestamp);
        if let Err(at) = at {
            self.sorted.insert(at, sample);
        }
        if self.sorted.len() >= usize::from(CHUNK_SAMPLES_MAX) {
            self.sealed.extend(Chunk::from_samples(&self.sorted));
            self.sorted = Vec::new();
        }
    }
}

impl Snapshot {
    /// All samples of the span in order of time, one a moment.
    pub(crate) fn samples(&mut self, start: i64, end: i64) -> &[Sample] {
        if self.chunks.is_empty() && !self.overlapping {
            return &self.recent;
        }
        for chunk in self.chunks.drain(..) {
            chunk.samples().read_span(start, end, &mut self.decoded);
        }
        self.decoded.append(&mut self.recent);
        if self.overlapping {
            self.decoded.sort_by_key(|sample| sample.timestamp);
            self.decoded.dedup_by_key(|sample| sample.timestamp);
        }
        &self.decoded
    }

    /// Keeps the room that was made.
    fn clear(&mut self) {
        self.chunks.clear();
        self.recent.clear();
        self.decoded.clear();
        self.overlapping = false;
    }
}

/// The stored sample at the moment of another one.
fn at_moment(stored: &[Sample], sample: Sample) -> Option<Sample> {
    let at = stored.binary_search_by_key(&sample.timestamp, |stored| stored.timestamp).ok()?;
    stored.get(at).copied()
}

fn within(sorted: &[Sample], start: i64, end: i64) -> &[Sample] {
    let from = sorted.partition_point(|sample| sample.timestamp < Timestamp(start));
    let to = sorted.partition_point(|sample| sample.timestamp <= Timestamp(end));
    sorted.get(from..to).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ADMISSION: Admission = Admission { window: 100, horizon: -1_000 };

    fn stored(times: &[i64]) -> SeriesSamples {
        let mut samples = SeriesSamples::default();
        times.iter().for_each(|at| samples.store(Sample::new(*at, *at as f64)));
        samples
    }

    fn times(samples: &SeriesSamples, start: i64, end: i64) -> Vec<i64> {
        let mut snapshot = Snapshot::default();
        // What an earlier series left behind must not show.
        stored(&[1, 2, 3, 2]).snapshot(0, 9, &mut snapshot);
        samples.snapshot(start, end, &mut snapshot);
        snapshot.samples(start, end).iter().map(|s| s.timestamp.millis()).collect()
    }

    #[test]
    fn late_samples_are_read_in_order_of_time() {
        let samples = stored(&[10, 40, 20, 50, 30]);
        assert_eq!(times(&samples, 0, 99), [10, 20, 30, 40, 50]);
        assert_eq!(times(&samples, 20, 40), [20, 30, 40]);
    }

    #[test]
    fn verdicts_follow_window_horizon_and_what_is_stored() {
        let judge = |at: i64, newest, stored| ADMISSION.judge(Sample::new(at, 1.0), newest, stored);
        assert_eq!(judge(5, None, None), Verdict::Store);
        assert_eq!(judge(-1_001, None, None), Verdict::Refuse(Refusal::TooOld));
        assert_eq!(judge(900, Some(1_000), None), Verdict::Store);
        assert_eq!(judge(899, Some(1_000), None), Verdict::Refuse(Refusal::TooOld));
        assert_eq!(judge(900, Some(1_000), Some(1.0)), Verdict::Unchanged);
        assert_eq!(judge(1_000, Some(1_000), Some(2.0)), Verdict::Refuse(Refusal::Duplicate));
        let strict = Admission { window: 0, ..ADMISSION };
        assert_eq!(
            strict.judge(Sample::new(9, 1.0), Some(10), None),
            Verdict::Refuse(Refusal::OutOfOrder)
        );
    }

    #[test]
    fn retention_drops_whole_chunks_wherever_they_are() {
        let mut samples = stored(&(0..300).map(|i| i * 10).collect::<Vec<_>>());
        samples.store(Sample::new(5, 0.0));
        assert_eq!(samples.drop_before(1_200), 121);
        assert_eq!(times(&samples, 0, 10_000).first(), Some(&1_200));
        assert_eq!(samples.drop_before(5_000), 180);
        assert!(samples.is_empty());
    }

    #[test]
    fn a_silent_series_is_sealed_and_goes_on_afterwards() {
        let mut samples = stored(&[10, 20]);
        samples.seal_silent(20);
        assert_eq!(samples.sealed.len(), 0);
        samples.seal_silent(21);
        assert_eq!((samples.sealed.len(), samples.newest()), (1, Some(20)));
        samples.store(Sample::new(30, 1.0));
        assert_eq!(times(&samples, 0, 99), [10, 20, 30]);
    }

    #[test]
    fn what_is_in_a_block_counts_as_stored() {
        let past = Past { newest: Some(500), samples: vec![Sample::new(410, 410.0)] };
        let mut verdicts = Vec::new();
        let mut batch = [399, 410, 450, 501].map(|at| Sample::new(at, at as f64)).to_vec();
        stored(&[450]).admit(&mut batch, &ADMISSION, &past, |verdict| verdicts.push(verdict));
        assert_eq!(batch, [Sample::new(501, 501.0)]);
        let too_old = Verdict::Refuse(Refusal::TooOld);
        assert_eq!(verdicts, [too_old, Verdict::Unchanged, Verdict::Unchanged]);
    }

    #[test]
    fn what_came_late_may_be_all_that_stays() {
        let mut samples = stored(&[10, 40]);
        let leaving = samples.split(50);
        samples.store(Sample::new(30, 0.0));
        assert_eq!((samples.remove(&leaving), samples.newest()), (2, Some(30)));
        samples.store(Sample::new(35, 0.0));
        samples.store(Sample::new(20, 0.0));
        assert_eq!(times(&samples, 0, 99), [20, 30, 35]);
    }

    proptest! {
        #[test]
        fn a_split_parts_old_from_new_and_changes_nothing(at in prop::collection::vec(0i64..2_000, 1..600), before in 0i64..2_000, more in prop::collection::vec(0i64..2_000, 0..200)) {
            let mut samples = SeriesSamples::default();
            let mut all = std::collections::BTreeSet::new();
            let new = at.iter().filter(|at| all.insert(**at)).copied().collect::<Vec<_>>();
            new.iter().for_each(|at| samples.store(Sample::new(*at, *at as f64)));
            let leaving = samples.split(before);
            let mut left: Vec<i64> = leaving.iter().flat_map(|chunk| chunk.samples()).map(|s| s.timestamp.millis()).collect();
            left.sort_unstable();
            prop_assert_eq!(&left, &all.range(..before).copied().collect::<Vec<_>>());
            prop_assert_eq!(times(&samples, 0, 2_000), all.iter().copied().collect::<Vec<_>>());
            // Samples that arrive meanwhile stay.
            let mut stay = all.split_off(&before);
            for at in more.into_iter().filter(|at| !all.contains(at) && !stay.contains(at)).collect::<std::collections::BTreeSet<_>>() {
                samples.store(Sample::new(at, at as f64));
                stay.insert(at);
            }
            prop_assert_eq!(samples.remove(&leaving), left.len());
            prop_assert_eq!(samples.newest(), stay.last().copied());
            prop_assert_eq!(times(&samples, 0, 2_000), stay.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn any_order_of_arrival_reads_as_a_sorted_list(at in prop::collection::vec(0i64..2_000, 1..600), from in 0i64..2_000, span in 0i64..2_000) {
            let mut samples = SeriesSamples::default();
            let mut expected = std::collections::BTreeSet::new();
            let all = Admission { window: 10_000, horizon: i64::MIN };
            for at in at {
                let mut row = vec![Sample::new(at, at as f64)];
                samples.admit(&mut row, &all, &Past::default(), |verdict| assert_eq!(verdict, Verdict::Unchanged));
                prop_assert_eq!(!row.is_empty(), expected.insert(at));
                row.into_iter().for_each(|sample| samples.store(sample));
            }
            let wanted: Vec<i64> = expected.range(from..=from + span).copied().collect();
            prop_assert_eq!(samples.overlaps(from, from + span) || wanted.is_empty(), true);
            prop_assert_eq!(times(&samples, from, from + span), wanted);
        }
    }
}
