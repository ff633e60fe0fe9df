//! Which hosts have series in which data centres. Pure.

use std::collections::HashMap;

use model::{ENDPOINT, Matcher};

/// Data centres as bits: the first is bit 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SiteSet(u64);

/// Most data centres there may be.
pub(crate) const SITES_MAX: usize = 64;

impl SiteSet {
    /// The first `count`.
    pub(crate) fn first(count: usize) -> Self {
        Self(u64::MAX.checked_shr(64 - count.min(SITES_MAX) as u32).unwrap_or(0))
    }

    /// One.
    pub(crate) fn one(at: usize) -> Self {
        Self(1 << at)
    }

    pub(crate) fn with(self, at: usize) -> Self {
        Self(self.0 | 1 << at)
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn has(self, at: usize) -> bool {
        self.0 >> at & 1 == 1
    }

    pub(crate) fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Their positions, ascending.
    pub(crate) fn iter(self) -> impl Iterator<Item = usize> {
        (0..SITES_MAX).filter(move |at| self.has(*at))
    }
}

/// The hosts, each with the data centres whose stores have series of it. A host that has moved is in both.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Catalogue {
    hosts: HashMap<Box<str>, SiteSet>,
    shared: Vec<Box<str>>,
    is_complete: bool,
}

impl Catalogue {
    /// From the hosts of every data centre; `None` for one that never told them. While there is such a one nobody
    /// knows where a host is not.
    pub(crate) fn new(hosts_of_sites: &[Option<Vec<String>>]) -> Self {
        let mut hosts: HashMap<Box<str>, SiteSet> = HashMap::new();
        for (at, known) in hosts_of_sites.iter().enumerate() {
            for host in known.iter().flatten() {
                match hosts.get_mut(host.as_str()) {
                    Some(sites) => *sites = sites.with(at),
                    None => drop(hosts.insert(host.as_str().into(), SiteSet::one(at))),
                }
            }
        }
        let mut shared: Vec<Box<str>> = hosts
            .iter()
            .filter(|(_, sites)| sites.len() > 1)
            .map(|(host, _)| host.clone())
            .collect();
        shared.sort_unstable();
        Self { hosts, shared, is_complete: hosts_of_sites.iter().all(Option::is_some) }
    }

    /// The data centres that can have series with these conditions, of `all`. A host that is not known may have
    /// been heard a moment ago anywhere.
    pub(crate) fn places(&self, matchers: &[Matcher], all: SiteSet) -> SiteSet {
        if !self.is_complete {
            return all;
        }
        let hosts = matchers.iter().filter(|matcher| matcher.name == ENDPOINT);
        let places = hosts.filter_map(Matcher::exact_values).map(|hosts| {
            hosts.iter().fold(SiteSet::default(), |places, host| {
                places.or(self.hosts.get(*host).copied().unwrap_or(all))
            })
        });
        places.fold(all, SiteSet::and)
    }

    /// Hosts with series in several data centres, sorted.
    pub(crate) fn shared(&self) -> &[Box<str>] {
        &self.shared
    }

    /// Whether every data centre has told its hosts.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// How many hosts each of the first `sites` data centres has.
    pub(crate) fn count(&self, sites: usize) -> Vec<usize> {
        let mut counts = vec![0; sites];
        for at in self.hosts.values().flat_map(|places| places.iter()) {
            if let Some(count) = counts.get_mut(at) {
                *count += 1;
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use model::MatchOp;

    use super::*;

    fn hosts(names: &[&str]) -> Option<Vec<String>> {
        Some(names.iter().map(|name| (*name).to_owned()).collect())
    }

    fn places(catalogue: &Catalogue, op: MatchOp, value: &str) -> Vec<usize> {
        let matcher = Matcher::new(ENDPOINT, op, value).expect("it is a pattern");
        catalogue.places(&[matcher], SiteSet::first(3)).iter().collect()
    }

    #[test]
    fn a_host_is_where_its_series_are_and_an_unknown_one_may_be_anywhere() {
        let catalogue =
            Catalogue::new(&[hosts(&["a", "moved"]), hosts(&["b", "moved"]), hosts(&["c"])]);
        assert_eq!(places(&catalogue, MatchOp::Equal, "a"), [0]);
        assert_eq!(places(&catalogue, MatchOp::Regex, "a|b"), [0, 1]);
        assert_eq!(places(&catalogue, MatchOp::Equal, "moved"), [0, 1]);
        assert_eq!(places(&catalogue, MatchOp::Equal, "new"), [0, 1, 2]);
        assert_eq!(places(&catalogue, MatchOp::Regex, "a.*"), [0, 1, 2]);
        assert_eq!(catalogue.shared(), ["moved".into()]);
    }

    #[test]
    fn while_one_has_not_told_its_hosts_all_are_asked() {
        let catalogue = Catalogue::new(&[hosts(&["a"]), None, hosts(&[])]);
        assert_eq!(places(&catalogue, MatchOp::Equal, "a"), [0, 1, 2]);
    }

    #[test]
    fn the_first_sites_are_a_set() {
        assert_eq!(SiteSet::first(0).len(), 0);
        assert_eq!(SiteSet::first(64).len(), 64);
        assert_eq!(SiteSet::first(3).iter().collect::<Vec<_>>(), [0, 1, 2]);
    }
}
