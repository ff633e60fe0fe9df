//! Who changed what. An entry is written in the transaction of its change: none without the other.

use std::time::Duration;

use model::Timestamp;

use crate::record::Record;
use crate::statement::Statement;
use crate::transaction::{Transaction, in_transaction};
use crate::{Db, DbError};

/// How long entries are kept, whoever wrote them.
pub const KEPT: Duration = Duration::from_secs(2 * 366 * 86_400);
/// How many entries one call of [`Audit::forget_before`] forgets at most; the others wait for the next one.
pub const FORGOTTEN_MAX: u32 = 100_000;
const FORGOTTEN_AT_ONCE: u32 = 1_000;

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

    /// Forgets entries from before a moment, at most [`FORGOTTEN_MAX`] of them; returns how many. Hbs and alarm may
    /// both do so on one table at a time: they look for the entries first and remove them by their ids, in the same
    /// order, so that neither waits for a range that the other holds, and what is gone already costs nothing.
    pub async fn forget_before(&self, moment: Timestamp) -> Result<u64, DbError> {
        let mut gone = 0;
        for _ in 0..FORGOTTEN_MAX / FORGOTTEN_AT_ONCE {
            let query =
                Statement::new("SELECT id FROM audit WHERE happened_at < ? ORDER BY id LIMIT ?");
            let query = query.bind(moment.millis()).bind(FORGOTTEN_AT_ONCE);
            let ids: Vec<String> = self
                .db
                .records("look for old entries of the audit", query, |row| row.text("id"))
                .await?;
            if ids.is_empty() {
                break;
            }
            let mut delete = Statement::new("DELETE FROM audit WHERE id IN ");
            delete.push_list(ids.iter().map(String::as_str));
            gone += self.db.execute("forget old entries of the audit", delete).await?;
            if ids.len() < FORGOTTEN_AT_ONCE as usize {
                break;
            }
        }
        Ok(gone)
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
