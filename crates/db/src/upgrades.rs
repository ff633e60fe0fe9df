//! The rollout of an agent version: its plan, the hosts that are upgraded now, and how far each host
//! has come. The rules are told in crate `state`, which also keeps them in Redis.

mod admission;
mod reports;

use model::Timestamp;

use crate::record::Record;
use crate::statement::Statement;
use crate::transaction::{Transaction, in_transaction};
use crate::{Db, DbError};

const PLAN: &str = "plan";

/// How far a host has come with what it was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPhase {
    /// An offer was sent; the host has not spoken of it yet.
    Offered,
    /// The host follows the offer.
    Accepted,
    /// It fetches the files.
    Downloading,
    /// It checks what it fetched.
    Verifying,
    /// It starts the new version.
    Restarting,
    /// The new version runs and has yet to prove itself.
    Probation,
    /// The new version is kept.
    Confirmed,
    /// The host does not follow the offer.
    Refused,
    /// The new version was never started.
    Failed,
    /// The new version was started and given up.
    RolledBack,
    /// The host's lease ended without a word about the end.
    Lost,
}

impl HostPhase {
    /// All of them, in the order of a life.
    pub const ALL: [Self; 11] = [
        Self::Offered,
        Self::Accepted,
        Self::Downloading,
        Self::Verifying,
        Self::Restarting,
        Self::Probation,
        Self::Confirmed,
        Self::Refused,
        Self::Failed,
        Self::RolledBack,
        Self::Lost,
    ];

    /// The word it is stored and shown as.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Accepted => "accepted",
            Self::Downloading => "downloading",
            Self::Verifying => "verifying",
            Self::Restarting => "restarting",
            Self::Probation => "probation",
            Self::Confirmed => "confirmed",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::RolledBack => "rolled_back",
            Self::Lost => "lost",
        }
    }

    /// The phase of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == word)
    }

    /// Whether the host works on the offer and so holds a place.
    pub const fn is_underway(self) -> bool {
        matches!(
            self,
            Self::Offered
                | Self::Accepted
                | Self::Downloading
                | Self::Verifying
                | Self::Restarting
                | Self::Probation
        )
    }

    /// Whether the host speaks against the version. One that refuses does not.
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::RolledBack | Self::Lost)
    }

    /// Whether another offer may help. A version that was rolled back would fail again.
    pub const fn may_retry(self) -> bool {
        self.is_underway() || matches!(self, Self::Failed | Self::Lost)
    }
}

/// The plan of a rollout as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpgradePlanRow {
    /// One more with every change.
    pub revision: i64,
    /// Identity of the rollout.
    pub rollout: String,
    /// What its owner wrote.
    pub body: Vec<u8>,
}

/// A group of hosts of which only some may be upgraded at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupLimit {
    /// Its name.
    pub name: String,
    /// Places in the group.
    pub max: u32,
    /// How long a place is held, in milliseconds, unless it is given back by name.
    pub hold_millis: i64,
}

/// A host that asks for a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission<'a> {
    /// Its name.
    pub host: &'a str,
    /// The revision of the plan by which it may ask; another one refuses it.
    pub revision: i64,
    /// Its wave, for the counts.
    pub wave: u32,
    /// Places in all.
    pub in_flight_max: u32,
    /// Hosts of this rollout that may have been offered something, first offers only; nothing for all.
    pub started_max: Option<u64>,
    /// Offers that one host gets.
    pub attempts_max: u32,
    /// How long the place is held, in milliseconds.
    pub lease_millis: i64,
    /// How long a host that failed rests before it is offered something again, in milliseconds.
    pub rest_millis: i64,
    /// Whether the host is known to work on nothing: an offer that was lost on its way is repeated.
    pub is_idle: bool,
    /// Its groups.
    pub groups: &'a [GroupLimit],
}

/// What became of a request for a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Admitted {
    /// It has a place; this is the number of its offer, from 1.
    Given(u32),
    /// It holds one already.
    InFlight,
    /// All places are taken.
    Full,
    /// All places of one of its groups are taken.
    GroupFull,
    /// As many hosts as may have been started.
    WaveFull,
    /// It has been offered enough, or has come to an end.
    Spent,
    /// It failed a short while ago.
    Resting,
    /// The plan is another one by now.
    Stale,
}

/// What a host says of its offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostReport<'a> {
    /// Its name.
    pub host: &'a str,
    /// Which rollout it speaks of.
    pub rollout: &'a str,
    /// How far it has come; `Offered` and `Lost` are not for hosts to say.
    pub phase: HostPhase,
    /// Why, in words; at most 255 characters.
    pub reason: &'a str,
    /// A host that is underway holds its place for so long from now on, in milliseconds.
    pub lease_millis: i64,
    /// But never longer than this from its offer, in milliseconds.
    pub underway_millis_max: i64,
    /// Groups in which it may hold a place.
    pub groups: &'a [GroupLimit],
}

/// How far a host has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpgradeHostRow {
    /// Its name.
    pub host: String,
    /// Its phase.
    pub phase: HostPhase,
    /// Offers it was sent.
    pub attempts: u32,
    /// The wave of its first offer.
    pub wave: u32,
    /// When it was last sent an offer.
    pub started_at: Timestamp,
    /// When the phase began.
    pub changed_at: Timestamp,
    /// Why, in words; may be empty.
    pub reason: String,
}

/// The hosts of a rollout in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpgradeTally {
    /// The revision of the plan at that moment; 0 when there is none.
    pub revision: i64,
    /// Places taken, those of earlier rollouts included.
    pub in_flight: u64,
    /// Hosts by wave and phase; those without hosts may be missing.
    pub counts: Vec<(u32, HostPhase, u64)>,
    /// When the last offer was sent.
    pub last_started_at: Option<Timestamp>,
}

/// Queries of the rollout.
#[derive(Debug)]
pub struct Upgrades<'a> {
    pub(crate) db: &'a Db,
}

impl Upgrades<'_> {
    /// The plan, if there ever was one.
    pub async fn plan(&self) -> Result<Option<UpgradePlanRow>, DbError> {
        let query =
            Statement::new("SELECT revision, rollout, body FROM upgrade_plan WHERE name = ?");
        let read = |row: &Record| {
            Ok(UpgradePlanRow {
                revision: row.integer("revision")?,
                rollout: row.text("rollout")?,
                body: row.bytes("body")?,
            })
        };
        self.db.record("read the upgrade plan", query.bind(PLAN), read).await
    }

    /// Writes the plan if its revision is still `expected`, 0 for none; `false` when it is not.
    /// With another rollout the hosts' progress begins anew; their places stay.
    pub async fn save_plan(
        &self,
        expected: i64,
        rollout: &str,
        body: &[u8],
    ) -> Result<bool, DbError> {
        in_transaction!(self.db, "store the upgrade plan", tx => {
            let plan = locked_plan(tx).await?;
            if plan.as_ref().map_or(0, |(revision, _)| *revision) != expected {
                return Ok(false);
            }
            if plan.as_ref().is_none_or(|(_, current)| current != rollout) {
                tx.execute(Statement::new("DELETE FROM upgrade_host")).await?;
            }
            let statement = Statement::new(match plan {
                Some(_) => "UPDATE upgrade_plan SET revision = ?, rollout = ?, body = ? WHERE name = ?",
                None => {
                    "INSERT INTO upgrade_plan (revision, rollout, body, name, looked_at) \
                     VALUES (?, ?, ?, ?, 0)"
                }
            });
            tx.execute(statement.bind(expected + 1).bind(rollout).bind(body).bind(PLAN)).await?;
            Ok(true)
        })
    }

    /// All hosts in one of the phases, the latest change first.
    pub async fn hosts(
        &self,
        phases: &[HostPhase],
        limit: u32,
    ) -> Result<Vec<UpgradeHostRow>, DbError> {
        let mut query =
            Statement::new(format!("SELECT {HOST_COLUMNS} FROM upgrade_host WHERE phase IN "));
        query.push_list(phases.iter().map(|phase| phase.as_str()));
        query.push(" ORDER BY changed_at DESC, host LIMIT ").push_bind(limit);
        self.db.records("list upgraded hosts", query, read_host).await
    }
}

const HOST_COLUMNS: &str = "host, phase, attempts, wave, started_at, changed_at, reason";

fn read_host(row: &Record) -> Result<UpgradeHostRow, sqlx::Error> {
    Ok(UpgradeHostRow {
        host: row.text("host")?,
        phase: row.word("phase", HostPhase::parse)?,
        attempts: row.integer("attempts")?,
        wave: row.integer("wave")?,
        started_at: row.timestamp("started_at")?,
        changed_at: row.timestamp("changed_at")?,
        reason: row.text("reason")?,
    })
}

/// Revision and rollout of the plan. On MySQL its row is locked, so that whoever changes places
/// waits for the others; SQLite has one writer anyway.
async fn locked_plan(tx: &mut Transaction) -> Result<Option<(i64, String)>, sqlx::Error> {
    let query = Statement::new(
        "SELECT revision, rollout FROM upgrade_plan WHERE name = ? /*!50000 FOR UPDATE */",
    );
    let row = tx.record(query.bind(PLAN)).await?;
    row.map(|row| Ok((row.integer("revision")?, row.text("rollout")?))).transpose()
}

async fn host_of(tx: &mut Transaction, host: &str) -> Result<Option<UpgradeHostRow>, sqlx::Error> {
    let query = Statement::new(format!("SELECT {HOST_COLUMNS} FROM upgrade_host WHERE host = ?"));
    tx.record(query.bind(host)).await?.as_ref().map(read_host).transpose()
}

async fn number(tx: &mut Transaction, query: Statement) -> Result<u64, sqlx::Error> {
    tx.record(query).await?.ok_or(sqlx::Error::RowNotFound)?.integer("number")
}
