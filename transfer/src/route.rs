//! Which destinations a series goes to: a pure function of its labels and the list of destinations,
//! the same in every transfer that has the same list.

mod falcon_ring;

use model::{ENDPOINT, Labels};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use self::falcon_ring::FalconRing;

/// Destinations and mirrors together; a set of them is one integer.
pub(crate) const DESTINATIONS_MAX: usize = 64;

/// How series are spread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hash {
    /// Weighted rendezvous: with one destination more or less, only the series of that one move.
    #[default]
    Rendezvous,
    /// The ring of Open-Falcon's transfer, to sit beside its judge or graph nodes: the names of the
    /// destinations are the names of the nodes.
    OpenFalcon,
}

/// What stays together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HashBy {
    /// All series of a host; a series without label `endpoint` goes by all its labels.
    #[default]
    Endpoint,
    /// Nothing: every series goes by all its labels.
    Series,
}

/// A set of destinations, by their place in the list; mirrors come after destinations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DestinationSet(u64);

impl DestinationSet {
    /// With the first `count` destinations.
    pub(crate) fn first(count: usize) -> Self {
        (0..count).collect()
    }

    pub(crate) fn contains(self, at: usize) -> bool {
        at < DESTINATIONS_MAX && self.0 >> at & 1 == 1
    }

    pub(crate) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Their places, ascending.
    pub(crate) fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let at = left.trailing_zeros() as usize;
            left &= left.checked_sub(1)?;
            Some(at)
        })
    }
}

impl FromIterator<usize> for DestinationSet {
    fn from_iter<T: IntoIterator<Item = usize>>(places: T) -> Self {
        let bit = |at: usize| 1_u64.checked_shl(at as u32).unwrap_or(0);
        Self(places.into_iter().fold(0, |set, at| set | bit(at)))
    }
}

/// Decides where series go.
#[derive(Debug)]
pub(crate) struct Router {
    spread: Spread,
    replication: usize,
    mirrors: DestinationSet,
}

#[derive(Debug)]
enum Spread {
    Rendezvous(HashBy, Vec<Seat>),
    OpenFalcon(FalconRing),
}

#[derive(Debug)]
struct Seat {
    hash: u64,
    weight: f64,
}

impl Router {
    /// For destinations with their weights, and `mirrors` more behind them that get everything.
    /// Each series goes to `replication` of the destinations, or to all when there are fewer.
    pub(crate) fn new(
        hash: Hash,
        by: HashBy,
        destinations: &[(&str, f64)],
        mirrors: usize,
        replication: usize,
    ) -> Self {
        let seat =
            |(name, weight): &(&str, f64)| Seat { hash: xxh3_64(name.as_bytes()), weight: *weight };
        let spread = match hash {
            Hash::Rendezvous => Spread::Rendezvous(by, destinations.iter().map(seat).collect()),
            Hash::OpenFalcon => {
                Spread::OpenFalcon(FalconRing::new(destinations.iter().map(|(name, _)| *name)))
            }
        };
        let count = destinations.len();
        let mirrors = (count..count + mirrors).collect();
        Self { spread, replication: replication.min(count), mirrors }
    }

    /// Where a series goes. `original` is asked for the name that Open-Falcon's clients have for
    /// the metric, which is what its ring goes by.
    pub(crate) fn route(
        &self,
        labels: &Labels,
        original: impl FnOnce(&str) -> Option<String>,
    ) -> DestinationSet {
        let chosen = match &self.spread {
            Spread::Rendezvous(by, seats) => {
                by_rendezvous(seats, hash_of(labels, *by), self.replication)
            }
            Spread::OpenFalcon(ring) => {
                let metric = labels.metric_name();
                let original = original(metric);
                let metric = original.as_deref().unwrap_or(metric);
                ring.owners(falcon_ring::key_of(labels, metric), self.replication)
            }
        };
        chosen.union(self.mirrors)
    }
}

/// The `count` seats with the lowest draw. The draw of a seat depends on the series and on that seat
/// alone, so a new seat takes series away from the others and moves none between them. `-ln(u)/w` is
/// the draw that makes the lowest one fall on each seat in proportion to its weight.
fn by_rendezvous(seats: &[Seat], hash: u64, count: usize) -> DestinationSet {
    let draw = |seat: &Seat| {
        let mixed = xxh3_64_with_seed(&hash.to_le_bytes(), seat.hash);
        let share = ((mixed >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        -share.ln() / seat.weight
    };
    let mut chosen = DestinationSet::default();
    for _ in 0..count {
        let left = seats.iter().enumerate().filter(|(at, _)| !chosen.contains(*at));
        let lowest = left.min_by(|(_, a), (_, b)| draw(a).total_cmp(&draw(b)));
        chosen = chosen.union(lowest.map(|(at, _)| at).into_iter().collect());
    }
    chosen
}

/// The same in every version: series must not move because of an upgrade.
fn hash_of(labels: &Labels, by: HashBy) -> u64 {
    match labels.get(ENDPOINT) {
        Some(endpoint) if by == HashBy::Endpoint => xxh3_64(endpoint.as_bytes()),
        _ => labels.iter().fold(0, |hash, (name, value)| {
            let hash = xxh3_64_with_seed(name.as_bytes(), hash);
            xxh3_64_with_seed(value.as_bytes(), hash)
        }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

    fn router(count: usize, by: HashBy, replication: usize) -> Router {
        let destinations: Vec<(&str, f64)> =
            NAMES[..count].iter().map(|name| (*name, 1.0)).collect();
        Router::new(Hash::Rendezvous, by, &destinations, 0, replication)
    }

    fn series(number: usize) -> Labels {
        let (host, name) = (format!("web-{}", number / 10), format!("m{}", number % 10));
        Labels::from_pairs([("endpoint", host), ("__name__", name)])
    }

    fn places(router: &Router, labels: &Labels) -> Vec<usize> {
        router.route(labels, |_| None).iter().collect()
    }

    #[test]
    fn a_series_goes_where_it_went_with_every_version() {
        let found: Vec<usize> = (0..12)
            .map(|number| places(&router(5, HashBy::Series, 1), &series(number))[0])
            .collect();
        assert_eq!(found, [4, 2, 1, 2, 0, 2, 1, 4, 3, 1, 0, 3]);
        let of_hosts: Vec<usize> = (0..8)
            .map(|host| places(&router(5, HashBy::Endpoint, 1), &series(host * 10))[0])
            .collect();
        assert_eq!(of_hosts, [1, 4, 4, 2, 2, 0, 0, 4]);
    }

    #[test]
    fn a_host_stays_together_unless_the_series_count() {
        let (by_host, by_series) = (router(5, HashBy::Endpoint, 1), router(5, HashBy::Series, 1));
        let of = |router: &Router| -> DestinationSet {
            (0..10).flat_map(|number| places(router, &series(number))).collect()
        };
        assert_eq!(of(&by_host).iter().count(), 1);
        assert!(of(&by_series).iter().count() > 1);
        let hostless = Labels::from_pairs([("__name__", "up")]);
        assert_eq!(places(&by_host, &hostless), places(&by_series, &hostless));
    }

    #[test]
    fn weights_are_shares() {
        let destinations = [("small", 1.0), ("large", 3.0)];
        let router = Router::new(Hash::Rendezvous, HashBy::Series, &destinations, 0, 1);
        let large = (0..20_000).filter(|n| places(&router, &series(*n)) == [1]).count();
        assert!((14_700..15_300).contains(&large), "{large} of 20000");
    }

    #[test]
    fn mirrors_get_everything_and_replicas_are_distinct() {
        let destinations = [("a", 1.0), ("b", 1.0), ("c", 1.0)];
        let router = Router::new(Hash::Rendezvous, HashBy::Series, &destinations, 2, 2);
        for number in 0..100 {
            let found = places(&router, &series(number));
            assert!(found.len() == 4 && found.ends_with(&[3, 4]), "{found:?}");
        }
        let few = Router::new(Hash::Rendezvous, HashBy::Series, &destinations[..1], 0, 5);
        assert_eq!(places(&few, &series(0)), [0]);
    }

    #[test]
    fn all_places_fit_in_a_set() {
        let all = DestinationSet::first(DESTINATIONS_MAX);
        assert_eq!(all.iter().count(), DESTINATIONS_MAX);
        assert!(all.contains(63) && !all.contains(64));
        assert_eq!([64, 2].into_iter().collect::<DestinationSet>().iter().collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn one_destination_more_takes_its_share_and_moves_nothing_else() {
        for count in 2..NAMES.len() {
            let (before, after) =
                (router(count, HashBy::Series, 1), router(count + 1, HashBy::Series, 1));
            let moved = (0..10_000).filter(|number| {
                let series = series(*number);
                let (old, new) = (places(&before, &series), places(&after, &series));
                assert!(old == new || new == [count], "{series} moved from {old:?} to {new:?}");
                old != new
            });
            let (moved, share) = (moved.count(), 10_000 / (count + 1));
            assert!(
                moved.abs_diff(share) < share / 5,
                "{moved} of 10000 moved to one of {}",
                count + 1
            );
        }
    }

    proptest! {
        #[test]
        fn a_new_destination_takes_series_and_moves_none_between_the_others(
            count in 1_usize..7,
            replication in 1_usize..4,
            values in prop::collection::vec("[a-z]{1,8}", 1..40),
        ) {
            let before = router(count, HashBy::Series, replication);
            let after = router(count + 1, HashBy::Series, replication);
            for value in values {
                let labels = Labels::from_pairs([("__name__", "m"), ("job", &value)]);
                let (old, new) = (places(&before, &labels), places(&after, &labels));
                let came: Vec<usize> = new.iter().filter(|at| !old.contains(at)).copied().collect();
                prop_assert!(came.is_empty() || came == [count], "{:?} to {:?}", old, new);
                prop_assert_eq!(new.len(), replication.min(count + 1));
            }
        }
    }
}
