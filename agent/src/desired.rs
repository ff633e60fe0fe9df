//! Applies the state that hbs wants this host to be in, without a restart: takes it from the heartbeat, makes
//! the plan, fetches the plugins, and keeps the last state on disk for a start without hbs. A disk that hangs
//! holds up nothing but this.

mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use daemon::Context;
use tokio::sync::watch;
use wire::heartbeat::DesiredState;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::plan::{Plan, Sources};
use crate::plugin::bundle::{self, Shelf, Terms};
use crate::plugin::folder;
use crate::plugin::verify::PublicKey;
use crate::worker::on_thread;

pub use store::Store;

/// How often the folder of local plugins is looked at, and bundles that could not be fetched are tried again.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// Where the plan of the moment is read.
pub type Plans = watch::Receiver<Arc<Plan>>;

/// What the heartbeat hands the state to, and reads the plan from.
#[derive(Debug, Clone)]
pub struct Link {
    /// Takes the state of an answer.
    pub states: watch::Sender<Option<DesiredState>>,
    /// What is done of it.
    pub plans: Plans,
}

/// Makes plans.
#[derive(Debug)]
pub struct Desired {
    config: Arc<Config>,
    endpoint: String,
    ctx: Context,
    metrics: Arc<Metrics>,
    store: Store,
    shelf: Shelf,
    states: watch::Receiver<Option<DesiredState>>,
    plans: watch::Sender<Arc<Plan>>,
    state: DesiredState,
    is_told: bool,
    scripts: BTreeMap<String, Vec<String>>,
    bundles: BTreeMap<String, PathBuf>,
    bundle_faults: Vec<String>,
    // A plugin may still run from the version before.
    in_use: BTreeSet<PathBuf>,
}

impl Desired {
    /// The first plan is made at once, from the configuration and the state on disk.
    pub fn new(
        config: Arc<Config>,
        endpoint: &str,
        ctx: &Context,
        metrics: Arc<Metrics>,
    ) -> (Self, Link) {
        let store = Store::new(config.data_dir.join("desired.json"));
        let own_shelf = || config.data_dir.join("plugins");
        let shelf = Shelf::new(config.plugins.bundle_directory.clone().unwrap_or_else(own_shelf));
        let (sender, states) = watch::channel(None);
        let stored = store.load();
        let mut desired = Self {
            is_told: stored.is_some(),
            state: stored.unwrap_or_default(),
            scripts: folder::scan(&config.plugins),
            config,
            endpoint: endpoint.to_owned(),
            ctx: ctx.clone(),
            metrics,
            store,
            shelf,
            states,
            plans: watch::Sender::default(),
            bundles: BTreeMap::new(),
            bundle_faults: Vec::new(),
            in_use: BTreeSet::new(),
        };
        desired.publish();
        let plans = desired.plans.subscribe();
        (desired, Link { states: sender, plans })
    }

    /// Applies states until the task is stopped.
    pub async fn run(mut self) {
        self.find_bundles().await;
        self.publish();
        self.fetch_bundles().await;
        loop {
            tokio::select! {
                changed = self.states.changed() => {
                    if changed.is_err() {
                        // Without heartbeats there is still the folder of local plugins.
                        self.ctx.clock.sleep(LOOK_INTERVAL).await;
                    }
                    self.adopt().await;
                }
                () = self.ctx.clock.sleep(LOOK_INTERVAL) => {}
            }
            self.look().await;
        }
    }

    async fn adopt(&mut self) {
        let Some(state) = self.states.borrow_and_update().clone() else { return };
        if self.is_told && state == self.state {
            return;
        }
        tracing::info!(
            desired.hash = state.hash,
            checks = state.checks.len(),
            plugins = state.plugins.len(),
            scrapes = state.scrapes.len(),
            "hbs wants another state of this host"
        );
        (self.state, self.is_told) = (state, true);
        // Another version of a bundle is another bundle.
        let wanted = &self.state.bundles;
        self.bundles.retain(|name, place| {
            wanted.iter().any(|bundle| bundle.name == *name && place.ends_with(&bundle.digest))
        });
        self.publish();
        self.save().await;
        self.find_bundles().await;
        self.publish();
        self.fetch_bundles().await;
    }

    async fn look(&mut self) {
        let config = Arc::clone(&self.config);
        let scripts = on_thread(move || folder::scan(&config.plugins)).await;
        if let Some(scripts) = scripts.filter(|scripts| *scripts != self.scripts) {
            self.scripts = scripts;
            self.publish();
        }
        self.fetch_bundles().await;
    }

    async fn save(&self) {
        let (store, state) = (self.store.clone(), self.state.clone());
        let saved = on_thread(move || store.save(&state)).await;
        if let Some(Err(error)) = saved {
            tracing::warn!("the state that hbs wants is applied but not kept: {error:#}");
        }
    }

    // Bundles that are on disk, of those that are wanted now.
    async fn find_bundles(&mut self) {
        self.bundles.clear();
        if !self.config.plugins.from_hbs || self.state.bundles.is_empty() {
            return;
        }
        let (terms, shelf, wanted) = (self.terms(), self.shelf.clone(), self.state.bundles.clone());
        let find = move || {
            let sound = wanted.into_iter().filter(|bundle| bundle::check(bundle, &terms).is_ok());
            let found = sound.filter_map(|bundle| Some((shelf.find(&bundle)?, bundle.name)));
            found.map(|(place, name)| (name, place)).collect()
        };
        self.bundles = on_thread(find).await.unwrap_or_default();
    }

    async fn fetch_bundles(&mut self) {
        if !self.config.plugins.from_hbs {
            return;
        }
        let terms = self.terms();
        let mut faults = Vec::new();
        for bundle in &self.state.bundles {
            if self.bundles.contains_key(&bundle.name) {
                continue;
            }
            if let Err(fault) = bundle::check(bundle, &terms) {
                faults.push(format!("bundle {}: {fault}", bundle.name));
                continue;
            }
            match self.shelf.fetch(bundle, &self.ctx.http, &self.config.hbs.addresses).await {
                Ok(place) => {
                    tracing::info!(bundle = bundle.name, digest = bundle.digest, "fetched plugins");
                    self.bundles.insert(bundle.name.clone(), place);
                }
                Err(error) => faults.push(format!("bundle {}: {error:#}", bundle.name)),
            }
        }
        let is_same = faults == self.bundle_faults;
        self.bundle_faults = faults;
        let places: BTreeSet<PathBuf> = self.bundles.values().cloned().collect();
        if !is_same || places != self.in_use {
            self.publish();
            let (shelf, kept) = (self.shelf.clone(), places.union(&self.in_use).cloned().collect());
            let _ = on_thread(move || shelf.sweep(&kept)).await;
            self.in_use = places;
        }
    }

    fn publish(&mut self) {
        let sources = Sources {
            config: &self.config,
            endpoint: &self.endpoint,
            desired: &self.state,
            is_told: self.is_told,
            scripts: &self.scripts,
            bundles: &self.bundles,
            bundle_faults: &self.bundle_faults,
        };
        let plan = Arc::new(sources.plan());
        let before = self.plans.borrow().clone();
        if plan == before {
            return;
        }
        if plan.faults != before.faults {
            for fault in &plan.faults {
                tracing::warn!("not everything that hbs wants can be done: {fault}");
            }
        }
        self.metrics.set_desired_faults(plan.faults.len());
        self.plans.send_replace(plan);
    }

    fn terms(&self) -> Terms {
        let plugins = &self.config.plugins;
        // The configuration was validated: a key that is there can be read.
        let key = PublicKey::parse(&plugins.public_key).ok();
        Terms { bytes_max: plugins.bundle_bytes_max, key }
    }
}
