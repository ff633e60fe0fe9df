//! The data centres that are asked: those of the configuration, and those set by API, which the database keeps.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context as _;
use daemon::{Clock, Faults};
use db::{DataCentreRow, Db};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use reqwest::Client;
use serde_json::{Value, json};
use storage::{Reader, Storage};
use tokio::sync::watch;

use crate::catalogue::{Catalogue, Current, SITES_MAX};
use crate::census::{Census, SourceView};
use crate::config::{Config, DataCentreConfig};
use crate::hbs::Hbs;
use crate::metrics::Metrics;
use crate::site::{About, DataCentre, Site, Sites};
use crate::spec::CentreSpec;

/// How often changes that were made through another apiproxy are looked for.
const POLL_EVERY: Duration = Duration::from_secs(5);
/// The name of the one store where no data centre is named.
const LOCAL: &str = "local";

/// A database that may still be on its way: who starts first does not matter.
pub type ComingDb = watch::Receiver<Option<Db>>;

/// The data centres, and who told of their hosts.
#[derive(Debug)]
pub(crate) struct Centres {
    fixed: Vec<Arc<Site>>,
    own: Option<Reader>,
    /// hbs of the one store where no data centre is named.
    own_hbs: Vec<Hbs>,
    db: Option<ComingDb>,
    http: Client,
    clock: Clock,
    metrics: Metrics,
    current: RwLock<Place>,
    census: Mutex<(u64, Census)>,
    changes: watch::Sender<u64>,
}

/// The data centres of a time, until their list changes.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) sites: Arc<Sites>,
    generation: u64,
}

impl DataCentreConfig {
    /// Opens its store, which is the own one of this process where it names no address.
    pub(crate) fn open(
        &self,
        own: Option<&Reader>,
        token: Option<String>,
        http: &Client,
    ) -> anyhow::Result<DataCentre> {
        let mut replicas = Vec::new();
        for remote in self.remote_replicas(token.as_deref()) {
            replicas.push(Storage::remote(&remote, http.clone())?.reader());
        }
        let remote = self.remote(token).map(|remote| Storage::remote(&remote, http.clone()));
        let reader = match remote.transpose()? {
            Some(storage) => storage.reader(),
            None => own.cloned().with_context(|| {
                format!(
                    "data centre {}: this process has no store of [storage]; give an url",
                    self.name
                )
            })?,
        };
        let (name, labels) = (self.name.clone(), self.labels.clone());
        Ok(DataCentre { name, reader, labels, timeout: self.timeout, replicas })
    }

    fn about(&self, stored: Option<String>, http: &Client) -> About {
        let hbs = self.hbs_urls.iter().map(|url| Hbs::new(url, http.clone())).collect();
        About { judge_url: self.judge_url.clone(), hbs, stored, is_plain: false }
    }

    fn token(&self) -> anyhow::Result<Option<String>> {
        if self.token_file.as_os_str().is_empty() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&self.token_file)
            .with_context(|| format!("read the token in {}", self.token_file.display()))?;
        Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

impl Centres {
    /// Those of the configuration; `given` are open already and go before entries of the same name.
    pub(crate) fn open(
        config: &Config,
        given: Vec<DataCentre>,
        (own, db): (Option<Reader>, Option<ComingDb>),
        (http, clock, metrics): (Client, Clock, Metrics),
    ) -> anyhow::Result<Self> {
        let mut fixed = Vec::new();
        let mut given = given;
        for entry in &config.datacenters {
            let open = given.iter().position(|centre| centre.name == entry.name);
            let centre = match open {
                Some(at) => given.remove(at),
                None => entry.open(own.as_ref(), entry.token()?, &http)?,
            };
            fixed.push(Arc::new(Site::new(centre, entry.about(None, &http))));
        }
        fixed.extend(given.into_iter().map(|centre| Arc::new(Site::new(centre, About::default()))));
        fixed.truncate(SITES_MAX);
        let own_hbs = config.hbs_urls.iter().map(|url| Hbs::new(url, http.clone())).collect();
        let (changes, _) = watch::channel(0);
        let empty = Sites::new(Vec::new(), Catalogue::of(0), clock.clone(), metrics.clone());
        let centres = Self {
            fixed,
            own,
            own_hbs,
            db,
            http,
            clock,
            metrics,
            current: RwLock::new(Place { sites: Arc::new(empty), generation: 0 }),
            census: Mutex::new((0, Census::default())),
            changes,
        };
        centres.put(centres.with_own(centres.fixed.iter().map(Arc::clone).collect()));
        Ok(centres)
    }

    /// As they are now.
    pub(crate) fn sites(&self) -> Arc<Sites> {
        self.place().sites
    }

    /// As they are now, for who learns of their hosts.
    pub(crate) fn place(&self) -> Place {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes with the list.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Notes what a source told, unless the list has changed in the meantime.
    pub(crate) fn learn(&self, place: &Place, note: impl FnOnce(&mut Census, &Current)) {
        let mut census = self.census();
        if census.0 == place.generation {
            note(&mut census.1, place.sites.current());
            self.metrics.catalogue(&place.sites.catalogue(), census.1.bytes());
        }
    }

    /// The database; the error says why there is none.
    pub(crate) fn db(&self) -> Result<Db, &'static str> {
        let db = self.db.as_ref().ok_or(
            "this apiproxy has no database, so data centres are set in its configuration: see [db] url",
        )?;
        db.borrow().as_ref().map(Db::clone).ok_or("the database does not answer yet")
    }

    /// Whether a data centre is one of the configuration.
    pub(crate) fn is_fixed(&self, name: &str) -> bool {
        self.fixed.iter().any(|site| site.centre.name == name)
    }

    /// What speaks against a data centre that is to be set.
    pub(crate) fn refusal(
        &self,
        entry: &DataCentreConfig,
        token: Option<String>,
    ) -> Option<String> {
        let mut faults = Faults::default();
        entry.validate("", &mut faults);
        if let Some(fault) = faults.list().first() {
            return Some(fault.to_owned());
        }
        if let Some(Err(error)) = entry.remote(token).map(|remote| remote.check()) {
            return Some(error.to_string());
        }
        let sites = self.sites();
        let is_new = sites.list().iter().all(|site| site.centre.name != entry.name);
        if entry.url.is_empty() && self.own.is_none() {
            return Some(
                "url: this process has no store of [storage], so an address is needed".into(),
            );
        }
        if !entry.url.is_empty() && sites.is_plain() {
            return Some(
                "the store of [storage] is asked as long as no data centre is named: name it first, by a data \
                 centre without url, or it will be asked no more"
                    .into(),
            );
        }
        (is_new && sites.list().len() >= SITES_MAX).then(|| format!("there may be {SITES_MAX}"))
    }

    /// Reads the database again and again.
    pub(crate) async fn follow_database(self: Arc<Self>) {
        let mut db = self.db.clone();
        loop {
            if let Err(error) = self.read_database().await {
                let error = format!("{error:#}");
                tracing::warn!(error, "data centres set by API stay as they were");
            }
            let coming = async {
                // When nobody can bring another one, it was all there will be.
                let changed = match &mut db {
                    Some(db) => db.changed().await.is_ok(),
                    None => false,
                };
                if !changed {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = self.clock.sleep(POLL_EVERY) => {}
                () = coming => {}
            }
        }
    }

    /// Takes over what the database has.
    pub(crate) async fn read_database(&self) -> anyhow::Result<()> {
        let Ok(db) = self.db() else { return Ok(()) };
        let rows = db.data_centres().all().await?;
        let before = self.sites();
        let mut list: Vec<Arc<Site>> = self.fixed.iter().map(Arc::clone).collect();
        for row in rows {
            if self.is_fixed(&row.name) || list.len() >= SITES_MAX {
                continue;
            }
            let is_same = |site: &&Arc<Site>| {
                site.centre.name == row.name && site.about.stored.as_ref() == Some(&row.body)
            };
            match before.list().iter().find(is_same) {
                Some(site) => list.push(Arc::clone(site)),
                None => match self.opened(row) {
                    Ok(site) => list.push(Arc::new(site)),
                    Err(error) => {
                        let error = format!("{error:#}");
                        tracing::error!(error, "a data centre of the database is left out");
                    }
                },
            }
        }
        let list = self.with_own(list);
        let is_same = list.len() == before.list().len()
            && list
                .iter()
                .zip(before.list())
                .all(|(a, b)| Arc::ptr_eq(a, b) || (before.is_plain() && a.about.is_plain));
        if !is_same {
            self.put(list);
        }
        Ok(())
    }

    fn opened(&self, row: DataCentreRow) -> anyhow::Result<Site> {
        let spec = CentreSpec::read(row.body.as_bytes())
            .with_context(|| format!("read data centre {} as it is stored", row.name))?;
        let (entry, token) = spec.into_config(&row.name);
        let centre = entry.open(self.own.as_ref(), token, &self.http)?;
        Ok(Site::new(centre, entry.about(Some(row.body), &self.http)))
    }

    /// The list, or the own store where it is empty.
    fn with_own(&self, mut list: Vec<Arc<Site>>) -> Vec<Arc<Site>> {
        if let (true, Some(reader)) = (list.is_empty(), &self.own) {
            let (name, labels) = (LOCAL.to_owned(), Default::default());
            let timeout = Duration::MAX;
            let (reader, replicas) = (reader.clone(), Vec::new());
            let centre = DataCentre { name, reader, labels, timeout, replicas };
            let hbs = self.own_hbs.iter().map(Hbs::clone).collect();
            let about = About { is_plain: true, hbs, ..About::default() };
            list.push(Arc::new(Site::new(centre, about)));
        }
        list
    }

    /// Another list from now on. What is known of those that stay is kept.
    fn put(&self, list: Vec<Arc<Site>>) {
        let mut census = self.census();
        let before = self.place();
        let to = |at: usize| {
            let site = before.sites.list().get(at)?;
            list.iter().position(|other| Arc::ptr_eq(site, other))
        };
        let hbs: Vec<Vec<String>> = list
            .iter()
            .map(|site| site.about.hbs.iter().map(|hbs| hbs.url.clone()).collect())
            .collect();
        let known = std::mem::take(&mut census.1);
        let (next, catalogue) = known.rearranged(&before.sites.catalogue(), &hbs, to);
        let sites = Sites::new(list, catalogue, self.clock.clone(), self.metrics.clone());
        let names: BTreeSet<&str> =
            sites.list().iter().map(|site| site.centre.name.as_str()).collect();
        tracing::info!(datacenters = ?names, "the data centres that are asked");
        let generation = before.generation + 1;
        *census = (generation, next);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) =
            Place { sites: Arc::new(sites), generation };
        self.changes.send_replace(generation);
    }

    /// Name, health, hosts and sources of each; of one alone when it is named.
    pub(crate) fn told(&self, only: Option<&str>) -> Vec<Value> {
        let census = self.census();
        let Place { sites, .. } = self.place();
        let catalogue = sites.catalogue();
        let wanted = sites.list().iter().enumerate();
        let wanted = wanted.filter(|(_, site)| only.is_none_or(|name| site.centre.name == name));
        wanted.map(|(at, site)| self.told_of(&census.1, &catalogue, at, site)).collect()
    }

    fn told_of(&self, census: &Census, catalogue: &Catalogue, at: usize, site: &Site) -> Value {
        let DataCentre { name, labels, timeout, .. } = &site.centre;
        let count = catalogue.counts().get(at).copied().unwrap_or_default();
        let store = census.store(at);
        let hbs = site.about.hbs.iter().map(|hbs| {
            let view = census.hbs(at, &hbs.url);
            json!({
                "url": hbs.url,
                "hosts": view.as_ref().map_or(0, |view| view.hosts),
                "ageSeconds": self.age(view.as_ref()),
                "lastError": view.and_then(|view| view.fault),
            })
        });
        let hbs: Vec<Value> = hbs.collect();
        let breaker = site.breaker();
        json!({
            "name": name, "labels": labels, "timeoutSeconds": timeout.as_secs_f64(),
            "health": breaker.word(), "lastError": breaker.why(),
            "replicas": site.health_of_replicas(),
            "hosts": count.series, "hostsAgeSeconds": self.age(store.as_ref()),
            "hostsHeard": count.heard, "hbs": hbs,
            "setBy": if site.about.stored.is_some() { "api" } else { "config" },
        })
    }

    fn age(&self, view: Option<&SourceView>) -> Option<f64> {
        let told_at = view.and_then(|view| view.told_at)?;
        Some(self.clock.now().since(told_at).as_secs_f64())
    }

    /// How old what each source told is, by data centre and source.
    fn ages(&self) -> Vec<(OfSource, f64)> {
        let census = self.census();
        let Place { sites, .. } = self.place();
        let mut ages = Vec::new();
        for (at, site) in sites.list().iter().enumerate() {
            let hbs =
                site.about.hbs.iter().map(|hbs| (hbs.url.as_str(), census.1.hbs(at, &hbs.url)));
            for (source, view) in std::iter::once(("store", census.1.store(at))).chain(hbs) {
                let datacenter = &site.centre.name;
                ages.extend(self.age(view.as_ref()).map(|age| {
                    (OfSource { datacenter: datacenter.to_owned(), source: source.to_owned() }, age)
                }));
            }
        }
        ages
    }

    fn census(&self) -> MutexGuard<'_, (u64, Census)> {
        self.census.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A source of the catalogue, as labels.
#[derive(Debug, EncodeLabelSet)]
struct OfSource {
    datacenter: String,
    source: String,
}

/// The ages of the catalogue's sources, read when somebody asks.
#[derive(Debug)]
pub(crate) struct Ages(pub(crate) Arc<Centres>);

impl Collector for Ages {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (name, help) = (
            "apiproxy_catalogue_age_seconds",
            "How long ago a source told its hosts: the store, or a hbs by its address.",
        );
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (of, age) in self.0.ages() {
            ConstGauge::new(age).encode(family.encode_family(&of)?)?;
        }
        Ok(())
    }
}
