//! The series of the head by number and by label set.

use std::sync::Arc;

use hashbrown::HashTable;
use model::{Labels, METRIC_NAME, Matcher};
use parking_lot::Mutex;

use crate::index::{Index, SeriesId};
use crate::picked::Picked;
use crate::samples::SeriesSamples;

/// One series. Readers share it, so that they look into it without holding the registry.
#[derive(Debug)]
pub(crate) struct HeadSeries {
    pub(crate) labels: Labels,
    pub(crate) samples: Mutex<SeriesSamples>,
}

/// All series: one copy of each label set, a table from hashes to numbers, and the index of labels.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    slots: Vec<Option<Arc<HeadSeries>>>,
    vacant: Vec<SeriesId>,
    table: HashTable<Entry>,
    index: Index,
    picked: Picked,
}

/// The hash is kept, so that neither growth nor a miss touches the series themselves.
#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u64,
    id: SeriesId,
}

impl Registry {
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn get(&self, id: SeriesId) -> Option<&Arc<HeadSeries>> {
        self.slots.get(id as usize)?.as_ref()
    }

    pub(crate) fn find(&self, labels: &Labels) -> Option<SeriesId> {
        let hash = labels.hash();
        let same = |entry: &Entry| {
            entry.hash == hash && self.get(entry.id).is_some_and(|s| s.labels == *labels)
        };
        self.table.find(hash, same).map(|entry| entry.id)
    }

    /// The series with these labels, made when it is missing; whether it is new. `None` when all
    /// numbers are taken.
    pub(crate) fn find_or_insert(&mut self, labels: &Labels) -> Option<(SeriesId, bool)> {
        if let Some(id) = self.find(labels) {
            return Some((id, false));
        }
        let id = match self.vacant.pop() {
            Some(id) => id,
            None => {
                let id = SeriesId::try_from(self.slots.len()).ok()?;
                self.slots.push(None);
                id
            }
        };
        let series = HeadSeries { labels: labels.clone(), samples: Mutex::default() };
        self.index.add(id, &series.labels);
        self.picked.change(&series.labels);
        if let Some(slot) = self.slots.get_mut(id as usize) {
            *slot = Some(Arc::new(series));
        }
        self.table
            .insert_unique(labels.hash(), Entry { hash: labels.hash(), id }, |entry| entry.hash);
        Some((id, true))
    }

    pub(crate) fn remove(&mut self, id: SeriesId) {
        let Some(series) = self.slots.get_mut(id as usize).and_then(Option::take) else { return };
        self.index.remove(id, &series.labels);
        match self.index.ids_of(METRIC_NAME, series.labels.metric_name()) {
            [] => self.picked.end(&series.labels),
            _ => self.picked.change(&series.labels),
        }
        if let Ok(entry) = self.table.find_entry(series.labels.hash(), |entry| entry.id == id) {
            entry.remove();
        }
        self.vacant.push(id);
    }

    pub(crate) fn ids(&self) -> Vec<SeriesId> {
        (0..).zip(&self.slots).filter(|(_, slot)| slot.is_some()).map(|(id, _)| id).collect()
    }

    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    /// The numbers of the series that all matchers pick. Of a selection that is asked again and again it is the same
    /// list until a series of its metric comes or goes.
    pub(crate) fn picked(&self, matchers: &[Matcher]) -> Arc<[SeriesId]> {
        let labels_of = |id| self.get(id).map(|series| &series.labels);
        self.picked.ids(matchers, || self.index.resolve(matchers, labels_of, || self.ids()))
    }

    /// The series that all matchers pick.
    pub(crate) fn resolve(&self, matchers: &[Matcher]) -> Vec<Arc<HeadSeries>> {
        let ids = self.picked(matchers);
        ids.iter().filter_map(|id| self.get(*id).cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_set_has_one_number_and_a_freed_number_is_used_again() {
        let mut registry = Registry::default();
        let [a, b, c] = ["a", "b", "c"].map(|job| Labels::from_pairs([("job", job)]));
        assert_eq!(registry.find_or_insert(&a), Some((0, true)));
        assert_eq!(registry.find_or_insert(&b), Some((1, true)));
        assert_eq!(registry.find_or_insert(&a), Some((0, false)));
        registry.remove(0);
        assert_eq!((registry.find(&a), registry.find(&b), registry.len()), (None, Some(1), 1));
        assert_eq!(registry.find_or_insert(&c), Some((0, true)));
        assert_eq!(registry.ids(), [0, 1]);
    }

    #[test]
    fn a_selection_that_is_asked_again_sees_series_come_and_go() {
        let mut registry = Registry::default();
        let of = |host: &str| Labels::from_pairs([("__name__", "up"), ("endpoint", host)]);
        let up = [Matcher::equal("__name__", "up")];
        let count = |registry: &Registry| {
            let counts: Vec<usize> = (0..3).map(|_| registry.resolve(&up).len()).collect();
            assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
            counts[0]
        };
        assert_eq!(count(&registry), 0);
        for (at, host) in ["a", "b", "c"].iter().enumerate() {
            registry.find_or_insert(&of(host));
            assert_eq!(count(&registry), at + 1);
        }
        registry.remove(1);
        assert_eq!(count(&registry), 2);
        // The number of a series that is gone is given to one of another metric.
        registry.find_or_insert(&Labels::from_pairs([("__name__", "down")]));
        let hosts: Vec<_> = registry.resolve(&up).iter().map(|one| one.labels.clone()).collect();
        assert_eq!(hosts, [of("a"), of("c")]);
        for id in [0, 2] {
            registry.remove(id);
        }
        assert_eq!(count(&registry), 0);
        registry.find_or_insert(&of("d"));
        assert_eq!(count(&registry), 1);
    }
}
