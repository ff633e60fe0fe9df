//! Users, teams and stand-ins, as crate `alarm` keeps them: one document each.

use model::Timestamp;

use crate::audit::{self, AuditEntry};
use crate::record::Record;
use crate::rules::ExpectedVersion;
use crate::statement::Statement;
use crate::transaction::{Transaction, in_transaction};
use crate::{Db, DbError};

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A person with addresses.
    User,
    /// People who are told together, with their rotation.
    Team,
    /// Somebody who is on call in place of another for a while.
    StandIn,
}

impl EntryKind {
    /// The word in the store and in the audit.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Team => "team",
            Self::StandIn => "stand_in",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::User, Self::Team, Self::StandIn].into_iter().find(|kind| kind.as_str() == word)
    }
}

/// An entry of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryRow {
    /// What it is.
    pub kind: EntryKind,
    /// Its name among those of its kind, at most 160 characters.
    pub name: String,
    /// The rest, as the application writes it.
    pub body: String,
    /// Grows with every change; 1 at first.
    pub version: i64,
    /// When it was changed last.
    pub changed_at: Timestamp,
    /// By whom.
    pub changed_by: String,
    /// When it is over; [`Timestamp::MAX`] for what has no end.
    pub ends_at: Timestamp,
}

/// What an entry shall become.
#[derive(Debug, Clone, Copy)]
pub struct EntryEdit<'a> {
    /// What it is.
    pub kind: EntryKind,
    /// Its name.
    pub name: &'a str,
    /// The rest.
    pub body: &'a str,
    /// When it is over.
    pub ends_at: Timestamp,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryOutcome {
    /// It is made; the version that holds now, 0 after a removal.
    Made(i64),
    /// Another version is there than the change is meant for; `None`: there is no such entry.
    Conflict(Option<i64>),
}

/// Queries over the directory.
#[derive(Debug)]
pub struct Directory<'a> {
    pub(crate) db: &'a Db,
}

impl Directory<'_> {
    /// All entries, by kind and name.
    pub async fn all(&self) -> Result<Vec<EntryRow>, DbError> {
        let query = Statement::new("SELECT * FROM directory_entry ORDER BY id");
        self.db.records("list users and teams", query, read_entry).await
    }

    /// How many there are, their latest change and the sum of their versions: the same answer means that nothing
    /// is new, but for an entry that is removed and made again within a millisecond.
    pub async fn stamp(&self) -> Result<(u64, i64, i64), DbError> {
        let query = Statement::new(
            "SELECT COUNT(*) AS entries, COALESCE(MAX(changed_at), 0) AS latest, \
             CAST(COALESCE(SUM(version), 0) AS SIGNED) AS versions FROM directory_entry",
        );
        let read = |row: &Record| {
            Ok((row.integer("entries")?, row.integer("latest")?, row.integer("versions")?))
        };
        let stamp = self.db.record("look for changed users and teams", query, read).await?;
        Ok(stamp.unwrap_or((0, 0, 0)))
    }

    /// Creates or changes an entry, with one of the audit in the same transaction.
    pub async fn put(
        &self,
        edit: EntryEdit<'_>,
        expected: ExpectedVersion,
        entry: &AuditEntry,
    ) -> Result<EntryOutcome, DbError> {
        in_transaction!(self.db, "store an entry of the directory", tx => {
            let id = id(edit.kind, edit.name);
            let before = lock(tx, &id).await?;
            if !is_expected(before, expected) {
                return Ok(EntryOutcome::Conflict(before));
            }
            let version = before.unwrap_or(0) + 1;
            let store = match before {
                Some(_) => Statement::new(
                    "UPDATE directory_entry SET body = ?, version = ?, changed_at = ?, changed_by = ?, ends_at = ? \
                     WHERE id = ?",
                ),
                None => Statement::new(
                    "INSERT INTO directory_entry (body, version, changed_at, changed_by, ends_at, id, kind, name) \
                     VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                ),
            };
            let store = store
                .bind(edit.body)
                .bind(version)
                .bind(entry.at.0)
                .bind(entry.actor.as_str())
                .bind(edit.ends_at.0)
                .bind(id);
            let store = match before {
                Some(_) => store,
                None => store.bind(edit.kind.as_str()).bind(edit.name),
            };
            tx.execute(store).await?;
            audit::write(tx, entry).await?;
            Ok(EntryOutcome::Made(version))
        })
    }

    /// Removes an entry, with one of the audit in the same transaction.
    pub async fn remove(
        &self,
        (kind, name): (EntryKind, &str),
        expected: ExpectedVersion,
        entry: &AuditEntry,
    ) -> Result<EntryOutcome, DbError> {
        in_transaction!(self.db, "remove an entry of the directory", tx => {
            let id = id(kind, name);
            let before = lock(tx, &id).await?;
            if before.is_none() || !is_expected(before, expected) {
                return Ok(EntryOutcome::Conflict(before));
            }
            tx.execute(Statement::new("DELETE FROM directory_entry WHERE id = ?").bind(id)).await?;
            audit::write(tx, entry).await?;
            Ok(EntryOutcome::Made(0))
        })
    }

    /// Forgets entries that were over before a moment; returns how many.
    pub async fn prune(&self, before: Timestamp) -> Result<u64, DbError> {
        let delete = Statement::new("DELETE FROM directory_entry WHERE ends_at < ?");
        self.db.execute("forget old stand-ins", delete.bind(before.0)).await
    }
}

fn id(kind: EntryKind, name: &str) -> String {
    format!("{}/{name}", kind.as_str())
}

/// The version of an entry, which nobody else can change before the end of the transaction.
async fn lock(tx: &mut Transaction, id: &str) -> Result<Option<i64>, sqlx::Error> {
    let lock = Statement::new("UPDATE directory_entry SET version = version WHERE id = ?");
    if tx.execute(lock.bind(id)).await? == 0 {
        return Ok(None);
    }
    let query = Statement::new("SELECT version FROM directory_entry WHERE id = ?").bind(id);
    tx.record(query).await?.as_ref().map(|row| row.integer("version")).transpose()
}

fn is_expected(before: Option<i64>, expected: ExpectedVersion) -> bool {
    match expected {
        ExpectedVersion::Any => true,
        ExpectedVersion::None => before.is_none(),
        ExpectedVersion::Is(version) => before == Some(version),
    }
}

fn read_entry(row: &Record) -> Result<EntryRow, sqlx::Error> {
    Ok(EntryRow {
        kind: row.word("kind", EntryKind::parse)?,
        name: row.text("name")?,
        body: row.text("body")?,
        version: row.integer("version")?,
        changed_at: row.timestamp("changed_at")?,
        changed_by: row.text("changed_by")?,
        ends_at: row.timestamp("ends_at")?,
    })
}
