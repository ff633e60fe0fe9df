//! Routes, receivers, inhibitions, time intervals and templates that were set by API, as crate `alarm` keeps them.

use std::fmt;

use model::Timestamp;

use crate::audit::{self, AuditEntry};
use crate::record::Record;
use crate::statement::Statement;
use crate::transaction::in_transaction;
use crate::{Db, DbError};

/// An object as it is stored. `Debug` shows no body, which may hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct RoutingRow {
    /// What it is. Any word: rows may be written by hand.
    pub kind: String,
    /// Its name among those of its kind, at most 160 characters.
    pub name: String,
    /// The rest, as the application writes it.
    pub body: String,
    /// The revision of all objects that its latest change made; no two changes have the same.
    pub version: i64,
    /// When it was changed last.
    pub changed_at: Timestamp,
    /// By whom.
    pub changed_by: String,
}

impl fmt::Debug for RoutingRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoutingRow({} {:?}, version {})", self.kind, self.name, self.version)
    }
}

/// A change of one object, with its entry of the audit.
#[derive(Clone)]
pub struct RoutingChange {
    /// What the object is.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// What it shall be; `None` removes it.
    pub body: Option<String>,
    /// Who, when, and what came of it.
    pub entry: AuditEntry,
}

impl fmt::Debug for RoutingChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.body.is_some() { "put" } else { "remove" };
        write!(f, "RoutingChange({verb} {} {:?})", self.kind, self.name)
    }
}

/// Queries over the objects.
#[derive(Debug)]
pub struct Routing<'a> {
    pub(crate) db: &'a Db,
}

impl Routing<'_> {
    /// All objects by kind and name, and the revision to make changes from. They may be newer than the revision,
    /// never older.
    pub async fn all(&self) -> Result<(i64, Vec<RoutingRow>), DbError> {
        let query = Statement::new("SELECT revision FROM routing_revision WHERE id = 1");
        let read = |row: &Record| row.integer("revision");
        let revision = self.db.record("read the revision of routing objects", query, read).await?;
        let query = Statement::new("SELECT * FROM routing_object ORDER BY kind, name");
        let rows = self.db.records("list routing objects", query, read_row).await?;
        Ok((revision.unwrap_or(0), rows))
    }

    /// How many objects there are, their latest change, and a sum of versions and lengths: the same answer means
    /// that nothing is new, but for a text that somebody changed by hand without making it longer or shorter.
    pub async fn stamp(&self) -> Result<(u64, i64, i64), DbError> {
        let query = Statement::new(
            "SELECT COUNT(*) AS objects, COALESCE(MAX(changed_at), 0) AS latest, \
             CAST(COALESCE(SUM(version * 1000 + LENGTH(body)), 0) AS SIGNED) AS total FROM routing_object",
        );
        let read = |row: &Record| {
            Ok((row.integer("objects")?, row.integer("latest")?, row.integer("total")?))
        };
        let stamp = self.db.record("look for changed routing objects", query, read).await?;
        Ok(stamp.unwrap_or((0, 0, 0)))
    }

    /// Makes all these changes, or none: `None` when somebody made others since `revision` was read. Answers with
    /// the version that the changed objects have.
    pub async fn change(
        &self,
        revision: i64,
        changes: &[RoutingChange],
    ) -> Result<Option<i64>, DbError> {
        in_transaction!(self.db, "store routing objects", tx => {
            let version = revision + 1;
            let claim = Statement::new("UPDATE routing_revision SET revision = ? WHERE id = 1 AND revision = ?");
            if tx.execute(claim.bind(version).bind(revision)).await? == 0 {
                return Ok(None);
            }
            for change in changes {
                let delete = Statement::new("DELETE FROM routing_object WHERE kind = ? AND name = ?");
                tx.execute(delete.bind(change.kind).bind(change.name.as_str())).await?;
                if let Some(body) = &change.body {
                    let insert = Statement::new(
                        "INSERT INTO routing_object (kind, name, body, version, changed_at, changed_by) \
                         VALUES (?, ?, ?, ?, ?, ?)",
                    );
                    let insert = insert
                        .bind(change.kind)
                        .bind(change.name.as_str())
                        .bind(body.as_str())
                        .bind(version)
                        .bind(change.entry.at.0)
                        .bind(change.entry.actor.as_str());
                    tx.execute(insert).await?;
                }
                audit::write(tx, &change.entry).await?;
            }
            Ok(Some(version))
        })
    }
}

fn read_row(row: &Record) -> Result<RoutingRow, sqlx::Error> {
    Ok(RoutingRow {
        kind: row.text("kind")?,
        name: row.text("name")?,
        body: row.text("body")?,
        version: row.integer("version")?,
        changed_at: row.timestamp("changed_at")?,
        changed_by: row.text("changed_by")?,
    })
}
