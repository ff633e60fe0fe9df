//! Which series selections pick, for selections that are asked again and again: those of rules, at every slot. As long
//! as no series of a metric comes or goes, a selection of this metric picks the same ones.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::Arc;

use model::{Labels, METRIC_NAME, MatchOp, Matcher};
use parking_lot::Mutex;

use crate::index::SeriesId;

/// Numbers of series that are kept at most, four bytes each, and selections.
const IDS_MAX: usize = 4_000_000;
const SELECTIONS_MAX: usize = 4096;

/// What selections picked.
#[derive(Debug, Default)]
pub(crate) struct Picked {
    /// For each metric that has series, when one of them last came or went. No moment is counted twice.
    changed: HashMap<Box<str>, u64>,
    changes: u64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Selections that were asked once. Many are never asked again.
    seen: HashSet<u64>,
    selections: HashMap<Vec<Matcher>, Selection>,
    ids: usize,
}

#[derive(Debug)]
struct Selection {
    changed: u64,
    ids: Arc<[SeriesId]>,
}

impl Picked {
    /// Notes that a series came, or went while others of its metric stay.
    pub(crate) fn change(&mut self, labels: &Labels) {
        self.changes += 1;
        match self.changed.get_mut(labels.metric_name()) {
            Some(changed) => *changed = self.changes,
            None => drop(self.changed.insert(labels.metric_name().into(), self.changes)),
        }
    }

    /// Notes that the last series of a metric went.
    pub(crate) fn end(&mut self, labels: &Labels) {
        self.changed.remove(labels.metric_name());
    }

    /// What a selection picks: as it is kept, or else by `resolve`.
    pub(crate) fn ids(
        &self,
        matchers: &[Matcher],
        resolve: impl FnOnce() -> Vec<SeriesId>,
    ) -> Arc<[SeriesId]> {
        let is_name = |m: &&Matcher| m.name == METRIC_NAME && m.op == MatchOp::Equal;
        let name = matchers.iter().find(is_name).map_or("", |matcher| matcher.value.as_str());
        let Some(changed) = self.changed.get(name).filter(|_| !name.is_empty()) else {
            return resolve().into();
        };
        {
            let mut kept = self.kept.lock();
            if let Some(known) = kept.selections.get(matchers)
                && known.changed == *changed
            {
                return Arc::clone(&known.ids);
            }
            let is_new = !kept.selections.contains_key(matchers);
            if is_new && !kept.is_repeated(matchers) {
                drop(kept);
                return resolve().into();
            }
        }
        let ids: Arc<[SeriesId]> = resolve().into();
        self.kept.lock().keep(matchers, Selection { changed: *changed, ids: Arc::clone(&ids) });
        ids
    }
}

impl Kept {
    /// Whether a selection that is not kept was asked before.
    fn is_repeated(&mut self, matchers: &[Matcher]) -> bool {
        let hash = self.selections.hasher().hash_one(matchers);
        if self.seen.len() >= SELECTIONS_MAX {
            self.seen.clear();
        }
        !self.seen.insert(hash)
    }

    fn keep(&mut self, matchers: &[Matcher], selection: Selection) {
        if let Some(old) = self.selections.remove(matchers) {
            self.ids -= old.ids.len();
        }
        if self.selections.len() >= SELECTIONS_MAX || self.ids + selection.ids.len() > IDS_MAX {
            (self.ids, self.selections) = (0, HashMap::new());
        }
        if selection.ids.len() <= IDS_MAX {
            self.ids += selection.ids.len();
            self.selections.insert(matchers.to_vec(), selection);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up(host: &str) -> Labels {
        Labels::from_pairs([("__name__", "up"), ("endpoint", host)])
    }

    /// What the selection `up` answers when the index would answer `now`.
    fn ids(picked: &Picked, now: &[SeriesId]) -> Vec<SeriesId> {
        picked.ids(&[Matcher::equal("__name__", "up")], || now.to_vec()).to_vec()
    }

    #[test]
    fn what_is_asked_again_is_resolved_again_only_after_a_change_of_its_metric() {
        let mut picked = Picked::default();
        picked.change(&up("a"));
        assert_eq!([ids(&picked, &[1]), ids(&picked, &[2]), ids(&picked, &[3])], [[1], [2], [2]]);
        picked.change(&Labels::from_pairs([("__name__", "down")]));
        assert_eq!(ids(&picked, &[4]), [2]);
        picked.change(&up("b"));
        assert_eq!([ids(&picked, &[5]), ids(&picked, &[6])], [[5], [5]]);
        picked.end(&up("b"));
        assert_eq!(ids(&picked, &[]), [0; 0]);
        picked.change(&up("c"));
        assert_eq!(ids(&picked, &[7]), [7], "a metric that came back is another one");
    }

    #[test]
    fn a_selection_without_a_name_is_resolved_every_time() {
        let mut picked = Picked::default();
        picked.change(&up("a"));
        let all = [Matcher::equal("endpoint", "a")];
        for now in [1, 2, 3] {
            assert_eq!(picked.ids(&all, || vec![now]).to_vec(), [now]);
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut picked = Picked::default();
        picked.change(&up("a"));
        let ask = |host: usize, count: usize| {
            let matchers =
                [Matcher::equal("__name__", "up"), Matcher::equal("endpoint", &host.to_string())];
            for _ in 0..2 {
                assert_eq!(picked.ids(&matchers, || vec![1; count]).len(), count);
            }
        };
        (0..SELECTIONS_MAX + 10).for_each(|host| ask(host, 1));
        assert!(picked.kept.lock().selections.len() <= SELECTIONS_MAX);
        assert!(picked.kept.lock().seen.len() <= SELECTIONS_MAX);
        for host in 0..3 {
            ask(host, IDS_MAX / 2);
        }
        let kept = picked.kept.lock();
        let held: usize = kept.selections.values().map(|one| one.ids.len()).sum();
        assert!(held == kept.ids && held <= IDS_MAX, "{held}");
    }
}
