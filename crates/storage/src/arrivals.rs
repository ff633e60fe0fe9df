//! Who wants to know that samples of certain metrics came in, and which did.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::Labels;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

/// Series that wait to be asked for at most. Beyond it the listener hears that there were more.
const SERIES_MAX: usize = 200_000;

/// Tells one listener which series got samples. Clones share it. While nobody listens a note costs
/// next to nothing.
#[derive(Debug, Clone, Default)]
pub struct Arrivals(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    is_watched: AtomicBool,
    names: RwLock<HashSet<String>>,
    waiting: Mutex<Arrived>,
    wake: Notify,
}

/// Series that got samples since the last time the listener asked.
#[derive(Debug, Default)]
pub struct Arrived {
    /// Their numbers in the store and their label sets; a series is in it once for every batch that had it. The
    /// number of a series that is gone is given to another one.
    pub series: Vec<(usize, Labels)>,
    /// How many there was no room for: the listener has to think of every series of its metrics.
    pub beyond_limit: u64,
}

impl Arrivals {
    /// Listens to the metrics of these names from now on, and to no others.
    pub fn watch(&self, names: HashSet<String>) {
        self.0.is_watched.store(!names.is_empty(), Ordering::Relaxed);
        *self.0.names.write() = names;
    }

    /// Notes series that just got samples which a query can see now.
    pub fn note<'a>(&self, series: impl Iterator<Item = (usize, &'a Labels)>) {
        if !self.0.is_watched.load(Ordering::Relaxed) {
            return;
        }
        let names = self.0.names.read();
        let mut watched =
            series.filter(|(_, labels)| names.contains(labels.metric_name())).peekable();
        if watched.peek().is_none() {
            return;
        }
        let mut waiting = self.0.waiting.lock();
        for (number, labels) in watched {
            if waiting.series.len() < SERIES_MAX {
                waiting.series.push((number, labels.clone()));
            } else {
                waiting.beyond_limit += 1;
            }
        }
        drop(waiting);
        self.0.wake.notify_one();
    }

    /// Waits until something came in, and takes it. There must be one listener only: of several each
    /// would get a part.
    pub async fn next(&self) -> Arrived {
        loop {
            let arrived = std::mem::take(&mut *self.0.waiting.lock());
            if !arrived.series.is_empty() || arrived.beyond_limit > 0 {
                return arrived;
            }
            self.0.wake.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batch, Limits, Storage};

    fn up(host: &str) -> Labels {
        Labels::from_pairs([("__name__", "up"), ("endpoint", host)])
    }

    fn watching(name: &str) -> Arrivals {
        let arrivals = Arrivals::default();
        arrivals.watch(HashSet::from([name.to_owned()]));
        arrivals
    }

    #[tokio::test]
    async fn a_listener_hears_of_its_metrics_only() {
        let arrivals = watching("up");
        let other = Labels::from_pairs([("__name__", "down")]);
        arrivals.note([(0, &other), (1, &up("a")), (2, &up("b"))].into_iter());
        assert_eq!(arrivals.next().await.series, [(1, up("a")), (2, up("b"))]);
        arrivals.watch(HashSet::new());
        arrivals.note([(1, &up("a"))].into_iter());
        assert_eq!(arrivals.0.waiting.lock().series, []);
    }

    #[tokio::test]
    async fn more_than_there_is_room_for_is_counted() {
        let arrivals = watching("up");
        let labels = up("a");
        arrivals.note(std::iter::repeat_n((0, &labels), SERIES_MAX + 3));
        let arrived = arrivals.next().await;
        assert_eq!((arrived.series.len(), arrived.beyond_limit), (SERIES_MAX, 3));
    }

    #[tokio::test]
    async fn what_a_store_takes_arrives_and_what_it_refuses_does_not() {
        let storage = Storage::memory(Limits::default());
        storage.arrivals().watch(HashSet::from(["up".to_owned()]));
        let write = async |host: &str, value: f64| {
            let samples = vec![model::Sample::new(1000, value)];
            let batch = Batch {
                series: vec![model::Series { labels: up(host), samples }],
                metadata: vec![],
            };
            storage.writer().write(batch).await.expect("memory takes it")
        };
        write("a", 1.0).await;
        assert_eq!(write("a", 2.0).await.refused_count(), 1, "there is another value already");
        write("b", 1.0).await;
        assert_eq!(storage.arrivals().next().await.series, [(0, up("a")), (1, up("b"))]);
    }
}
