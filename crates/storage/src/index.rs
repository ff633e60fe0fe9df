//! Which series carry which label: lists of series ids by label name and value.

use std::collections::BTreeMap;
use std::ops::Bound;

use model::{Labels, MatchOp, Matcher};

/// Number of a series in the head. Numbers of series that are gone are given out again.
pub(crate) type SeriesId = u32;

type Values = BTreeMap<Box<str>, Vec<SeriesId>>;

// What it takes to try a pattern on a value of the index, and to try a matcher on a series, whose
// labels are somewhere in memory; both in copied ids, each about a nanosecond.
const PATTERN_COST: usize = 64;
const SERIES_COST: usize = 256;

// As many lists are looked through one by one.
const LISTS_MAX: usize = 8;

/// The lists. Every list ascends, so that lists can be intersected by walking along them.
#[derive(Debug, Default)]
pub(crate) struct Index {
    names: BTreeMap<Box<str>, Values>,
}

impl Index {
    pub(crate) fn add(&mut self, id: SeriesId, labels: &Labels) {
        for (name, value) in labels.iter() {
            let values = entry(&mut self.names, name);
            let ids = entry(values, value);
            match ids.last() {
                Some(last) if *last >= id => {
                    if let Err(at) = ids.binary_search(&id) {
                        ids.insert(at, id);
                    }
                }
                _ => ids.push(id),
            }
        }
    }

    pub(crate) fn remove(&mut self, id: SeriesId, labels: &Labels) {
        for (name, value) in labels.iter() {
            let Some(values) = self.names.get_mut(name) else { continue };
            let Some(ids) = values.get_mut(value) else { continue };
            if let Ok(at) = ids.binary_search(&id) {
                ids.remove(at);
            }
            if ids.is_empty() {
                values.remove(value);
            }
            if values.is_empty() {
                self.names.remove(name);
            }
        }
    }

    /// All label names in order.
    pub(crate) fn label_names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(|name| &**name)
    }

    /// All values of a label in order.
    pub(crate) fn label_values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.names.get(name).into_iter().flat_map(|values| values.keys().map(|value| &**value))
    }

    /// The series that all matchers pick, ascending. `labels_of` answers for every id of the index;
    /// `all` lists every id, and is asked only when each matcher would also pick series without its
    /// label.
    pub(crate) fn resolve<'a>(
        &self,
        matchers: &[Matcher],
        labels_of: impl Fn(SeriesId) -> Option<&'a Labels>,
        all: impl FnOnce() -> Vec<SeriesId>,
    ) -> Vec<SeriesId> {
        let (excluding, mut requiring): (Vec<_>, Vec<_>) =
            matchers.iter().partition(|m| m.matches_empty());
        requiring.sort_by_cached_key(|matcher| self.cost(matcher));
        let scan = |ids: &mut Vec<SeriesId>, matcher: &Matcher| {
            ids.retain(|id| labels_of(*id).is_some_and(|labels| matcher.matches_labels(labels)));
        };
        let mut picked: Option<Vec<SeriesId>> = None;
        for matcher in requiring {
            let Some(ids) = &mut picked else {
                picked = Some(union(&self.lists(matcher, true)));
                continue;
            };
            if self.is_scan_cheaper(ids, matcher) {
                scan(ids, matcher);
            } else {
                keep_by(ids, &self.lists(matcher, true), true);
            }
        }
        let mut ids = picked.unwrap_or_else(all);
        for matcher in excluding {
            if self.is_scan_cheaper(&ids, matcher) {
                scan(&mut ids, matcher);
            } else {
                keep_by(&mut ids, &self.lists(matcher, false), false);
            }
        }
        ids
    }

    /// The series whose label has a value.
    pub(crate) fn ids_of(&self, name: &str, value: &str) -> &[SeriesId] {
        self.names.get(name).and_then(|values| values.get(value)).map_or(&[], Vec::as_slice)
    }

    fn is_scan_cheaper(&self, ids: &[SeriesId], matcher: &Matcher) -> bool {
        ids.len().saturating_mul(SERIES_COST) < self.cost(matcher)
    }

    /// How much work it is to find the lists of a matcher and to go through them, in copied ids.
    fn cost(&self, matcher: &Matcher) -> usize {
        let Some(values) = self.names.get(matcher.name.as_str()) else { return 0 };
        match (matcher.op, matcher.exact_values()) {
            (MatchOp::NotEqual, _) if matcher.matches_empty() => 0,
            (_, Some(exact)) if !matcher.matches_empty() => {
                let ids = exact.iter().filter_map(|value| values.get(*value)).map(Vec::len).sum();
                // Many lists have to be put in order first.
                if exact.len() > LISTS_MAX { usize::saturating_mul(ids, 8) } else { ids }
            }
            // Nearly every series has another value.
            (MatchOp::NotEqual, _) => usize::MAX,
            _ => values.len().saturating_mul(PATTERN_COST),
        }
    }

    /// The lists of those values of the label that the matcher picks, or of those it does not pick.
    fn lists(&self, matcher: &Matcher, picked: bool) -> Vec<&[SeriesId]> {
        let Some(values) = self.names.get(matcher.name.as_str()) else { return Vec::new() };
        let one = |value: &str| values.get(value).map(Vec::as_slice);
        match (matcher.op, matcher.exact_values()) {
            (_, Some(exact)) if picked => exact.into_iter().filter_map(one).collect(),
            (MatchOp::NotEqual, _) if !picked => one(&matcher.value).into_iter().collect(),
            _ => {
                let is_alike = matches!(matcher.op, MatchOp::Equal | MatchOp::Regex);
                // What the pattern itself matches lies together in the order of values.
                let prefix = if is_alike == picked { matcher.prefix() } else { "" };
                let candidates =
                    values.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
                candidates
                    .take_while(|(value, _)| value.starts_with(prefix))
                    .filter(|(value, _)| matcher.matches(value) == picked)
                    .map(|(_, ids)| ids.as_slice())
                    .collect()
            }
        }
    }
}

/// All ids of the lists, ascending.
pub(crate) fn union(lists: &[&[SeriesId]]) -> Vec<SeriesId> {
    let mut ids = lists.concat();
    if lists.len() > 1 {
        // Lists of one label have no id in common, but `a|a` names one value twice.
        ids.sort_unstable();
        ids.dedup();
    }
    ids
}

// `BTreeMap::entry` would allocate the key on every look-up.
fn entry<'a, V: Default>(map: &'a mut BTreeMap<Box<str>, V>, key: &str) -> &'a mut V {
    if !map.contains_key(key) {
        map.insert(key.into(), V::default());
    }
    map.get_mut(key).expect("it was there or has just been inserted")
}

/// Keeps of `ids` those that are in one of the lists, or those that are in none.
pub(crate) fn keep_by(ids: &mut Vec<SeriesId>, lists: &[&[SeriesId]], present: bool) {
    if lists.len() > LISTS_MAX {
        // To walk along the ids once for every list would take longer than to join the lists.
        let mut joined = lists.concat();
        joined.sort();
        return keep_by(ids, &[&joined], present);
    }
    let mut found = vec![false; ids.len()];
    for list in lists {
        let mut rest = *list;
        for (id, found) in ids.iter().zip(&mut found) {
            rest = &rest[below(rest, *id)..];
            match rest.first() {
                Some(first) => *found |= first == id,
                None => break,
            }
        }
    }
    let mut found = found.into_iter();
    ids.retain(|_| found.next() == Some(present));
}

/// How many of the ascending ids are below one. What is near the start is found at once: the ids
/// asked for ascend as well.
fn below(ids: &[SeriesId], id: SeriesId) -> usize {
    let mut bound = 1;
    while bound < ids.len() && ids[bound - 1] < id {
        bound *= 2;
    }
    let from = bound / 2;
    from + ids[from..bound.min(ids.len())].partition_point(|other| *other < id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matcher(name: &str, op: MatchOp, value: &str) -> Matcher {
        Matcher::new(name, op, value).expect("the pattern is valid")
    }

    fn resolve(index: &Index, series: &[Labels], matchers: &[Matcher]) -> Vec<SeriesId> {
        index.resolve(
            matchers,
            |id| series.get(id as usize),
            || (0..series.len() as SeriesId).collect(),
        )
    }

    fn indexed(series: &[Labels]) -> Index {
        let mut index = Index::default();
        series.iter().enumerate().for_each(|(id, labels)| index.add(id as SeriesId, labels));
        index
    }

    #[test]
    fn a_removed_series_leaves_nothing_behind() {
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "a")]);
        let mut index = indexed(&[labels.clone(), labels.clone()]);
        index.remove(0, &labels);
        assert_eq!(index.label_names().count(), 2);
        index.remove(1, &labels);
        assert_eq!(index.label_names().count(), 0);
    }

    #[test]
    fn an_id_given_out_again_finds_its_place() {
        let labels = Labels::from_pairs([("job", "a")]);
        let mut index = indexed(&vec![labels.clone(); 5]);
        index.remove(2, &labels);
        index.add(2, &labels);
        assert_eq!(union(&index.lists(&Matcher::equal("job", "a"), true)), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_value_named_twice_counts_once() {
        let series = [Labels::from_pairs([("job", "a")])];
        assert_eq!(
            resolve(&indexed(&series), &series, &[matcher("job", MatchOp::Regex, "a|a")]),
            [0]
        );
    }

    #[test]
    fn a_pattern_is_tried_on_the_values_that_start_like_it() {
        let hosts = ["host-1", "host-10", "host-2", "other", "zone"];
        let series = hosts.map(|host| Labels::from_pairs([("endpoint", host)]));
        let index = indexed(&series);
        let picked =
            |op, pattern: &str| resolve(&index, &series, &[matcher("endpoint", op, pattern)]);
        assert_eq!(picked(MatchOp::Regex, "host-1.*"), [0, 1]);
        assert_eq!(picked(MatchOp::Regex, "host-[12]"), [0, 2]);
        assert_eq!(picked(MatchOp::NotRegex, "host-1.*"), [2, 3, 4]);
    }

    proptest! {
        #[test]
        fn many_lists_keep_what_few_would(
            ids in prop::collection::btree_set(0u32..60, 0..40),
            lists in prop::collection::vec(prop::collection::btree_set(0u32..60, 0..6), 0..20),
            present: bool,
        ) {
            let lists: Vec<Vec<SeriesId>> =
                lists.into_iter().map(|list| list.into_iter().collect()).collect();
            let slices: Vec<&[SeriesId]> = lists.iter().map(Vec::as_slice).collect();
            let is_in = |id: &SeriesId| lists.iter().any(|list| list.contains(id));
            let expected: Vec<SeriesId> =
                ids.iter().copied().filter(|id| is_in(id) == present).collect();
            let mut kept: Vec<SeriesId> = ids.into_iter().collect();
            keep_by(&mut kept, &slices, present);
            prop_assert_eq!(kept, expected);
        }

        #[test]
        fn a_search_that_starts_near_finds_what_halving_finds(
            ids in prop::collection::btree_set(0u32..200, 0..100),
            id in 0u32..200,
        ) {
            let ids: Vec<SeriesId> = ids.into_iter().collect();
            prop_assert_eq!(below(&ids, id), ids.partition_point(|other| *other < id));
        }

        #[test]
        fn the_index_picks_what_a_scan_over_all_series_picks(
            rows in prop::collection::vec(("[ab]?", "[abc]?", "[a-d]{0,2}"), 0..60),
            asked in prop::collection::vec((0usize..3, 0usize..4, "[a-d]{0,2}|a\\|b|[ab]\\+|\\.\\*|\\.\\+|a\\||a\\.\\*|[ab][cd]\\?"), 0..4),
        ) {
            let names = ["x", "y", "z"];
            let series: Vec<Labels> =
                rows.iter().map(|(x, y, z)| Labels::from_pairs([("x", x), ("y", y), ("z", z), ("k", z)])).collect();
            let ops = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
            let matchers: Vec<Matcher> =
                asked.iter().map(|(name, op, value)| matcher(names[*name], ops[*op], value)).collect();
            let scanned: Vec<SeriesId> = (0..series.len() as SeriesId)
                .filter(|id| matchers.iter().all(|m| m.matches_labels(&series[*id as usize])))
                .collect();
            prop_assert_eq!(resolve(&indexed(&series), &series, &matchers), scanned);
        }
    }
}
