//! Looking at the series of a selection one by one, for callers that know them from the last time: nothing is made of a
//! series but what the caller makes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::{Labels, Sample, Selection};
use promql::Hint;

use crate::expression::{QueryError, SetOnDrop};
use crate::looks;
use crate::reading::Store;
use crate::registry::HeadSeries;
use crate::samples::Snapshot;
use crate::storage::{Place, Reader};

/// A store of this process, while somebody looks.
#[derive(Debug)]
pub struct Sight<'s> {
    store: &'s Store,
    is_abandoned: &'s AtomicBool,
}

/// Lets `look` see the store, on a thread that may take its time. The error says that the time is over, that the
/// store is not in this process, or that the work was interrupted.
pub async fn look_around<T: Send + 'static>(
    reader: &Reader,
    timeout: Duration,
    look: impl FnOnce(&Sight<'_>) -> T + Send + 'static,
) -> Result<T, QueryError> {
    let Place::Here(here) = reader.place() else { return Err(QueryError::Interrupted) };
    let abandoned = SetOnDrop(Arc::default());
    let seen = Arc::clone(&abandoned.0);
    let looking = here.ask(move |store| look(&Sight { store, is_abandoned: &seen }));
    match tokio::time::timeout(timeout, looking).await {
        Ok(answered) => answered.map_err(|_| QueryError::Interrupted),
        Err(_) => Err(QueryError::TimedOut(timeout)),
    }
}

impl Sight<'_> {
    /// Hands over series of a selection with their samples in its span, in the order of their numbers. `choose` gets
    /// the numbers of all series that the selection picks and answers the places of those to look at, ascending. As
    /// long as the list is the same one, the series behind it are. Of samples that none of the hints looks at some
    /// may be missing. `false` when that is not all: part of it is in blocks, or nobody waits any more.
    pub fn each(
        &self,
        selection: &Selection,
        hints: &[Hint],
        choose: impl FnOnce(&Arc<[u32]>) -> Vec<u32>,
        mut take: impl FnMut(usize, &Labels, &[Sample]),
    ) -> bool {
        let head = &self.store.head;
        let chosen: Vec<(u32, Arc<HeadSeries>)> = {
            let registry = head.registry.read();
            let ids = registry.picked(&selection.matchers);
            let series = |place: u32| {
                let id = ids.get(place as usize)?;
                Some((place, Arc::clone(registry.get(*id)?)))
            };
            choose(&ids).into_iter().filter_map(series).collect()
        };
        let (start, end) = (selection.start.millis(), selection.end.millis());
        let only_look = looks::only(selection, hints);
        let mut snapshot = Snapshot::default();
        for (place, series) in &chosen {
            if self.is_abandoned.load(Ordering::Relaxed) {
                return false;
            }
            let stored = series.samples.lock();
            if let Some(look) = only_look
                && let Some(newest) = stored.newest_open()
                && newest.timestamp.millis() <= look
            {
                drop(stored);
                let samples = if newest.timestamp.millis() < start { &[][..] } else { &[newest] };
                take(*place as usize, &series.labels, samples);
            } else {
                stored.snapshot(start, end, &mut snapshot);
                drop(stored);
                take(*place as usize, &series.labels, snapshot.samples(start, end));
            }
        }
        // Asked last: what leaves the head meanwhile is in the blocks by then.
        self.store.is_recent(selection)
    }
}

#[cfg(test)]
mod tests {
    use model::{Matcher, Series, Timestamp};

    use super::*;
    use crate::{Batch, Limits, LocalConfig, Storage};

    const LONG: Duration = Duration::from_secs(60);

    fn batch(names: &[&str], seconds: &[i64]) -> Batch {
        let sample = |second: &i64| Sample::new(second * 1000, *second as f64);
        let series = |host: &&str| Series {
            labels: Labels::from_pairs([("__name__", "up"), ("endpoint", host)]),
            samples: seconds.iter().map(sample).collect(),
        };
        Batch { series: names.iter().map(series).collect(), metadata: vec![] }
    }

    fn up(start: i64, end: i64) -> Selection {
        let (start, end) = (Timestamp::from_seconds(start), Timestamp::from_seconds(end));
        Selection { matchers: vec![Matcher::equal("__name__", "up")], start, end }
    }

    type Seen = Vec<(usize, String, Vec<f64>)>;

    /// What is seen of the places that `choose` leaves of how many there are, and whether it is all.
    async fn seen(
        storage: &Storage,
        selection: Selection,
        choose: fn(usize) -> Vec<u32>,
    ) -> (Seen, bool) {
        let look = move |sight: &Sight<'_>| {
            let mut seen = Vec::new();
            let take = |place: usize, labels: &Labels, samples: &[Sample]| {
                let host = labels.get("endpoint").unwrap_or("").to_owned();
                seen.push((place, host, samples.iter().map(|sample| sample.value).collect()));
            };
            let is_all = sight.each(&selection, &[], |ids| choose(ids.len()), take);
            (seen, is_all)
        };
        look_around(&storage.reader(), LONG, look).await.expect("the store is here")
    }

    fn all(count: usize) -> Vec<u32> {
        (0..count as u32).collect()
    }

    #[tokio::test]
    async fn chosen_series_are_handed_over_with_the_samples_of_the_span() {
        let storage = Storage::memory(Limits::default());
        storage.writer().write(batch(&["a", "b", "c"], &[10, 20, 30])).await.expect("it is taken");
        let one =
            |place: usize, host: &str, values: &[f64]| (place, host.to_owned(), values.to_vec());
        let (found, is_all) =
            seen(&storage, up(15, 25), |count| vec![0, count as u32 - 1, 99]).await;
        assert_eq!((found, is_all), (vec![one(0, "a", &[20.0]), one(2, "c", &[20.0])], true));
        let (found, _) = seen(&storage, up(31, 40), |_| vec![1]).await;
        assert_eq!(found, [one(1, "b", &[])]);
    }

    #[tokio::test]
    async fn the_list_of_series_is_the_same_one_until_one_of_the_metric_comes() {
        let storage = Storage::memory(Limits::default());
        let ids = async || {
            let look = |sight: &Sight<'_>| {
                let mut known = None;
                let choose = |ids: &Arc<[u32]>| {
                    known = Some(Arc::clone(ids));
                    Vec::new()
                };
                sight.each(&up(0, 9), &[], choose, |_, _, _| {});
                known.expect("it was asked")
            };
            look_around(&storage.reader(), LONG, look).await.expect("the store is here")
        };
        storage.writer().write(batch(&["a"], &[1])).await.expect("it is taken");
        ids().await;
        let before = ids().await;
        assert!(Arc::ptr_eq(&before, &ids().await));
        storage.writer().write(batch(&["b"], &[1])).await.expect("it is taken");
        let after = ids().await;
        assert!(!Arc::ptr_eq(&before, &after) && after.len() == 2);
    }

    #[tokio::test]
    async fn it_is_told_that_older_samples_are_in_blocks() {
        let dir = tempfile::tempdir().expect("a directory");
        let hour = Duration::from_secs(3600);
        let mut config = LocalConfig::new(dir.path());
        config.block_span = hour;
        let storage = Storage::open(config, Timestamp(0)).await.expect("it opens");
        let seconds: Vec<i64> = (0..1000).map(|n| n * 60).collect();
        storage.writer().write(batch(&["a"], &seconds)).await.expect("it is taken");
        storage.compact(Timestamp::from_seconds(60_000)).await.expect("it is compacted");
        assert!(!seen(&storage, up(100, 60_000), all).await.1);
        assert!(seen(&storage, up(59_700, 60_000), all).await.1);
    }
}
