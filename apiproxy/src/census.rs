//! Who told of which hosts, and when. Pure: what stores and hbs say goes in, and the catalogue is kept up.
//!
//! A store knows which hosts it has series of, but is asked now and then only; hbs hears a host at once where it lives
//! now, and does not know its series. So what a store tells holds, and a host that hbs has just heard where the store
//! does not have it is looked for there too, until the store had the time to tell.

use std::collections::BTreeMap;
use std::time::Duration;

use model::Timestamp;

use crate::bits::Bits;
use crate::catalogue::{Catalogue, Current, HostIndex};
use crate::follow::News;

/// How long a host is looked for where hbs heard it, after which the store has told whether it has series of it.
const HINT_KEPT: Duration = Duration::from_secs(60);
/// A store that has not told its hosts for so long does not know new ones.
const STALE_AFTER: Duration = Duration::from_secs(15);
/// Names of hosts that are no more are dropped when there are so many of them and more than of others.
const NOWHERE_MAX: usize = 10_000;

/// What each source of a data centre told last, by the position of the data centre.
#[derive(Debug, Default)]
pub(crate) struct Census {
    sites: Vec<Sources>,
}

/// The sources of a data centre.
#[derive(Debug, Default)]
struct Sources {
    store: Told,
    /// By address.
    hbs: BTreeMap<String, Told>,
    hints: Vec<(Timestamp, HostIndex)>,
}

/// What a source told, and when.
#[derive(Debug, Default)]
struct Told {
    hosts: Bits,
    at: Option<Timestamp>,
    fault: Option<String>,
}

/// What is shown of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceView {
    /// Hosts that it told of.
    pub(crate) hosts: usize,
    /// When it told last.
    pub(crate) told_at: Option<Timestamp>,
    /// Why it did not tell when it was asked last.
    pub(crate) fault: Option<String>,
}

impl Census {
    /// Nobody has told anything.
    pub(crate) fn of(sites: usize) -> Self {
        Self { sites: (0..sites).map(|_| Sources::default()).collect() }
    }

    /// The store of a data centre told all its hosts.
    pub(crate) fn store_told(
        &mut self,
        current: &Current,
        site: usize,
        hosts: &[String],
        now: Timestamp,
    ) {
        let Some(sources) = self.sites.get_mut(site) else { return };
        let catalogue = current.get();
        let (mut known, unknown) = looked_up(&catalogue, hosts);
        let is_same = unknown.is_empty() && known == sources.store.hosts;
        let hints = std::mem::take(&mut sources.hints);
        let (kept, done): (Vec<_>, Vec<_>) = hints
            .into_iter()
            .partition(|(at, host)| now.since(*at) < HINT_KEPT && !known.has(*host as usize));
        sources.hints = kept;
        let is_noted = catalogue.is_noted(site, false);
        drop(catalogue);
        if !is_same || !done.is_empty() || !is_noted {
            current.change(|catalogue| {
                unknown
                    .iter()
                    .filter_map(|host| catalogue.intern(host))
                    .for_each(|host| known.set(host as usize));
                for host in known.without(&sources.store.hosts) {
                    let series = &mut catalogue.places_mut(host).series;
                    *series = series.with(site);
                }
                for host in sources.store.hosts.without(&known) {
                    let series = &mut catalogue.places_mut(host).series;
                    *series = series.without(site);
                }
                for (_, host) in &done {
                    let hinted = &mut catalogue.places_mut(*host).hinted;
                    *hinted = hinted.without(site);
                }
                // One host may be hinted at twice.
                for (_, host) in &sources.hints {
                    let hinted = &mut catalogue.places_mut(*host).hinted;
                    *hinted = hinted.with(site);
                }
                catalogue.note_told(site, false);
                catalogue.settle();
            });
        }
        sources.store = Told { hosts: known, at: Some(now), fault: None };
        self.compact(current);
    }

    /// The store of a data centre did not tell its hosts.
    pub(crate) fn store_failed(
        &mut self,
        current: &Current,
        site: usize,
        why: &str,
        now: Timestamp,
    ) {
        let Some(Sources { store, .. }) = self.sites.get_mut(site) else { return };
        store.fault = Some(why.to_owned());
        let is_stale = store.at.is_some_and(|at| now.since(at) >= STALE_AFTER);
        if is_stale && !current.get().is_noted(site, true) {
            current.change(|catalogue| catalogue.note_told(site, true));
        }
    }

    /// A hbs of a data centre told its hosts, or what has changed.
    pub(crate) fn hbs_told(
        &mut self,
        current: &Current,
        (site, url): (usize, &str),
        news: &News,
        now: Timestamp,
    ) {
        let Some(sources) = self.sites.get_mut(site) else { return };
        let catalogue = current.get();
        let told = sources.hbs.entry(url.to_owned()).or_default();
        (told.at, told.fault) = (Some(now), None);
        let (mut next, unknown, back) = match news {
            News::More => return,
            News::All(hosts) => {
                let (known, unknown) = looked_up(&catalogue, hosts);
                (known, unknown, Bits::default())
            }
            News::Changed { there, gone, .. } => {
                let (back, unknown) = looked_up(&catalogue, there);
                let mut next = told.hosts.clone();
                looked_up(&catalogue, gone).0.iter().for_each(|host| next.clear(host as usize));
                back.iter().for_each(|host| next.set(host as usize));
                (next, unknown, back)
            }
        };
        drop(catalogue);
        if unknown.is_empty() && back.is_empty() && next == told.hosts {
            return;
        }
        let before = std::mem::take(&mut told.hosts);
        let mut hints = Vec::new();
        current.change(|catalogue| {
            unknown
                .iter()
                .filter_map(|host| catalogue.intern(host))
                .for_each(|host| next.set(host as usize));
            for host in next.without(&before).chain(back.iter()) {
                let places = catalogue.places_mut(host);
                places.heard = places.heard.with(site);
                if !places.series.has(site) {
                    places.hinted = places.hinted.with(site);
                    hints.push((now, host));
                }
            }
            for host in before.without(&next) {
                let is_heard = sources.hbs.values().any(|other| other.hosts.has(host as usize));
                if !is_heard {
                    let heard = &mut catalogue.places_mut(host).heard;
                    *heard = heard.without(site);
                }
            }
            catalogue.settle();
        });
        sources.hints.append(&mut hints);
        if let Some(told) = sources.hbs.get_mut(url) {
            told.hosts = next;
        }
        self.compact(current);
    }

    /// A hbs of a data centre did not answer: what it told last holds.
    pub(crate) fn hbs_failed(&mut self, (site, url): (usize, &str), why: &str) {
        if let Some(sources) = self.sites.get_mut(site) {
            sources.hbs.entry(url.to_owned()).or_default().fault = Some(why.to_owned());
        }
    }

    /// What the store of a data centre told.
    pub(crate) fn store(&self, site: usize) -> Option<SourceView> {
        self.sites.get(site).map(|sources| sources.store.view())
    }

    /// What the hbs of a data centre told.
    pub(crate) fn hbs(&self, site: usize, url: &str) -> Option<SourceView> {
        self.sites.get(site)?.hbs.get(url).map(Told::view)
    }

    /// Bytes of memory that it takes, about.
    pub(crate) fn bytes(&self) -> usize {
        let told = |told: &Told| told.hosts.bytes();
        let of_site = |site: &Sources| {
            let hints = site.hints.capacity() * size_of::<(Timestamp, HostIndex)>();
            told(&site.store) + site.hbs.values().map(told).sum::<usize>() + hints
        };
        self.sites.iter().map(of_site).sum()
    }

    /// The same for other data centres: `to` says at which position one goes on, with the addresses of its hbs.
    pub(crate) fn rearranged(
        self,
        catalogue: &Catalogue,
        hbs: &[Vec<String>],
        to: impl Fn(usize) -> Option<usize>,
    ) -> (Self, Catalogue) {
        let mut next = Self::of(hbs.len());
        for (at, mut sources) in self.sites.into_iter().enumerate() {
            if let Some((to, urls)) = to(at).and_then(|to| Some((to, hbs.get(to)?))) {
                sources.hbs.retain(|url, _| urls.contains(url));
                next.sites[to] = sources;
            }
        }
        let (catalogue, places) = catalogue.rearranged(hbs.len(), to);
        next.renumber(&places);
        (next, catalogue)
    }

    fn compact(&mut self, current: &Current) {
        let nowhere = {
            let catalogue = current.get();
            let nowhere = catalogue.nowhere();
            nowhere > NOWHERE_MAX && nowhere > catalogue.len() / 2
        };
        if nowhere {
            current.change(|catalogue| {
                let (next, places) = catalogue.compacted();
                *catalogue = next;
                self.renumber(&places);
            });
        }
    }

    fn renumber(&mut self, places: &[Option<HostIndex>]) {
        let to = |host: HostIndex| places.get(host as usize).copied().flatten();
        for site in &mut self.sites {
            for told in site.hbs.values_mut().chain([&mut site.store]) {
                told.hosts = told.hosts.iter().filter_map(to).map(|host| host as usize).collect();
            }
            site.hints =
                site.hints.iter().filter_map(|(at, host)| Some((*at, to(*host)?))).collect();
        }
    }
}

impl Told {
    fn view(&self) -> SourceView {
        let fault = self.fault.clone();
        SourceView { hosts: self.hosts.len(), told_at: self.at, fault }
    }
}

/// The hosts that the catalogue knows, and those that it does not.
fn looked_up<'a>(catalogue: &Catalogue, hosts: &'a [String]) -> (Bits, Vec<&'a str>) {
    let mut unknown = Vec::new();
    let known = hosts.iter().filter_map(|host| match catalogue.place_of(host) {
        Some(at) => Some(at as usize),
        None => {
            unknown.push(host.as_str());
            None
        }
    });
    (known.collect(), unknown)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{ENDPOINT, MatchOp, Matcher};

    use super::*;
    use crate::catalogue::SiteSet;

    struct World {
        census: Census,
        current: Current,
        now: Timestamp,
    }

    fn names(hosts: &[&str]) -> Vec<String> {
        hosts.iter().map(|host| (*host).to_owned()).collect()
    }

    impl World {
        fn of(sites: usize) -> Self {
            let current = Current::new(Catalogue::of(sites));
            Self { census: Census::of(sites), current, now: Timestamp(0) }
        }

        fn stores(&mut self, lists: &[&[&str]]) {
            for (site, hosts) in lists.iter().enumerate() {
                self.census.store_told(&self.current, site, &names(hosts), self.now);
            }
        }

        fn heard(&mut self, site: usize, url: &str, there: &[&str], gone: &[&str]) {
            let news = News::Changed { there: names(there), gone: names(gone), is_more: false };
            self.census.hbs_told(&self.current, (site, url), &news, self.now);
        }

        fn all(&mut self, site: usize, url: &str, hosts: &[&str]) {
            let news = News::All(names(hosts));
            self.census.hbs_told(&self.current, (site, url), &news, self.now);
        }

        fn places(&self, host: &str) -> Vec<usize> {
            let all = SiteSet::first(3).and(SiteSet::first(self.census.sites.len()));
            self.current.get().places(&[Matcher::equal(ENDPOINT, host)], all).iter().collect()
        }

        fn heard_by(&self, site: usize) -> usize {
            self.current.get().counts()[site].heard
        }

        fn pass(&mut self, seconds: u64) {
            self.now = self.now.plus(Duration::from_secs(seconds));
        }
    }

    #[test]
    fn what_stores_tell_holds_until_they_tell_otherwise() {
        let mut world = World::of(2);
        world.stores(&[&["a", "b"], &["c"]]);
        assert_eq!((world.places("a"), world.places("c")), (vec![0], vec![1]));
        world.stores(&[&["b"], &["a", "c"]]);
        assert_eq!((world.places("a"), world.places("b")), (vec![1], vec![0]));
        world.stores(&[&["b"], &["c"]]);
        assert_eq!(world.places("a"), [0, 1], "nobody has it any more");
        assert_eq!(world.census.store(0).map(|store| store.hosts), Some(1));
    }

    #[test]
    fn a_host_that_a_hbs_hears_is_looked_for_there_until_the_store_had_time_to_tell() {
        let mut world = World::of(2);
        world.stores(&[&["a"], &["c"]]);
        world.heard(1, "http://hbs", &["a"], &[]);
        assert_eq!(world.places("a"), [0, 1]);
        assert_eq!(world.current.get().shared(), [Box::from("a")], "it may count twice");
        world.pass(5);
        world.stores(&[&["a"], &["c"]]);
        assert_eq!(world.places("a"), [0, 1], "its samples are on their way");
        world.pass(60);
        world.stores(&[&["a"], &["c"]]);
        assert_eq!(world.places("a"), [0], "only its heartbeats go there");
        assert!(world.current.get().shared().is_empty());
        world.heard(1, "http://hbs", &["a"], &[]);
        world.stores(&[&["a"], &["a", "c"]]);
        world.pass(120);
        world.stores(&[&["a"], &["a", "c"]]);
        assert_eq!(world.places("a"), [0, 1], "the store has it");
    }

    #[test]
    fn while_a_store_cannot_tell_what_its_hbs_hears_is_all_there_is() {
        let mut world = World::of(2);
        world.stores(&[&["a"], &["c"]]);
        world.pass(100);
        world.heard(1, "http://hbs", &["a"], &[]);
        world.pass(100);
        world.census.store_failed(&world.current, 1, "timed out", world.now);
        assert_eq!(world.places("a"), [0, 1]);
        assert_eq!(
            world.census.store(1).and_then(|store| store.fault).as_deref(),
            Some("timed out")
        );
        let pattern = Matcher::new(ENDPOINT, MatchOp::Regex, "a.*").expect("a pattern");
        let places = world.current.get().places(&[pattern], SiteSet::first(2));
        assert_eq!(places, SiteSet::first(2), "it may have new hosts");
    }

    #[test]
    fn a_host_is_known_to_a_data_centre_as_long_as_one_of_its_hbs_knows_it() {
        let mut world = World::of(1);
        world.all(0, "http://one", &["a", "b"]);
        world.all(0, "http://other", &["b", "c"]);
        assert_eq!(world.heard_by(0), 3);
        world.heard(0, "http://one", &[], &["b"]);
        assert_eq!(world.heard_by(0), 3);
        world.all(0, "http://other", &["c"]);
        assert_eq!(world.heard_by(0), 2);
        world.census.hbs_failed((0, "http://one"), "away");
        assert_eq!(world.heard_by(0), 2, "what it told last is kept");
        let view = world.census.hbs(0, "http://one").expect("it is known");
        assert_eq!((view.hosts, view.fault.as_deref()), (1, Some("away")));
    }

    #[test]
    fn what_is_known_goes_on_when_the_list_of_data_centres_changes() {
        let mut world = World::of(2);
        world.stores(&[&["a"], &["b", "c"]]);
        world.all(1, "http://hbs", &["b", "d"]);
        let hbs = [vec!["http://new".to_owned()], vec!["http://hbs".to_owned()], vec![]];
        let to = |at: usize| [None, Some(1)][at];
        let (census, catalogue) = world.census.rearranged(&world.current.get(), &hbs, to);
        let mut world = World { census, current: Current::new(catalogue), now: world.now };
        assert_eq!(world.heard_by(1), 2);
        assert_eq!(world.places("b"), [0, 1, 2], "the new ones have not told yet");
        world.stores(&[&["a"], &["b", "c"], &["e"]]);
        assert_eq!(
            (world.places("a"), world.places("b"), world.places("e")),
            (vec![0], vec![1], vec![2])
        );
        world.all(1, "http://hbs", &["b"]);
        assert_eq!(world.heard_by(1), 1);
    }

    #[test]
    fn names_of_hosts_that_are_no_more_are_dropped() {
        let mut world = World::of(1);
        let many = |from: usize| -> Vec<String> {
            (from..from + NOWHERE_MAX + 1).map(|at| format!("pod-{at}")).collect()
        };
        for round in 0..4 {
            let hosts = many(round * 20_000);
            world.census.store_told(&world.current, 0, &hosts, world.now);
        }
        assert!(
            world.current.get().len() <= 2 * (NOWHERE_MAX + 1),
            "{}",
            world.current.get().len()
        );
        assert_eq!(world.places("pod-60001"), [0]);
        assert_eq!(world.current.get().counts()[0].series, NOWHERE_MAX + 1);
    }

    /// Nanoseconds of CPU that this thread has had.
    fn cpu_nanos() -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells it");
        text.split(' ').next().and_then(|first| first.parse().ok()).expect("a number")
    }

    fn measured<T>(what: &str, times: u32, mut work: impl FnMut() -> T) -> f64 {
        let before = cpu_nanos();
        (0..times).for_each(|_| drop(std::hint::black_box(work())));
        let micros = (cpu_nanos() - before) as f64 / 1e3 / f64::from(times);
        println!("{what}: {micros:.2} us CPU");
        micros
    }

    #[test]
    #[ignore = "measures: cargo test --release -p apiproxy a_hundred_thousand -- --ignored --nocapture"]
    fn a_hundred_thousand_hosts_in_five_data_centres_are_cheap() {
        const SITES: usize = 5;
        const HOSTS: usize = 20_000;
        let regions = ["bj", "sh", "gz", "cd", "hk"];
        let host =
            |site: usize, at: usize| format!("{}-web-{at:05}.prod.example.com", regions[site]);
        let lists: Vec<Vec<String>> =
            (0..SITES).map(|site| (0..HOSTS).map(|at| host(site, at)).collect()).collect();
        let pages: Vec<Vec<u8>> = lists
            .iter()
            .map(|list| {
                let hosts = list.iter().map(|name| wire::host_feed::FeedHost {
                    name: name.clone(),
                    ip: "192.0.2.1".to_owned(),
                    ..Default::default()
                });
                let page =
                    wire::host_feed::FeedPage { hosts: hosts.collect(), ..Default::default() };
                serde_json::to_vec(&page).expect("it has a form")
            })
            .collect();
        let bodies: Vec<Vec<u8>> =
            lists.iter().map(|list| serde_json::to_vec(list).expect("texts")).collect();
        let mut world = World::of(SITES);
        let refresh = |world: &mut World| {
            for site in 0..SITES {
                let hosts: Vec<String> = serde_json::from_slice(&bodies[site]).expect("texts");
                world.census.store_told(&world.current, site, &hosts, world.now);
                let page: wire::host_feed::FeedPage =
                    serde_json::from_slice(&pages[site]).expect("a page");
                let news = News::All(page.hosts.into_iter().map(|host| host.name).collect());
                world.census.hbs_told(&world.current, (site, "http://hbs"), &news, world.now);
            }
        };
        let first =
            measured("first refresh, stores and hbs, answers read", 1, || refresh(&mut world));
        let again = measured("refresh that brings nothing new", 5, || refresh(&mut world));
        let mut moved = lists.clone();
        let away = moved[0].split_off(HOSTS - 100);
        moved[1].extend(away);
        let at = std::cell::Cell::new(0_usize);
        let changed = measured("refresh of two stores after 100 hosts moved", 10, || {
            let lists = if at.replace(at.get() + 1).is_multiple_of(2) { &moved } else { &lists };
            for site in [0, 1] {
                world.census.store_told(&world.current, site, &lists[site], world.now);
            }
        });
        let one = measured("one host heard elsewhere", 10, || {
            let name = host(2, at.replace(at.get() + 1));
            world.heard(3, "http://hbs", &[&name], &[]);
        });
        let catalogue = world.current.get();
        let (map, told) = (catalogue.bytes(), world.census.bytes());
        println!(
            "memory: catalogue {map} bytes, who told what {told} bytes, {} hosts",
            catalogue.len()
        );
        let all = SiteSet::first(SITES);
        let exact: Vec<Matcher> =
            (0..1000).map(|at| Matcher::equal(ENDPOINT, &host(at % SITES, at * 19))).collect();
        let cell = std::cell::Cell::new(0_usize);
        let lookup = measured("look-up of a host", 100_000, || {
            let at = cell.replace(cell.get() + 1) % exact.len();
            catalogue.places(std::slice::from_ref(&exact[at]), all)
        });
        let pattern =
            |text: &str| [Matcher::new(ENDPOINT, MatchOp::Regex, text).expect("a pattern")];
        let ten: Vec<String> = (0..10).map(|at| regex::escape(&host(1, at))).collect();
        let ten = pattern(&ten.join("|"));
        let known = pattern("bj-web-0.*");
        let _warm = catalogue.places(&known, all);
        let again_pattern = measured("look-up of a pattern asked before", 100_000, || {
            catalogue.places(&known, all)
        });
        measured("ten hosts as alternatives", 1_000, || catalogue.places(&ten, all));
        measured("a new pattern with a beginning, 20,000 hosts", 20, || {
            let text = format!("bj-web-.*[0-9]{{{}}}.*", cell.replace(cell.get() + 1) % 5 + 1);
            Arc::clone(&catalogue).places(&pattern(&text), all)
        });
        let copy =
            measured("of that, the copy that has no patterns yet", 20, || (*catalogue).clone());
        measured("a new pattern without one, 100,000 hosts of one data centre", 5, || {
            Arc::clone(&catalogue).places(&pattern(".*bj-web.*"), all)
        });
        assert!(
            copy > 0.0 && first.max(again).max(changed) < 1e6,
            "a refresh takes less than 1 s of CPU"
        );
        assert!(lookup.max(again_pattern) < 10.0, "a look-up takes less than 10 us");
        assert!(one < 1e6 && map + told < 64 << 20);
    }
}
