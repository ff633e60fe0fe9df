//! Rule groups created by API, and every version they had.

use model::Timestamp;

use crate::audit::{self, AuditEntry};
use crate::record::Record;
use crate::statement::Statement;
use crate::transaction::{Transaction, in_transaction};
use crate::{Db, DbError};

/// Versions of one group that are kept; older ones are forgotten.
pub const RULE_GROUP_VERSIONS_MAX: i64 = 200;

/// A rule group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleGroupRow {
    /// Its name, unique.
    pub name: String,
    /// The group as it was given: YAML or JSON in Prometheus' format.
    pub body: String,
    /// Whom to ask about it; may be empty.
    pub owner: String,
    /// Whether it is evaluated.
    pub enabled: bool,
    /// One more with every change. No number is used twice, not even after a removal.
    pub version: i64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A version of a rule group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleGroupVersion {
    /// The group.
    pub name: String,
    /// Its number.
    pub version: i64,
    /// When it was made.
    pub changed_at: Timestamp,
    /// Who made it; empty for versions from before such things were kept.
    pub actor: String,
    /// The address of the socket's other end.
    pub peer: String,
    /// What was done, as in the audit.
    pub action: String,
    /// The group after the change; empty when it was removed.
    pub body: String,
    /// Its owner after the change.
    pub owner: String,
    /// Whether it was evaluated after the change.
    pub enabled: bool,
}

/// What a change is made of. What is `None` stays as it is; a new group needs a body.
#[derive(Debug, Clone, Copy, Default)]
pub struct RuleGroupEdit<'a> {
    /// The group, YAML or JSON.
    pub body: Option<&'a str>,
    /// Whom to ask about it, at most 190 characters.
    pub owner: Option<&'a str>,
    /// Whether it is evaluated.
    pub enabled: Option<bool>,
}

/// Which version a change is meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedVersion {
    /// Whatever is there.
    Any,
    /// There must be no group of this name.
    None,
    /// This one.
    Is(i64),
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EditOutcome {
    /// It is made; the group as it is now, or as it was when it is removed now.
    Made(RuleGroupRow),
    /// The group was like this before.
    Unchanged(RuleGroupRow),
    /// Another version is there than the change is meant for; `None`: no group is.
    Conflict(Option<i64>),
    /// There is no group of this name.
    Missing,
}

/// Queries over rule groups.
#[derive(Debug)]
pub struct RuleGroups<'a> {
    pub(crate) db: &'a Db,
}

const COLUMNS: &str = "name, body, owner, enabled, version, created_at, updated_at";
const VERSION_COLUMNS: &str =
    "name, version, changed_at, actor, peer, action, body, owner, enabled";

impl RuleGroups<'_> {
    /// All groups, by name.
    pub async fn all(&self) -> Result<Vec<RuleGroupRow>, DbError> {
        let query = Statement::new(format!("SELECT {COLUMNS} FROM rule_group ORDER BY name"));
        self.db.records("list rule groups", query, read_group).await
    }

    /// Up to `max` groups behind a name, by name.
    pub async fn page(&self, after: &str, max: u32) -> Result<Vec<RuleGroupRow>, DbError> {
        let query = Statement::new(format!(
            "SELECT {COLUMNS} FROM rule_group WHERE name > ? ORDER BY name LIMIT ?"
        ));
        self.db.records("list rule groups", query.bind(after).bind(max), read_group).await
    }

    /// One group, if there is one of this name.
    pub async fn one(&self, name: &str) -> Result<Option<RuleGroupRow>, DbError> {
        self.db.record("read a rule group", one_group(name), read_group).await
    }

    /// Creates or changes a group, with a version and an entry of the audit in the same transaction.
    pub async fn edit(
        &self,
        name: &str,
        edit: RuleGroupEdit<'_>,
        expected: ExpectedVersion,
        entry: &AuditEntry,
    ) -> Result<EditOutcome, DbError> {
        in_transaction!(self.db, "store a rule group", tx => {
            let before = locked(tx, name).await?;
            if let Some(refused) = refused(before.as_ref(), expected) {
                return Ok(refused);
            }
            let Some(mut row) = edited(tx, name, before.as_ref(), edit, entry.at).await? else {
                return Ok(EditOutcome::Missing);
            };
            if before.as_ref() == Some(&row) {
                return Ok(EditOutcome::Unchanged(row));
            }
            row.version += 1;
            row.updated_at = entry.at;
            write_group(tx, &row, before.is_some()).await?;
            note_version(tx, &row, &row.body, entry).await?;
            Ok(EditOutcome::Made(row))
        })
    }

    /// Removes a group, with a version and an entry of the audit in the same transaction.
    pub async fn remove(
        &self,
        name: &str,
        expected: ExpectedVersion,
        entry: &AuditEntry,
    ) -> Result<EditOutcome, DbError> {
        in_transaction!(self.db, "remove a rule group", tx => {
            let Some(row) = locked(tx, name).await? else { return Ok(EditOutcome::Missing) };
            if let Some(refused) = refused(Some(&row), expected) {
                return Ok(refused);
            }
            tx.execute(Statement::new("DELETE FROM rule_group WHERE name = ?").bind(name)).await?;
            let gone = RuleGroupRow { version: row.version + 1, ..row.clone() };
            note_version(tx, &gone, "", entry).await?;
            Ok(EditOutcome::Made(row))
        })
    }

    /// Up to `max` versions of a group before one of them (0: the latest), the latest first. A group that was
    /// removed still has its versions.
    pub async fn versions(
        &self,
        name: &str,
        before: i64,
        max: u32,
    ) -> Result<Vec<RuleGroupVersion>, DbError> {
        let before = if before == 0 { i64::MAX } else { before };
        let query = Statement::new(format!(
            "SELECT {VERSION_COLUMNS} FROM rule_group_version WHERE name = ? AND version < ? \
             ORDER BY version DESC LIMIT ?"
        ));
        let query = query.bind(name).bind(before).bind(max);
        self.db.records("list versions of a rule group", query, read_version).await
    }

    /// One version of a group.
    pub async fn version(
        &self,
        name: &str,
        version: i64,
    ) -> Result<Option<RuleGroupVersion>, DbError> {
        let query = Statement::new(format!(
            "SELECT {VERSION_COLUMNS} FROM rule_group_version WHERE name = ? AND version = ?"
        ));
        let query = query.bind(name).bind(version);
        self.db.record("read a version of a rule group", query, read_version).await
    }
}

fn one_group(name: &str) -> Statement {
    Statement::new(format!("SELECT {COLUMNS} FROM rule_group WHERE name = ?")).bind(name)
}

/// The group, which nobody else can change before the end of the transaction: an update that changes nothing
/// takes the lock in both databases, and what is read after it is what was last committed.
async fn locked(tx: &mut Transaction, name: &str) -> Result<Option<RuleGroupRow>, sqlx::Error> {
    let lock = Statement::new("UPDATE rule_group SET version = version WHERE name = ?").bind(name);
    if tx.execute(lock).await? == 0 {
        return Ok(None);
    }
    tx.record(one_group(name)).await?.as_ref().map(read_group).transpose()
}

fn refused(before: Option<&RuleGroupRow>, expected: ExpectedVersion) -> Option<EditOutcome> {
    let there = before.map(|row| row.version);
    let is_expected = match expected {
        ExpectedVersion::Any => true,
        ExpectedVersion::None => there.is_none(),
        ExpectedVersion::Is(version) => there == Some(version),
    };
    (!is_expected).then_some(EditOutcome::Conflict(there))
}

/// The group after an edit, still under its old version; `None` when a new group is given no body.
async fn edited(
    tx: &mut Transaction,
    name: &str,
    before: Option<&RuleGroupRow>,
    edit: RuleGroupEdit<'_>,
    now: Timestamp,
) -> Result<Option<RuleGroupRow>, sqlx::Error> {
    let mut row = match (before, edit.body) {
        (Some(row), _) => row.clone(),
        (None, None) => return Ok(None),
        (None, Some(_)) => RuleGroupRow {
            name: name.to_owned(),
            body: String::new(),
            owner: String::new(),
            enabled: true,
            version: last_version(tx, name).await?,
            created_at: now,
            updated_at: now,
        },
    };
    if let Some(body) = edit.body {
        body.clone_into(&mut row.body);
    }
    if let Some(owner) = edit.owner {
        owner.clone_into(&mut row.owner);
    }
    row.enabled = edit.enabled.unwrap_or(row.enabled);
    Ok(Some(row))
}

async fn last_version(tx: &mut Transaction, name: &str) -> Result<i64, sqlx::Error> {
    let query = Statement::new(
        "SELECT version FROM rule_group_version WHERE name = ? ORDER BY version DESC LIMIT 1",
    );
    match tx.record(query.bind(name)).await? {
        Some(record) => record.integer("version"),
        None => Ok(0),
    }
}

async fn write_group(
    tx: &mut Transaction,
    row: &RuleGroupRow,
    is_there: bool,
) -> Result<(), sqlx::Error> {
    let write = Statement::new(if is_there {
        "UPDATE rule_group SET body = ?, owner = ?, enabled = ?, version = ?, created_at = ?, \
         updated_at = ? WHERE name = ?"
    } else {
        "INSERT INTO rule_group (body, owner, enabled, version, created_at, updated_at, name) \
         VALUES (?, ?, ?, ?, ?, ?, ?)"
    });
    let write = write
        .bind(row.body.as_str())
        .bind(row.owner.as_str())
        .bind(i64::from(row.enabled))
        .bind(row.version)
        .bind(row.created_at.millis())
        .bind(row.updated_at.millis())
        .bind(row.name.as_str());
    tx.execute(write).await.map(|_| ())
}

async fn note_version(
    tx: &mut Transaction,
    row: &RuleGroupRow,
    body: &str,
    entry: &AuditEntry,
) -> Result<(), sqlx::Error> {
    let insert = Statement::new(format!(
        "INSERT INTO rule_group_version ({VERSION_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
    ));
    let insert = insert
        .bind(row.name.as_str())
        .bind(row.version)
        .bind(entry.at.millis())
        .bind(entry.actor.as_str())
        .bind(entry.peer.as_str())
        .bind(entry.action.as_str())
        .bind(body)
        .bind(row.owner.as_str())
        .bind(i64::from(row.enabled));
    tx.execute(insert).await?;
    let forget = Statement::new("DELETE FROM rule_group_version WHERE name = ? AND version <= ?");
    let forget = forget.bind(row.name.as_str()).bind(row.version - RULE_GROUP_VERSIONS_MAX);
    tx.execute(forget).await?;
    audit::write(tx, entry).await
}

fn read_group(row: &Record) -> Result<RuleGroupRow, sqlx::Error> {
    Ok(RuleGroupRow {
        name: row.text("name")?,
        body: row.text("body")?,
        owner: row.text("owner")?,
        enabled: row.flag("enabled")?,
        version: row.integer("version")?,
        created_at: row.timestamp("created_at")?,
        updated_at: row.timestamp("updated_at")?,
    })
}

fn read_version(row: &Record) -> Result<RuleGroupVersion, sqlx::Error> {
    Ok(RuleGroupVersion {
        name: row.text("name")?,
        version: row.integer("version")?,
        changed_at: row.timestamp("changed_at")?,
        actor: row.text("actor")?,
        peer: row.text("peer")?,
        action: row.text("action")?,
        body: row.text("body")?,
        owner: row.text("owner")?,
        enabled: row.flag("enabled")?,
    })
}
