//! Users and teams as they change: a copy of what is in the store.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use daemon::Caller;
use db::directory::{EntryEdit, EntryKind, EntryOutcome};
use db::{Db, DbError, ExpectedVersion, Trail};
use jiff::tz::TimeZone;
use model::Timestamp;
use thiserror::Error;

use crate::config::Config;
use crate::directory::{
    Directory, FieldFault, STAND_INS_MAX, Source, StandInConfig, TEAMS_MAX, TeamConfig, USERS_MAX,
    UserConfig,
};

/// How long stand-ins are kept after their end.
const KEPT_FOR: Duration = Duration::from_secs(30 * 86_400);

/// Why a change was not made.
#[derive(Debug, Error)]
pub(crate) enum ChangeFault {
    /// It must not be as it was asked for.
    #[error("{}", listed(.0))]
    Faults(Vec<FieldFault>),
    /// The settings name it.
    #[error("{0} is in the settings of alarm; change it there")]
    InSettings(String),
    /// There is no such entry.
    #[error("there is no {0}")]
    Unknown(String),
    /// Somebody else changed it meanwhile.
    #[error("it was changed meanwhile, version {0} holds; look at it and send the change again")]
    Conflict(i64),
    /// There is no room.
    #[error("there are {0} of them, which is the most; remove some")]
    TooMany(usize),
    /// The store failed, so nothing changed.
    #[error("users and teams cannot be stored now; send again")]
    Store(#[from] DbError),
}

fn listed(faults: &[FieldFault]) -> String {
    let lines = faults.iter().map(|(field, fault)| format!("{field}: {fault}"));
    lines.collect::<Vec<_>>().join("; ")
}

/// What is created or changed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Entry<'a> {
    User(&'a UserConfig),
    Team(&'a TeamConfig),
}

impl Entry<'_> {
    fn named(&self) -> (EntryKind, &str) {
        match self {
            Self::User(user) => (EntryKind::User, &user.name),
            Self::Team(team) => (EntryKind::Team, &team.name),
        }
    }

    fn body(&self) -> String {
        let body = match self {
            Self::User(user) => serde_json::to_string(user),
            Self::Team(team) => serde_json::to_string(team),
        };
        body.expect("names and numbers are plain JSON")
    }
}

/// The directory as it changes; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct DirectoryStore {
    db: Db,
    config: Arc<Config>,
    zone: TimeZone,
    trail: Arc<Trail>,
    known: Arc<RwLock<Arc<Directory>>>,
    loading: Arc<tokio::sync::Mutex<()>>,
}

impl DirectoryStore {
    /// Only the settings are known before the first [`DirectoryStore::load`].
    pub(crate) fn new(db: Db, config: Arc<Config>, zone: TimeZone) -> Self {
        let settings = (config.users.as_slice(), config.teams.as_slice());
        let known = Arc::new(RwLock::new(Arc::new(Directory::of(settings, Vec::new(), &zone))));
        Self { db, config, zone, trail: Arc::default(), known, loading: Arc::default() }
    }

    /// What is known.
    pub(crate) fn known(&self) -> Arc<Directory> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads all of it from the store.
    pub(crate) async fn load(&self) -> Result<(), DbError> {
        // What was read first must not be shown last: a change made here would be gone for a second.
        let _turn = self.loading.lock().await;
        let rows = self.db.directory().all().await?;
        let settings = (self.config.users.as_slice(), self.config.teams.as_slice());
        let directory = Arc::new(Directory::of(settings, rows, &self.zone));
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = directory;
        Ok(())
    }

    /// Changes with every change of what is stored.
    pub(crate) async fn stamp(&self) -> Result<(u64, i64, i64), DbError> {
        self.db.directory().stamp().await
    }

    /// Forgets stand-ins that ended long ago.
    pub(crate) async fn prune(&self, now: Timestamp) -> Result<u64, DbError> {
        self.db.directory().prune(now.minus(KEPT_FOR)).await
    }

    /// Creates or changes a user or a team; answers with the version that holds now.
    pub(crate) async fn put(
        &self,
        caller: &Caller,
        entry: Entry<'_>,
        expected: ExpectedVersion,
        now: Timestamp,
    ) -> Result<i64, ChangeFault> {
        let known = self.known();
        let (faults, old, room) = match entry {
            Entry::User(user) => {
                let old = known.users.get(&user.name).map(|old| &old.source);
                (user.faults(), old, (known.users.len(), USERS_MAX))
            }
            Entry::Team(team) => {
                let old = known.teams.get(&team.name).map(|old| &old.source);
                (team.faults(), old, (known.teams.len(), TEAMS_MAX))
            }
        };
        refuse(faults)?;
        let (kind, name) = entry.named();
        match (old, room) {
            (Some(old), _) => changeable(old, name)?,
            (None, (count, most)) if count >= most => return Err(ChangeFault::TooMany(most)),
            (None, _) => {}
        }
        let (body, ends_at) = (entry.body(), Timestamp::MAX);
        self.write(caller, EntryEdit { kind, name, body: &body, ends_at }, expected, now).await
    }

    /// Makes somebody a stand-in, also in a team of the settings; answers with the id.
    pub(crate) async fn add_stand_in(
        &self,
        caller: &Caller,
        stand_in: &StandInConfig,
        now: Timestamp,
    ) -> Result<String, ChangeFault> {
        let mut faults = stand_in.faults();
        if faults.is_empty() && stand_in.until <= now.0 {
            faults.push(("until".to_owned(), "it is over already".to_owned()));
        }
        refuse(faults)?;
        let known = self.known();
        if !known.teams.contains_key(&stand_in.team) {
            return Err(ChangeFault::Unknown(format!("team {}", stand_in.team)));
        }
        if !known.users.contains_key(&stand_in.user) {
            return Err(ChangeFault::Unknown(format!("user {}", stand_in.user)));
        }
        if known.stand_ins() >= STAND_INS_MAX {
            return Err(ChangeFault::TooMany(STAND_INS_MAX));
        }
        let id = self.trail.id(now);
        let body = serde_json::to_string(stand_in).unwrap_or_default();
        let ends_at = Timestamp(stand_in.until);
        let edit = EntryEdit { kind: EntryKind::StandIn, name: &id, body: &body, ends_at };
        self.write(caller, edit, ExpectedVersion::None, now).await?;
        Ok(id)
    }

    /// Removes a user, a team or a stand-in.
    pub(crate) async fn remove(
        &self,
        caller: &Caller,
        (kind, name): (EntryKind, &str),
        expected: ExpectedVersion,
        now: Timestamp,
    ) -> Result<(), ChangeFault> {
        let known = self.known();
        let source = match kind {
            EntryKind::User => known.users.get(name).map(|user| &user.source),
            EntryKind::Team => known.teams.get(name).map(|team| &team.source),
            EntryKind::StandIn => None,
        };
        source.map_or(Ok(()), |source| changeable(source, name))?;
        let entry = self.entry(caller, kind, name, "remove", now);
        let outcome = self.db.directory().remove((kind, name), expected, &entry).await?;
        let made = made(outcome, kind, name);
        tracing::info!(actor = caller.actor, kind = kind.as_str(), entry.name = name, "removed");
        self.load().await?;
        made.map(|_| ())
    }

    async fn write(
        &self,
        caller: &Caller,
        edit: EntryEdit<'_>,
        expected: ExpectedVersion,
        now: Timestamp,
    ) -> Result<i64, ChangeFault> {
        let entry = self.entry(caller, edit.kind, edit.name, "put", now);
        let outcome = self.db.directory().put(edit, expected, &entry).await?;
        let made = made(outcome, edit.kind, edit.name)?;
        let (kind, name) = (edit.kind.as_str(), edit.name);
        tracing::info!(actor = caller.actor, kind, entry.name = name, version = made, "stored");
        self.load().await?;
        Ok(made)
    }

    fn entry(
        &self,
        caller: &Caller,
        kind: EntryKind,
        name: &str,
        verb: &str,
        now: Timestamp,
    ) -> db::AuditEntry {
        let (action, target) =
            (format!("{}.{verb}", kind.as_str()), format!("{}/{name}", kind.as_str()));
        self.trail.entry((&caller.actor, &caller.peer.to_string()), &action, &target, now)
    }
}

fn refuse(faults: Vec<FieldFault>) -> Result<(), ChangeFault> {
    if faults.is_empty() { Ok(()) } else { Err(ChangeFault::Faults(faults)) }
}

fn changeable(source: &Source, name: &str) -> Result<(), ChangeFault> {
    match source {
        Source::Settings => Err(ChangeFault::InSettings(name.to_owned())),
        Source::Stored { .. } => Ok(()),
    }
}

fn made(outcome: EntryOutcome, kind: EntryKind, name: &str) -> Result<i64, ChangeFault> {
    match outcome {
        EntryOutcome::Made(version) => Ok(version),
        EntryOutcome::Conflict(Some(version)) => Err(ChangeFault::Conflict(version)),
        EntryOutcome::Conflict(None) => {
            Err(ChangeFault::Unknown(format!("{} {name}", kind.as_str().replace('_', "-"))))
        }
    }
}
