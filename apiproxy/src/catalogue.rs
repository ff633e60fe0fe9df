//! Which hosts have series in which data centres. Pure.
//!
//! Names stand one behind the other in one text, a host is its place there and three sets of bits, a table finds it by
//! its name and a sorted list by the beginning of it: some 60 bytes a host. A change touches the hosts it is about.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use hashbrown::HashTable;
use model::{ENDPOINT, MatchOp, Matcher};

pub(crate) use crate::site_set::{SITES_MAX, SiteSet};

/// Most names that are kept, of hosts that are no more among them. Beyond it all data centres are asked for all hosts.
pub(crate) const HOSTS_MAX: usize = 2_000_000;
/// Longer names than this of hosts are not kept; all data centres are asked for them.
const NAME_BYTES_MAX: usize = 16 << 10;
/// Patterns whose data centres are remembered until a host comes or moves.
const PATTERNS_MAX: usize = 1000;

/// The position of a host in the catalogue.
pub(crate) type HostIndex = u32;

/// Where a host is, by who says so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Places {
    /// Data centres whose stores have series of it.
    pub(crate) series: SiteSet,
    /// Data centres whose hbs heard it lately, while the store has not told of it.
    pub(crate) hinted: SiteSet,
    /// Data centres whose hbs knows it.
    pub(crate) heard: SiteSet,
}

impl Places {
    /// Where it may have series.
    fn asked(self) -> SiteSet {
        self.series.or(self.hinted)
    }

    fn is_nowhere(self) -> bool {
        self.asked().or(self.heard).is_empty()
    }
}

#[derive(Debug, Clone, Copy)]
struct Host {
    start: u32,
    bytes: u32,
    places: Places,
}

/// The hosts, each with the data centres whose stores have series of it. A host that has moved is in both.
#[derive(Debug, Default, Clone)]
pub(crate) struct Catalogue {
    names: String,
    hosts: Vec<Host>,
    table: HashTable<HostIndex>,
    hasher: RandomState,
    sorted: Vec<HostIndex>,
    shared: Vec<Box<str>>,
    counts: Vec<Count>,
    /// Data centres that have told their hosts, and of those, ones that did so long ago.
    told: SiteSet,
    stale: SiteSet,
    sites: usize,
    is_full: bool,
    patterns: Patterns,
}

/// How many hosts a data centre has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// By its store.
    pub(crate) series: usize,
    /// By its hbs.
    pub(crate) heard: usize,
}

/// The data centres of patterns, as long as nothing changes.
#[derive(Debug, Default)]
struct Patterns(Mutex<HashMap<Box<str>, SiteSet>>);

impl Patterns {
    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, SiteSet>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clone for Patterns {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Catalogue {
    /// Without any host yet.
    pub(crate) fn of(sites: usize) -> Self {
        Self { sites, counts: vec![Count::default(); sites], ..Self::default() }
    }

    /// The data centres that can have series with these conditions, of `all`. A host that is not known may have
    /// been heard a moment ago anywhere.
    pub(crate) fn places(&self, matchers: &[Matcher], all: SiteSet) -> SiteSet {
        if !self.is_complete() {
            return all;
        }
        let hosts = matchers.iter().filter(|matcher| matcher.name == ENDPOINT);
        hosts.fold(all, |places, matcher| places.and(self.places_of(matcher, all)))
    }

    fn places_of(&self, matcher: &Matcher, all: SiteSet) -> SiteSet {
        if let Some(hosts) = named_hosts(matcher) {
            let of_host = |host: &Cow<'_, str>| {
                let places = self.find(host).map(|(_, places)| places.asked());
                places.filter(|places| !places.is_empty()).unwrap_or(all)
            };
            return hosts.iter().map(of_host).fold(SiteSet::default(), SiteSet::or);
        }
        // What has no such label has it empty, and is nowhere in particular.
        if matcher.op != MatchOp::Regex || matcher.matches_empty() {
            return all;
        }
        if let Some(known) = self.patterns.lock().get(matcher.value.as_str()) {
            return known.and(all);
        }
        let found = self.places_of_pattern(matcher, all);
        let mut patterns = self.patterns.lock();
        if patterns.len() >= PATTERNS_MAX {
            patterns.clear();
        }
        patterns.insert(matcher.value.as_str().into(), found);
        found
    }

    /// A host that nobody has told yet may match too: data centres that have not told for long are among them, and
    /// all when none is known that matches.
    fn places_of_pattern(&self, matcher: &Matcher, all: SiteSet) -> SiteSet {
        let mut found = self.stale.and(all);
        let before = found;
        for at in self.beginning_with(matcher.prefix()) {
            let places = self.hosts[at as usize].places.asked();
            if places.or(found) != found && matcher.matches(self.name(at)) {
                found = found.or(places);
                if found == all {
                    break;
                }
            }
        }
        if found == before { all } else { found.and(all) }
    }

    /// Hosts whose names begin with a text, in order.
    fn beginning_with<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = HostIndex> + 'a {
        let from = self.sorted.partition_point(|at| self.name(*at) < prefix);
        let begins = move |at: &HostIndex| self.name(*at).starts_with(prefix);
        self.sorted[from..].iter().copied().take_while(begins)
    }

    /// Hosts with series in several data centres, sorted.
    pub(crate) fn shared(&self) -> &[Box<str>] {
        &self.shared
    }

    /// Whether every data centre has told its hosts. While there is one that never did nobody knows where a host is not.
    pub(crate) fn is_complete(&self) -> bool {
        self.told == SiteSet::first(self.sites) && !self.is_full
    }

    /// How many hosts each data centre has.
    pub(crate) fn counts(&self) -> &[Count] {
        &self.counts
    }

    /// Names that are known, of hosts that are no more among them.
    pub(crate) fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Bytes of memory that it takes, without the patterns.
    pub(crate) fn bytes(&self) -> usize {
        let shared: usize = self.shared.iter().map(|host| host.len() + size_of::<Box<str>>()).sum();
        self.names.capacity()
            + self.hosts.capacity() * size_of::<Host>()
            + self.table.allocation_size()
            + self.sorted.capacity() * size_of::<HostIndex>()
            + shared
    }

    /// A host by its name.
    pub(crate) fn find(&self, name: &str) -> Option<(HostIndex, Places)> {
        let at = self.place_of(name)?;
        let places = self.hosts[at as usize].places;
        (!places.is_nowhere()).then_some((at, places))
    }

    /// The position of a name, also of a host that is nowhere any more.
    pub(crate) fn place_of(&self, name: &str) -> Option<HostIndex> {
        let hash = self.hasher.hash_one(name);
        self.table.find(hash, |at| self.name(*at) == name).copied()
    }

    /// The position of a host, which is new if need be; nothing when there is no room for it.
    pub(crate) fn intern(&mut self, name: &str) -> Option<HostIndex> {
        let hash = self.hasher.hash_one(name);
        if let Some(at) = self.table.find(hash, |at| self.name(*at) == name) {
            return Some(*at);
        }
        let room = u32::MAX as usize - self.names.len();
        if self.hosts.len() >= HOSTS_MAX || name.len() > NAME_BYTES_MAX.min(room) {
            self.is_full = true;
            return None;
        }
        let at = self.hosts.len() as HostIndex;
        let (start, bytes) = (self.names.len() as u32, name.len() as u32);
        self.names.push_str(name);
        self.hosts.push(Host { start, bytes, places: Places::default() });
        let (names, hosts, hasher) = (&self.names, &self.hosts, &self.hasher);
        self.table.insert_unique(hash, at, |other| hasher.hash_one(named(names, hosts, *other)));
        Some(at)
    }

    /// Where a host is said to be, to be changed. [`Catalogue::settle`] when all is said.
    pub(crate) fn places_mut(&mut self, at: HostIndex) -> &mut Places {
        &mut self.hosts[at as usize].places
    }

    /// A data centre has told its hosts just now, or not for long.
    pub(crate) fn note_told(&mut self, site: usize, is_stale: bool) {
        if is_stale {
            self.stale = self.stale.with(site);
        } else {
            self.told = self.told.with(site);
            self.stale = self.stale.without(site);
        }
        self.patterns.lock().clear();
    }

    /// Whether [`Catalogue::note_told`] would change nothing.
    pub(crate) fn is_noted(&self, site: usize, is_stale: bool) -> bool {
        match is_stale {
            true => self.stale.has(site),
            false => self.told.has(site) && !self.stale.has(site),
        }
    }

    /// Brings order into what was changed.
    pub(crate) fn settle(&mut self) {
        let (names, hosts) = (&self.names, &self.hosts);
        let by_name = |a: &u32, b: &u32| named(names, hosts, *a).cmp(named(names, hosts, *b));
        let mut new: Vec<HostIndex> = (self.sorted.len() as u32..hosts.len() as u32).collect();
        new.sort_unstable_by(by_name);
        match new.as_slice() {
            [] => {}
            [one] => {
                let at = self.sorted.partition_point(|other| by_name(other, one).is_lt());
                self.sorted.insert(at, *one);
            }
            // Two sorted runs, which this sort merges.
            _ => {
                self.sorted.append(&mut new);
                self.sorted.sort_by(by_name);
            }
        }
        let mut counts = vec![Count::default(); self.sites];
        let mut shared = Vec::new();
        for at in &self.sorted {
            let places = self.hosts[*at as usize].places;
            if places.asked().len() > 1 {
                shared.push(self.name(*at).into());
            }
            places.series.iter().for_each(|site| counts[site].series += 1);
            places.heard.iter().for_each(|site| counts[site].heard += 1);
        }
        (self.shared, self.counts) = (shared, counts);
        self.patterns.lock().clear();
    }

    /// The same without hosts that are nowhere, and the new position of each that stays.
    pub(crate) fn compacted(&self) -> (Self, Vec<Option<HostIndex>>) {
        self.rearranged(self.sites, Some)
    }

    /// The same with every data centre at the position that `to` gives it, if any; and the new position of each host.
    pub(crate) fn rearranged(
        &self,
        sites: usize,
        to: impl Fn(usize) -> Option<usize>,
    ) -> (Self, Vec<Option<HostIndex>>) {
        let moved =
            |set: SiteSet| set.iter().filter_map(&to).fold(SiteSet::default(), SiteSet::with);
        let mut next = Self::of(sites);
        (next.told, next.stale) = (moved(self.told), moved(self.stale));
        let keep = |host: (usize, &Host)| {
            let Places { series, hinted, heard } = host.1.places;
            let places =
                Places { series: moved(series), hinted: moved(hinted), heard: moved(heard) };
            let at = (!places.is_nowhere()).then(|| next.intern(self.name(host.0 as u32)))??;
            *next.places_mut(at) = places;
            Some(at)
        };
        let new_places = self.hosts.iter().enumerate().map(keep).collect();
        next.settle();
        (next, new_places)
    }

    /// Names of hosts that are nowhere any more.
    pub(crate) fn nowhere(&self) -> usize {
        self.hosts.iter().filter(|host| host.places.is_nowhere()).count()
    }

    fn name(&self, at: HostIndex) -> &str {
        named(&self.names, &self.hosts, at)
    }
}

/// The catalogue as it is now, for many who read it and one who keeps it up.
#[derive(Debug)]
pub(crate) struct Current(RwLock<Arc<Catalogue>>);

impl Current {
    pub(crate) fn new(catalogue: Catalogue) -> Self {
        Self(RwLock::new(Arc::new(catalogue)))
    }

    /// As it is now.
    pub(crate) fn get(&self) -> Arc<Catalogue> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes it: in its place when nobody reads just now, else in a copy.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Catalogue)) {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut current));
    }
}

/// The hosts that a condition names one by one: by `=`, or as alternatives whose dots are escaped or there are none.
fn named_hosts(matcher: &Matcher) -> Option<Vec<Cow<'_, str>>> {
    if let Some(hosts) = matcher.exact_values() {
        return Some(hosts.into_iter().map(Cow::Borrowed).collect());
    }
    if matcher.op != MatchOp::Regex {
        return None;
    }
    let (mut hosts, mut host) = (Vec::new(), String::new());
    let mut signs = matcher.value.chars();
    while let Some(sign) = signs.next() {
        match sign {
            '|' => hosts.push(Cow::Owned(std::mem::take(&mut host))),
            // Behind it a letter or digit has a meaning of its own.
            '\\' => host.push(signs.next().filter(char::is_ascii_punctuation)?),
            '.' | '+' | '*' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '^' | '$' => return None,
            other => host.push(other),
        }
    }
    hosts.push(Cow::Owned(host));
    Some(hosts)
}

fn named<'a>(names: &'a str, hosts: &[Host], at: HostIndex) -> &'a str {
    let Host { start, bytes, .. } = hosts[at as usize];
    &names[start as usize..(start + bytes) as usize]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A catalogue of what the stores of three data centres tell; `None` for one that never did.
    fn catalogue(told: [Option<&[&str]>; 3]) -> Catalogue {
        let mut catalogue = Catalogue::of(3);
        for (site, hosts) in told.into_iter().enumerate() {
            for host in hosts.into_iter().flatten() {
                let Some(at) = catalogue.intern(host) else { continue };
                let places = catalogue.places_mut(at);
                places.series = places.series.with(site);
            }
            if hosts.is_some() {
                catalogue.note_told(site, false);
            }
        }
        catalogue.settle();
        catalogue
    }

    fn places(catalogue: &Catalogue, op: MatchOp, value: &str) -> Vec<usize> {
        let matcher = Matcher::new(ENDPOINT, op, value).expect("it is a pattern");
        let once: Vec<usize> =
            catalogue.places(std::slice::from_ref(&matcher), SiteSet::first(3)).iter().collect();
        let again: Vec<usize> = catalogue.places(&[matcher], SiteSet::first(3)).iter().collect();
        assert_eq!(once, again, "what is remembered is the same");
        once
    }

    #[test]
    fn a_host_is_where_its_series_are_and_one_that_none_has_may_be_anywhere() {
        let catalogue = catalogue([Some(&["a", "moved"]), Some(&["b", "moved"]), Some(&["c"])]);
        assert_eq!(places(&catalogue, MatchOp::Equal, "a"), [0]);
        assert_eq!(places(&catalogue, MatchOp::Regex, "a|b"), [0, 1]);
        assert_eq!(places(&catalogue, MatchOp::Equal, "moved"), [0, 1], "in two");
        assert_eq!(places(&catalogue, MatchOp::Equal, "new"), [0, 1, 2], "in none");
        assert_eq!(places(&catalogue, MatchOp::Equal, ""), [0, 1, 2]);
        assert_eq!(catalogue.shared(), [Box::from("moved")]);
        assert_eq!(catalogue.counts().iter().map(|c| c.series).collect::<Vec<_>>(), [2, 2, 1]);
    }

    #[test]
    fn a_pattern_is_asked_for_where_hosts_match_it() {
        let mut catalogue =
            catalogue([Some(&["db-1", "db-2", "web-1"]), Some(&["web-2"]), Some(&["x"])]);
        assert_eq!(places(&catalogue, MatchOp::Regex, "db-.*"), [0]);
        assert_eq!(places(&catalogue, MatchOp::Regex, "web-[0-9]"), [0, 1]);
        assert_eq!(places(&catalogue, MatchOp::Regex, ".+-2"), [0, 1]);
        assert_eq!(
            places(&catalogue, MatchOp::Regex, "new-.*"),
            [0, 1, 2],
            "it matches none known"
        );
        assert_eq!(places(&catalogue, MatchOp::Regex, "(db-.*)?"), [0, 1, 2], "or no host at all");
        assert_eq!(places(&catalogue, MatchOp::NotRegex, "db-.*"), [0, 1, 2]);
        catalogue.note_told(2, true);
        assert_eq!(places(&catalogue, MatchOp::Regex, "db-.*"), [0, 2], "it has not told for long");
        assert_eq!(places(&catalogue, MatchOp::Equal, "db-1"), [0]);
    }

    #[test]
    fn alternatives_with_escaped_dots_name_hosts() {
        let catalogue = catalogue([Some(&["a.x"]), Some(&["b.x", "a-x"]), Some(&["c"])]);
        assert_eq!(places(&catalogue, MatchOp::Regex, r"a\.x|b\.x"), [0, 1]);
        assert_eq!(
            places(&catalogue, MatchOp::Regex, r"a\.x|new\.x"),
            [0, 1, 2],
            "one is not known"
        );
        assert_eq!(places(&catalogue, MatchOp::Regex, r"a\-x|c"), [1, 2]);
        assert_eq!(
            places(&catalogue, MatchOp::Regex, r"a.x|nobody\.x"),
            [0, 1],
            "a dot is any sign"
        );
        let of = |pattern: &str| {
            let matcher = Matcher::new(ENDPOINT, MatchOp::Regex, pattern).expect("it is a pattern");
            named_hosts(&matcher)
                .map(|hosts| hosts.into_iter().map(Cow::into_owned).collect::<Vec<_>>())
        };
        assert_eq!(of(r"a\.b|\$|"), Some(vec!["a.b".into(), "$".into(), String::new()]));
        for pattern in [r"a\d", r"a\x41", "a.b", "(a|b)", r"\bx"] {
            assert_eq!(of(pattern), None, "{pattern}");
        }
    }

    #[test]
    fn while_one_has_not_told_its_hosts_all_are_asked() {
        let catalogue = catalogue([Some(&["a"]), None, Some(&[])]);
        assert_eq!(places(&catalogue, MatchOp::Equal, "a"), [0, 1, 2]);
        assert_eq!(places(&catalogue, MatchOp::Regex, "a.*"), [0, 1, 2]);
    }

    #[test]
    fn a_name_that_is_too_long_is_not_kept_and_then_all_are_asked() {
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        let catalogue = catalogue([Some(&["a", &long]), Some(&[]), Some(&[])]);
        assert_eq!(catalogue.len(), 1);
        assert_eq!(places(&catalogue, MatchOp::Equal, "a"), [0, 1, 2]);
    }

    #[test]
    fn data_centres_change_places_and_hosts_of_removed_ones_are_forgotten() {
        let before = catalogue([Some(&["a", "both"]), Some(&["b", "both"]), None]);
        let (after, hosts) = before.rearranged(2, |at| [None, Some(1), Some(0)][at]);
        assert_eq!(hosts.iter().filter(|at| at.is_none()).count(), 1);
        assert_eq!(after.find("a"), None);
        assert_eq!(after.find("both").map(|(_, places)| places.series), Some(SiteSet::one(1)));
        assert!(after.shared().is_empty() && !after.is_complete());
    }

    proptest! {
        #[test]
        fn named_hosts_are_just_what_the_pattern_matches(
            pattern in "[ab.\\\\|-]{0,8}",
            host in "[ab.|-]{0,4}",
        ) {
            let Ok(matcher) = Matcher::new(ENDPOINT, MatchOp::Regex, &pattern) else { return Ok(()) };
            if let Some(hosts) = named_hosts(&matcher) {
                prop_assert_eq!(matcher.matches(&host), hosts.iter().any(|named| *named == host));
            }
        }

        #[test]
        fn it_says_what_a_plain_map_would_say(
            rounds in proptest::collection::vec(
                proptest::collection::vec(("[ab]{1,3}", 0_usize..3, any::<bool>()), 0..12), 0..6),
            pattern in "[ab]{0,2}(\\.\\*|\\.\\+|[ab]\\?)?",
        ) {
            let mut catalogue = catalogue([Some(&[]), Some(&[]), Some(&[])]);
            let mut plain: std::collections::BTreeMap<String, SiteSet> = Default::default();
            for round in rounds {
                for (host, site, is_there) in round {
                    let at = catalogue.intern(&host).expect("there is room");
                    let places = catalogue.places_mut(at);
                    let known = plain.entry(host).or_default();
                    *known = if is_there { known.with(site) } else { known.without(site) };
                    places.series = *known;
                }
                catalogue.settle();
                if catalogue.nowhere() > 2 {
                    catalogue = catalogue.compacted().0;
                }
            }
            let all = SiteSet::first(3);
            let matcher = Matcher::new(ENDPOINT, MatchOp::Regex, &pattern).expect("a pattern");
            let known = plain.iter().filter(|(host, sites)| matcher.matches(host) && !sites.is_empty());
            let found = known.map(|(_, sites)| *sites).fold(SiteSet::default(), SiteSet::or);
            let is_open = found.is_empty() || matcher.matches_empty();
            // Alternatives that are all plain are looked up one by one.
            if named_hosts(&matcher).is_none() {
                prop_assert_eq!(catalogue.places(&[matcher], all), if is_open { all } else { found });
            }
            for (host, sites) in &plain {
                let expected = if sites.is_empty() { all } else { *sites };
                let found = catalogue.places(&[Matcher::equal(ENDPOINT, host)], all);
                prop_assert_eq!(found, expected, "{}", host);
            }
            let shared: Vec<&str> =
                plain.iter().filter(|(_, sites)| sites.len() > 1).map(|(host, _)| host.as_str()).collect();
            let found: Vec<&str> = catalogue.shared().iter().map(AsRef::as_ref).collect();
            prop_assert_eq!(found, shared);
        }
    }
}
