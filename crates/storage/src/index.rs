//! Which series carry which label: lists of series ids by label name and value.

use std::collections::BTreeMap;

use model::{Labels, MatchOp, Matcher};

/// Number of a series in the head. Numbers of series that are gone are given out again.
pub(crate) type SeriesId = u32;

type Values = BTreeMap<Box<str>, Vec<SeriesId>>;

// What it takes to try a pattern on a value of the index, and to try a matcher on a series, whose
// labels are somewhere in memory; both in copied ids, each about a nanosecond.
const PATTERN_COST: usize = 64;
const SERIES_COST: usize = 256;

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
        let (excluding, mut requiring): (Vec<_>, Vec<_>) = matchers.iter().partition(|m| m.matches_empty());
        requiring.sort_by_key(|matcher| self.cost(matcher));
        let mut picked: Option<Vec<SeriesId>> = None;
        for matcher in requiring {
            picked = Some(match picked {
                Some(ids) if ids.len().saturating_mul(SERIES_COST) < self.cost(matcher) => ids
                    .into_iter()
                    .filter(|id| labels_of(*id).is_some_and(|l| matcher.matches_labels(l)))
                    .collect(),
                Some(mut ids) => {
                    keep_by(&mut ids, &self.having(matcher), true);
                    ids
                }
                None => self.having(matcher),
            });
        }
        let mut ids = picked.unwrap_or_else(all);
        for matcher in excluding {
            if matcher.op == MatchOp::NotEqual {
                keep_by(&mut ids, self.ids_of(&matcher.name, &matcher.value), false);
                continue;
            }
            ids.retain(|id| labels_of(*id).is_some_and(|labels| matcher.matches_labels(labels)));
        }
        ids
    }

    fn ids_of(&self, name: &str, value: &str) -> &[SeriesId] {
        self.names.get(name).and_then(|values| values.get(value)).map_or(&[], Vec::as_slice)
    }

    /// How much work it is to list the series of a matcher, in copied ids.
    fn cost(&self, matcher: &Matcher) -> usize {
        let Some(values) = self.names.get(matcher.name.as_str()) else { return 0 };
        match matcher.exact_values() {
            Some(exact) => exact.iter().filter_map(|value| values.get(*value)).map(Vec::len).sum(),
            None if matcher.op == MatchOp::NotEqual => usize::MAX,
            None => values.len().saturating_mul(PATTERN_COST),
        }
    }

    /// The series whose value of the label the matcher picks.
    fn having(&self, matcher: &Matcher) -> Vec<SeriesId> {
        let Some(values) = self.names.get(matcher.name.as_str()) else { return Vec::new() };
        let lists: Vec<&Vec<SeriesId>> = match matcher.exact_values() {
            Some(exact) => exact.iter().filter_map(|value| values.get(*value)).collect(),
            None => values.iter().filter(|(value, _)| matcher.matches(value)).map(|(_, ids)| ids).collect(),
        };
        let mut ids: Vec<SeriesId> = lists.iter().flat_map(|ids| ids.iter().copied()).collect();
        if lists.len() > 1 {
            ids.sort_unstable();
            // `a|a` names one value twice.
            ids.dedup();
        }
        ids
    }
}

// `BTreeMap::entry` would allocate the key on every look-up.
fn entry<'a, V: Default>(map: &'a mut BTreeMap<Box<str>, V>, key: &str) -> &'a mut V {
    if !map.contains_key(key) {
        map.insert(key.into(), V::default());
    }
    map.get_mut(key).expect("it was there or has just been inserted")
}

/// Keeps of `ids` those that are among `others`, or those that are not.
fn keep_by(ids: &mut Vec<SeriesId>, others: &[SeriesId], present: bool) {
    let mut rest = others;
    ids.retain(|id| {
        rest = &rest[rest.partition_point(|other| other < id)..];
        (rest.first() == Some(id)) == present
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matcher(name: &str, op: MatchOp, value: &str) -> Matcher {
        Matcher::new(name, op, value).expect("the pattern is valid")
    }

    fn resolve(index: &Index, series: &[Labels], matchers: &[Matcher]) -> Vec<SeriesId> {
        index.resolve(matchers, |id| series.get(id as usize), || (0..series.len() as SeriesId).collect())
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
        assert_eq!(index.having(&Matcher::equal("job", "a")), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_value_named_twice_counts_once() {
        let series = [Labels::from_pairs([("job", "a")])];
        assert_eq!(resolve(&indexed(&series), &series, &[matcher("job", MatchOp::Regex, "a|a")]), [0]);
    }

    proptest! {
        #[test]
        fn the_index_picks_what_a_scan_over_all_series_picks(
            rows in prop::collection::vec(("[ab]?", "[abc]?", "[a-d]{0,2}"), 0..60),
            asked in prop::collection::vec((0usize..3, 0usize..4, "[a-d]{0,2}|a\\|b|[ab]\\+|\\.\\*|\\.\\+|a\\|"), 0..4),
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
