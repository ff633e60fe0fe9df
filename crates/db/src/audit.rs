//! Who changed what. An entry is written in the transaction of its change: none without the other.

use model::Timestamp;

use crate::record::Record;
use crate::statement::Statement;
use crate::transaction::{Transaction, in_transaction};
use crate::{Db, DbError};

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its identity, at most 64 characters; identifiers must sort by time.
    pub id: String,
    /// When.
    pub at: Timestamp,
    /// Who: the name of a token, or the machine itself.
    pub actor: String,
    /// The address of the socket's other end.
    pub peer: String,
    /// What was done, as `group.put`.
    pub action: String,
    /// To what.
    pub target: String,
    /// What came of it, as text or JSON; may be empty.
    pub detail: String,
}

/// Queries over the audit.
#[derive(Debug)]
pub struct Audit<'a> {
    pub(crate) db: &'a Db,
}

impl Audit<'_> {
    /// Writes an entry for a change that is kept elsewhere than in the database.
    pub async fn add(&self, entry: &AuditEntry) -> Result<(), DbError> {
        in_transaction!(self.db, "write the audit", tx => { write(tx, entry).await })
    }

    /// Forgets the entries from before a moment.
    pub async fn forget_before(&self, moment: Timestamp) -> Result<u64, DbError> {
        let delete = Statement::new("DELETE FROM audit WHERE happened_at < ?");
        self.db.execute("forget old entries of the audit", delete.bind(moment.millis())).await
    }

    /// Up to `max` entries, the latest first, from those before the entry `before` on; all when it is
    /// empty. `target` leaves only entries of this target, when it is not empty.
    pub async fn page(
        &self,
        before: &str,
        target: &str,
        max: u32,
    ) -> Result<Vec<AuditEntry>, DbError> {
        let mut query = Statement::new(
            "SELECT id, happened_at, actor, peer, action, target, detail FROM audit WHERE 1 = 1",
        );
        if !before.is_empty() {
            query.push(" AND id < ").push_bind(before);
        }
        if !target.is_empty() {
            query.push(" AND target = ").push_bind(target);
        }
        query.push(" ORDER BY id DESC LIMIT ").push_bind(max);
        self.db.records("read the audit", query, read_entry).await
    }
}

/// Writes an entry within a transaction.
pub(crate) async fn write(tx: &mut Transaction, entry: &AuditEntry) -> Result<(), sqlx::Error> {
    let insert = Statement::new(
        "INSERT INTO audit (id, happened_at, actor, peer, action, target, detail) \
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    );
    let insert = insert
        .bind(entry.id.as_str())
        .bind(entry.at.millis())
        .bind(entry.actor.as_str())
        .bind(entry.peer.as_str())
        .bind(entry.action.as_str())
        .bind(entry.target.as_str())
        .bind(entry.detail.as_str());
    tx.execute(insert).await.map(|_| ())
}

fn read_entry(row: &Record) -> Result<AuditEntry, sqlx::Error> {
    Ok(AuditEntry {
        id: row.text("id")?,
        at: row.timestamp("happened_at")?,
        actor: row.text("actor")?,
        peer: row.text("peer")?,
        action: row.text("action")?,
        target: row.text("target")?,
        detail: row.text("detail")?,
    })
}
