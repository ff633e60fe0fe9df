//! The groups as all hbs see them. The one that holds the lease reads them from SQL, writes a snapshot aside in shared
//! state, and then switches one fixed key to it; the others read through that key. Each keeps serving the last good
//! snapshot while SQL or the shared state is away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use daemon::{Context, Stop};
use db::{Db, MaintenanceOf};
use model::Timestamp;
use state::{State, StateError};
use tokio::sync::Notify;

use crate::metrics::Metrics;
use crate::snapshot::{Group, Parts, Snapshot, Window};

const LEASE: &str = "hbs";
const POINTERS: &str = "hbs";
const POINTER: &str = "snapshot";
const SNAPSHOTS: &str = "hbs-snapshot";

/// A window that is over stays in the snapshot for so long, so that its end can be told.
const WINDOW_KEPT: Duration = Duration::from_secs(600);
/// An hbs that has just read SQL itself, for a change made by its own API, does not go back to an older snapshot that
/// the leader has yet to replace.
const OWN_READ_KEPT: Duration = Duration::from_secs(60);

/// The current snapshot, and this hbs' part in keeping it.
#[derive(Debug)]
pub(crate) struct Share {
    db: Db,
    state: State,
    settings: ShareSettings,
    metrics: Metrics,
    current: ArcSwap<Snapshot>,
    role: Mutex<Role>,
    /// Who changes `current` holds it, so that an older snapshot never replaces a newer one.
    turn: tokio::sync::Mutex<Turn>,
    wake: Notify,
}

/// How the lease is held.
#[derive(Debug, Clone)]
pub(crate) struct ShareSettings {
    /// The name under which this hbs takes it.
    pub(crate) owner: String,
    /// How long it holds without renewal.
    pub(crate) lease_time: Duration,
    /// How often it is renewed, and changes are looked for.
    pub(crate) poll: Duration,
}

/// This hbs' part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Another one holds the lease, or nobody knows who does.
    Follows,
    /// This one holds the lease.
    Leads {
        /// The number to write with.
        fencing: u64,
        /// Since when.
        since: Timestamp,
    },
}

#[derive(Debug, Default)]
struct Turn {
    /// The snapshot that the key points to, and the number it was written with, when this hbs wrote it.
    published: Option<(u64, String)>,
    /// When this hbs read SQL without being the leader.
    own_read_at: Option<Timestamp>,
}

impl Share {
    /// Begins with an empty snapshot; [`Share::round`] brings the first one.
    pub(crate) fn new(db: Db, state: State, settings: ShareSettings, metrics: Metrics) -> Self {
        Self {
            db,
            state,
            settings,
            metrics,
            current: ArcSwap::from_pointee(Snapshot::new(Parts::default())),
            role: Mutex::new(Role::Follows),
            turn: tokio::sync::Mutex::default(),
            wake: Notify::new(),
        }
    }

    /// The snapshot to go by.
    pub(crate) fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// This hbs' part now.
    pub(crate) fn role(&self) -> Role {
        *self.role_mut()
    }

    fn role_mut(&self) -> MutexGuard<'_, Role> {
        self.role.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews the lease and looks for changes at every poll, until it is told to stop; then gives the lease back.
    pub(crate) async fn run(self: Arc<Self>, context: Context, stop: Stop) {
        loop {
            let goes_on = tokio::select! {
                goes_on = stop.sleep(&context.clock, self.settings.poll) => goes_on,
                () = self.wake.notified() => true,
            };
            if !goes_on {
                break;
            }
            self.round(&context).await;
        }
        if let Err(error) = self.state.release_lease(LEASE, &self.settings.owner).await {
            tracing::debug!(error = daemon::error_chain(&error), "the lease is left to run out");
        }
    }

    /// One round.
    pub(crate) async fn round(&self, context: &Context) {
        let now = context.clock.now();
        self.campaign(context, now).await;
        let outcome = match self.role() {
            Role::Leads { fencing, .. } => self.lead(fencing, now).await,
            Role::Follows => self.follow(now).await,
        };
        let snapshot = self.current();
        self.metrics.snapshot_generation.set(snapshot.generation());
        self.metrics.groups.set(i64::try_from(snapshot.groups().len()).unwrap_or(i64::MAX));
        match outcome {
            Ok(()) => context.has("groups"),
            Err(error) => {
                self.metrics.snapshot_failures.inc();
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the last good snapshot of the groups is kept"
                );
                context.lacks("groups", format!("{error:#}"));
            }
        }
    }

    // While the shared state is away nobody can take the lease over, so a leader stays one; its number fences it off
    // should another have become leader meanwhile.
    async fn campaign(&self, context: &Context, now: Timestamp) {
        let ShareSettings { owner, lease_time, .. } = &self.settings;
        let taken = self.state.take_lease(LEASE, owner, *lease_time, now).await;
        let mut role = self.role_mut();
        match taken {
            Ok(Some(lease)) => {
                context.has("shared state");
                if !matches!(*role, Role::Leads { fencing, .. } if fencing == lease.fencing) {
                    tracing::info!(
                        fencing = lease.fencing,
                        "this hbs keeps the snapshot of the groups now"
                    );
                    *role = Role::Leads { fencing: lease.fencing, since: now };
                }
            }
            Ok(None) => {
                context.has("shared state");
                *role = Role::Follows;
            }
            Err(error) => context.lacks("shared state", daemon::error_chain(&error)),
        }
        self.metrics.leader.set(i64::from(*role != Role::Follows));
    }

    async fn lead(&self, fencing: u64, now: Timestamp) -> anyhow::Result<()> {
        let mut turn = self.turn.lock().await;
        turn.own_read_at = None;
        let generation = self.db.groups().generation().await?;
        if generation != self.current().generation() || turn.published.is_none() {
            self.current.store(Arc::new(read(&self.db, now).await?));
        }
        self.publish(&mut turn, fencing).await
    }

    // Aside first and then the switch: a reader finds the old snapshot whole or the new one whole.
    async fn publish(&self, turn: &mut Turn, fencing: u64) -> anyhow::Result<()> {
        let snapshot = self.current();
        let wanted = (fencing, snapshot.id().to_owned());
        if turn.published.as_ref() == Some(&wanted) {
            return Ok(());
        }
        let written = async {
            self.state.save_document(SNAPSHOTS, &wanted.1, &snapshot.encoded(), fencing).await?;
            self.state.save_document(POINTERS, POINTER, wanted.1.as_bytes(), fencing).await
        };
        match written.await {
            Ok(()) => {}
            Err(error @ StateError::Fenced { .. }) => {
                *self.role_mut() = Role::Follows;
                return Err(error).context("another hbs has become leader");
            }
            Err(error) => return Err(error).context("share the snapshot of the groups"),
        }
        let before = turn.published.replace(wanted).map(|(_, id)| id);
        self.remove_old(before.as_deref()).await
    }

    // The one before stays for those who have read the key and not yet the snapshot.
    async fn remove_old(&self, before: Option<&str>) -> anyhow::Result<()> {
        let current = self.current();
        for (id, _) in self.state.documents(SNAPSHOTS).await? {
            if id != current.id() && Some(id.as_str()) != before {
                self.state.remove_document(SNAPSHOTS, &id).await?;
            }
        }
        Ok(())
    }

    async fn follow(&self, now: Timestamp) -> anyhow::Result<()> {
        let mut turn = self.turn.lock().await;
        turn.published = None;
        let shared = match self.shared().await {
            Ok(shared) => shared,
            // SQL may be there when the shared state is not.
            Err(error) => {
                let generation =
                    self.db.groups().generation().await.context(format!("{error:#}"))?;
                if generation != self.current().generation() {
                    self.current.store(Arc::new(read(&self.db, now).await?));
                }
                return Ok(());
            }
        };
        let is_own = turn.own_read_at.is_some_and(|at| now.since(at) < OWN_READ_KEPT);
        match shared {
            // Nobody has published yet.
            None => self.current.store(Arc::new(read(&self.db, now).await?)),
            Some(shared) if is_own && shared.generation() < self.current().generation() => {}
            Some(shared) => self.current.store(shared),
        }
        Ok(())
    }

    /// What the key points to.
    async fn shared(&self) -> anyhow::Result<Option<Arc<Snapshot>>> {
        let Some(id) = self.state.load_document(POINTERS, POINTER).await? else { return Ok(None) };
        let id = String::from_utf8(id).context("the key of the snapshot is no text")?;
        let current = self.current();
        if current.id() == id {
            return Ok(Some(current));
        }
        let body = self.state.load_document(SNAPSHOTS, &id).await?;
        let body = body.with_context(|| format!("the snapshot {id} is gone"))?;
        Ok(Some(Arc::new(Snapshot::decode(&body).with_context(|| format!("read snapshot {id}"))?)))
    }

    /// Reads SQL now, because something was changed through this hbs: who changed it sees it at once. The others see
    /// it after their polls.
    pub(crate) async fn refresh(&self, now: Timestamp) {
        let mut turn = self.turn.lock().await;
        match read(&self.db, now).await {
            Ok(snapshot) => {
                self.current.store(Arc::new(snapshot));
                turn.own_read_at = Some(now);
            }
            Err(error) => tracing::warn!(
                error = format!("{error:#}"),
                "a change is stored and will be seen after the next poll"
            ),
        }
        drop(turn);
        self.wake.notify_one();
    }
}

// The number first: what is changed while the rest is read is read again in the next round.
async fn read(db: &Db, now: Timestamp) -> anyhow::Result<Snapshot> {
    let generation = db.groups().generation().await?;
    let mut groups = Vec::new();
    for row in db.groups().all().await? {
        let spec = serde_json::from_str(&row.body)
            .with_context(|| format!("read group {} as it is stored", row.name))?;
        let (name, version, updated_at) = (row.name, row.version, row.updated_at);
        groups.push(Group { name, version, updated_at, spec });
    }
    let mut by_hand: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in db.groups().members_by_hand().await? {
        by_hand.entry(row.group).or_default().insert(row.host);
    }
    let mut bundles = BTreeMap::new();
    for (name, body) in db.bundles().all().await? {
        let bundle = serde_json::from_str(&body)
            .with_context(|| format!("read bundle {name} as it is stored"))?;
        bundles.insert(name, bundle);
    }
    let ended = now.minus(WINDOW_KEPT);
    let windows = db.maintenances().ending_after(ended).await?;
    let window = |row: db::MaintenanceRow| {
        let (host, group) = match row.of {
            MaintenanceOf::Host => (Some(row.target), None),
            MaintenanceOf::Group => (None, Some(row.target)),
        };
        let db::MaintenanceRow { id, starts_at, ends_at, reason, created_by, .. } = row;
        Window { id, host, group, starts_at, ends_at, reason, created_by }
    };
    let maintenance = windows.into_iter().map(window).collect();
    Ok(Snapshot::new(Parts { generation, groups, by_hand, bundles, maintenance }))
}
