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
                unknown.iter().filter_map(|host| catalogue.intern(host)).for_each(|host| known.set(host as usize));
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
            unknown.iter().filter_map(|host| catalogue.intern(host)).for_each(|host| next.set(host as usize));
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
            site.hints = site.hints.iter().filter_map(|(at, host)| Some((*at, to(*host)?))).collect();
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
