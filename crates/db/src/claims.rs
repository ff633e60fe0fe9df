//! Who took which alert, and what was put off, as crate `alarm` keeps it.

use model::{Fingerprint, Timestamp};

use crate::record::Record;
use crate::statement::{Statement, Value};
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

/// What was done with a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimAct {
    /// It was made, in the place of an earlier one or not.
    Made,
    /// It was taken back before its end.
    TakenBack,
    /// Its owner was reminded of its end.
    Reminded,
    /// Its owner was to be reminded of its end, and nothing reaches them.
    Unreached,
}

impl ClaimAct {
    const ALL: [Self; 4] = [Self::Made, Self::TakenBack, Self::Reminded, Self::Unreached];

    /// The word in the store and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Made => "made",
            Self::TakenBack => "taken_back",
            Self::Reminded => "reminded",
            Self::Unreached => "unreached",
        }
    }

    /// Whether it is about the end of a claim that stays as it is.
    pub const fn is_reminder(self) -> bool {
        matches!(self, Self::Reminded | Self::Unreached)
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|act| act.as_str() == word)
    }
}

/// A step in the life of the claims on an alert. Steps stay when the claim is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimStep {
    /// What was done.
    pub act: ClaimAct,
    /// Who did it; empty when that is not known.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// The claim as it was made; of one that was taken back, as it would have held.
    pub claim: ClaimRow,
}

/// Queries over claims.
#[derive(Debug)]
pub struct Claims<'a> {
    pub(crate) db: &'a Db,
}

const COLUMNS: &str = "id, fingerprint, kind, owner, note, made_at, until";
const STEP_COLUMNS: &str =
    "id, fingerprint, kind, act, done_by, done_at, owner, note, made_at, until";

impl Claims<'_> {
    /// Stores claims, each in the place of one of the same alert and kind, and what was done with them; all or
    /// none.
    pub async fn store(
        &self,
        claims: &[ClaimRow],
        (act, by, at): (ClaimAct, &str, Timestamp),
    ) -> Result<(), DbError> {
        in_transaction!(self.db, "store claims", tx => {
            let rows = by_id(claims);
            let steps = rows.iter().map(|(id, claim)| step_values(id, claim, act, by, at));
            insert_rows(tx, "REPLACE", "claim_step", STEP_COLUMNS, steps.collect()).await?;
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

    /// Notes what was done about claims that stay as they are; all or none.
    pub async fn note(
        &self,
        claims: &[ClaimRow],
        (act, by, at): (ClaimAct, &str, Timestamp),
    ) -> Result<(), DbError> {
        in_transaction!(self.db, "note what was done about claims", tx => {
            let rows = by_id(claims);
            let steps = rows.iter().map(|(id, claim)| step_values(id, claim, act, by, at));
            insert_rows(tx, "REPLACE", "claim_step", STEP_COLUMNS, steps.collect()).await
        })
    }

    /// What was done with the claims on an alert, the latest first, at most `max`.
    pub async fn steps(
        &self,
        fingerprint: Fingerprint,
        max: u32,
    ) -> Result<Vec<ClaimStep>, DbError> {
        let query = Statement::new(
            "SELECT * FROM claim_step WHERE fingerprint = ? ORDER BY done_at DESC, id DESC LIMIT ?",
        );
        let query = query.bind(fingerprint.to_string()).bind(max);
        self.db.records("list what was done with an alert", query, read_step).await
    }

    /// The claims that were taken back since a moment: alert, kind, and the end that they have since.
    pub async fn taken_back_since(
        &self,
        since: Timestamp,
    ) -> Result<Vec<(Fingerprint, ClaimKind, Timestamp)>, DbError> {
        let query = Statement::new("SELECT * FROM claim_step WHERE done_at >= ? AND act = ?");
        let query = query.bind(since.0).bind(ClaimAct::TakenBack.as_str());
        let read = |row: &Record| {
            let claim = read_claim(row)?;
            Ok((claim.fingerprint, claim.kind, claim.until))
        };
        self.db.records("list claims that were taken back", query, read).await
    }

    /// Forgets what was done before `before`; returns how many steps.
    pub async fn prune_steps(&self, before: Timestamp) -> Result<u64, DbError> {
        let statement = Statement::new("DELETE FROM claim_step WHERE done_at < ?").bind(before.0);
        self.db.execute("forget old steps of claims", statement).await
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

/// Claims with their ids, in the order of these: two who store the same ones never wait for each other in a ring.
fn by_id(claims: &[ClaimRow]) -> Vec<(String, &ClaimRow)> {
    let id = |claim: &ClaimRow| format!("{}-{}", claim.fingerprint, claim.kind.as_str());
    let mut rows: Vec<(String, &ClaimRow)> =
        claims.iter().map(|claim| (id(claim), claim)).collect();
    rows.sort_unstable_by(|(id, _), (other, _)| id.cmp(other));
    rows
}

fn step_values(id: &str, claim: &ClaimRow, act: ClaimAct, by: &str, at: Timestamp) -> Vec<Value> {
    vec![
        format!("{id}-{}-{}", at.0, act.as_str()).into(),
        claim.fingerprint.to_string().into(),
        claim.kind.as_str().into(),
        act.as_str().into(),
        by.into(),
        at.0.into(),
        claim.owner.as_str().into(),
        claim.note.as_str().into(),
        claim.made_at.0.into(),
        claim.until.0.into(),
    ]
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

fn read_step(row: &Record) -> Result<ClaimStep, sqlx::Error> {
    Ok(ClaimStep {
        act: row.word("act", ClaimAct::parse)?,
        by: row.text("done_by")?,
        at: row.timestamp("done_at")?,
        claim: read_claim(row)?,
    })
}
