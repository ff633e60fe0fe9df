//! Who took which alert, and what was put off, as crate `alarm` keeps it.

use model::{Fingerprint, Timestamp};

use crate::record::Record;
use crate::statement::Statement;
use crate::transaction::in_transaction;
use crate::upsert::insert_rows;
use crate::{Db, DbError};

/// What somebody did with an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClaimKind {
    /// Took it: it is not repeated and nobody else is called.
    Acknowledged,
    /// Put it off: nobody is told.
    Snoozed,
}

impl ClaimKind {
    /// The word in the store and in addresses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Acknowledged => "ack",
            Self::Snoozed => "snooze",
        }
    }

    /// The kind with this word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Acknowledged, Self::Snoozed].into_iter().find(|kind| kind.as_str() == word)
    }
}

/// What somebody did with an alert, and until when it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRow {
    /// Which alert.
    pub fingerprint: Fingerprint,
    /// What was done.
    pub kind: ClaimKind,
    /// Who, at most 190 characters.
    pub owner: String,
    /// Why.
    pub note: String,
    /// When.
    pub made_at: Timestamp,
    /// It holds up to and including this moment.
    pub until: Timestamp,
}

/// Queries over claims.
#[derive(Debug)]
pub struct Claims<'a> {
    pub(crate) db: &'a Db,
}

const COLUMNS: &str = "id, fingerprint, kind, owner, note, made_at, until";

impl Claims<'_> {
    /// Stores claims, each in the place of one of the same alert and kind; all or none.
    pub async fn store(&self, claims: &[ClaimRow]) -> Result<(), DbError> {
        in_transaction!(self.db, "store claims", tx => {
            let mut rows: Vec<(String, &ClaimRow)> = claims
                .iter()
                .map(|claim| (format!("{}-{}", claim.fingerprint, claim.kind.as_str()), claim))
                .collect();
            rows.sort_unstable_by(|(id, _), (other, _)| id.cmp(other));
            let rows = rows.into_iter().map(|(id, claim)| {
                vec![
                    id.into(),
                    claim.fingerprint.to_string().into(),
                    claim.kind.as_str().into(),
                    claim.owner.as_str().into(),
                    claim.note.as_str().into(),
                    claim.made_at.0.into(),
                    claim.until.0.into(),
                ]
            });
            insert_rows(tx, "REPLACE", "alert_claim", COLUMNS, rows.collect()).await
        })
    }

    /// All claims, by the time they were made.
    pub async fn all(&self) -> Result<Vec<ClaimRow>, DbError> {
        let query = Statement::new("SELECT * FROM alert_claim ORDER BY made_at, id");
        self.db.records("list claims", query, read_claim).await
    }

    /// How many there are, when the latest was made, and when the last ends: the same answer means that
    /// nothing is new.
    pub async fn stamp(&self) -> Result<(u64, i64, i64), DbError> {
        let query = Statement::new(
            "SELECT COUNT(*) AS claims, COALESCE(MAX(made_at), 0) AS latest, \
             COALESCE(MAX(until), 0) AS last_end FROM alert_claim",
        );
        let read = |row: &Record| {
            Ok((row.integer("claims")?, row.integer("latest")?, row.integer("last_end")?))
        };
        let stamp = self.db.record("look for changed claims", query, read).await?;
        Ok(stamp.unwrap_or((0, 0, 0)))
    }

    /// Forgets claims that ended before `before`; returns how many.
    pub async fn prune(&self, before: Timestamp) -> Result<u64, DbError> {
        let statement = Statement::new("DELETE FROM alert_claim WHERE until < ?").bind(before.0);
        self.db.execute("forget old claims", statement).await
    }
}

fn read_claim(row: &Record) -> Result<ClaimRow, sqlx::Error> {
    Ok(ClaimRow {
        fingerprint: row.word("fingerprint", Fingerprint::parse)?,
        kind: row.word("kind", ClaimKind::parse)?,
        owner: row.text("owner")?,
        note: row.text("note")?,
        made_at: row.timestamp("made_at")?,
        until: row.timestamp("until")?,
    })
}
