//! Tables behind circles of the embedded shared state: members that share out work among themselves. What the verbs
//! mean is told in crate `state`.

use std::collections::HashMap;

use crate::record::Record;
use crate::statement::Statement;
use crate::transaction::{Transaction, in_transaction};
use crate::{Db, DbError};

// SQLite binds at most 32,766 values a statement.
const NAMES_PER_STATEMENT: usize = 1000;
/// What stands for "no moment" in a column.
const NEVER: i64 = i64::MIN;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Membership<'a> {
    /// Which circle.
    pub circle: &'a str,
    /// Name of the member, the same over restarts.
    pub member: &'a str,
    /// Grows with every start of the member.
    pub incarnation: i64,
}

/// A member that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CircleMember {
    /// Its name.
    pub name: String,
    /// Which of its starts.
    pub incarnation: i64,
    /// What it said of itself.
    pub report: String,
}

/// A share of the work as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareRow {
    /// Its name.
    pub name: String,
    /// Name of the member that took it last; empty when that one gave it back.
    pub holder: String,
    /// Which of that member's starts.
    pub incarnation: i64,
    /// Grows whenever it changes hands.
    pub fencing: i64,
    /// What its holder said of its work.
    pub work: Work,
}

/// How far the work on a share has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// The last turn that was begun, in milliseconds since the epoch.
    pub turn: Option<i64>,
    /// The last turn that is known to have succeeded.
    pub succeeded: Option<i64>,
    /// What it costs, in a unit of the members' own.
    pub cost: i64,
}

/// What a member sees when it looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CircleView {
    /// The moment of the look by the clock of the shared state; embedded that is the caller's.
    pub now: i64,
    /// Changes whenever a share changes hands.
    pub version: i64,
    /// Nobody could look for a while: until this is over nobody takes what another member held.
    pub is_settling: bool,
    /// All that are there, the asker among them.
    pub members: Vec<CircleMember>,
    /// All shares; `None` when nothing changed since the version that the asker has seen.
    pub shares: Option<Vec<ShareRow>>,
}

/// A share that a member wants.
#[derive(Debug, Clone, Copy)]
pub struct Want<'a> {
    /// Which one.
    pub name: &'a str,
    /// The fencing number under which it holds the share as far as it knows; 0 when it does not. It gets the share
    /// back with it after the shared state has lost its memory.
    pub held: i64,
    /// How far its work has come; counts after a loss of memory only.
    pub work: Work,
}

/// What became of a turn that a member wants to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnAnswer {
    /// It may, and nobody else begins the same one.
    Yours,
    /// The share is another one's, or the turn was begun before.
    NotYours,
    /// The share or the member is not known: the shared state has lost its memory, or the member was away for long.
    Unknown,
}

/// Queries of circles.
#[derive(Debug)]
pub struct Circles<'a> {
    pub(crate) db: &'a Db,
}

impl Circles<'_> {
    /// Renews a membership until `until` and looks around. `None` when a later start of the same member is there.
    pub async fn attend(
        &self,
        who: Membership<'_>,
        report: &str,
        (now, until): (i64, i64),
        settle_millis: i64,
        seen: i64,
    ) -> Result<Option<CircleView>, DbError> {
        let Membership { circle, member, incarnation } = who;
        in_transaction!(self.db, "attend a circle", tx => {
            let version = enter(tx, circle, (now, settle_millis)).await?;
            let settled_after = settled_after(tx, circle).await?;
            let is_settling = now < settled_after;
            if !is_settling {
                let purge = Statement::new("DELETE FROM state_member WHERE circle = ? AND until <= ?");
                tx.execute(purge.bind(circle).bind(now)).await?;
            }
            let known = members(tx, circle).await?;
            let own = known.iter().find(|(other, _)| other.name == member);
            if own.is_some_and(|(own, until)| own.incarnation > incarnation && *until > now) {
                return Ok(None);
            }
            let put = match own {
                Some(_) => Statement::new(
                    "UPDATE state_member SET incarnation = ?, until = ?, report = ? WHERE circle = ? AND name = ?",
                ),
                None => Statement::new(
                    "INSERT INTO state_member (incarnation, until, report, circle, name) VALUES (?, ?, ?, ?, ?)",
                ),
            };
            tx.execute(put.bind(incarnation).bind(until).bind(report).bind(circle).bind(member)).await?;
            let alive = members(tx, circle).await?.into_iter().filter(|(_, until)| *until > now);
            let members = alive.map(|(member, _)| member).collect();
            let shares = if version == seen { None } else { Some(all_shares(tx, circle).await?) };
            Ok(Some(CircleView { now, version, is_settling, members, shares }))
        })
    }

    /// Takes those of the wanted shares that nobody holds, and answers these and the ones it holds already.
    pub async fn take(
        &self,
        who: Membership<'_>,
        wants: &[Want<'_>],
        now: i64,
    ) -> Result<Vec<ShareRow>, DbError> {
        let Membership { circle, member, incarnation } = who;
        in_transaction!(self.db, "take shares", tx => {
            lock(tx, circle).await?;
            let is_settling = now < settled_after(tx, circle).await?;
            let alive: HashMap<String, i64> = members(tx, circle)
                .await?
                .into_iter()
                .filter(|(_, until)| *until > now)
                .map(|(member, _)| (member.name, member.incarnation))
                .collect();
            if alive.get(member) != Some(&incarnation) {
                return Ok(Vec::new());
            }
            let mut fencing = fencing_after(tx, circle, now).await?;
            let mut taken = Vec::new();
            for chunk in wants.chunks(NAMES_PER_STATEMENT) {
                let known = shares(tx, circle, chunk.iter().map(|want| want.name)).await?;
                for want in chunk {
                    let row = known.get(want.name);
                    let is_own = row.is_some_and(|row| row.holder == member && row.incarnation == incarnation);
                    if let Some(row) = row.filter(|_| is_own) {
                        taken.push(row.clone());
                        continue;
                    }
                    if row.is_some_and(|row| !is_free(row, member, &alive, is_settling)) {
                        continue;
                    }
                    fencing = fencing.max(want.held.saturating_add(1));
                    let share = ShareRow {
                        name: want.name.to_owned(),
                        holder: member.to_owned(),
                        incarnation,
                        fencing,
                        work: row.map_or(want.work, |row| row.work),
                    };
                    put(tx, circle, &share, row.is_some()).await?;
                    fencing += 1;
                    taken.push(share);
                }
            }
            let note = Statement::new("UPDATE state_circle SET fencing = ? WHERE circle = ?");
            tx.execute(note.bind(fencing).bind(circle)).await?;
            Ok(taken)
        })
    }

    /// Begins turns: says for each whether the member may.
    pub async fn begin(
        &self,
        who: Membership<'_>,
        turns: &[(&str, Work)],
        now: i64,
    ) -> Result<Vec<TurnAnswer>, DbError> {
        let Membership { circle, member, incarnation } = who;
        in_transaction!(self.db, "begin turns", tx => {
            let own = members(tx, circle).await?.into_iter().find(|(own, _)| own.name == member);
            if !own.is_some_and(|(own, until)| own.incarnation == incarnation && until > now) {
                return Ok(vec![TurnAnswer::Unknown; turns.len()]);
            }
            let mut answers = Vec::with_capacity(turns.len());
            for (name, work) in turns {
                let update = Statement::new(
                    "UPDATE state_share SET slot = ?, known = ?, cost = ? \
                     WHERE circle = ? AND name = ? AND holder = ? AND incarnation = ? AND slot <> ?",
                );
                let turn = work.turn.unwrap_or(NEVER);
                let update = update.bind(turn).bind(work.succeeded.unwrap_or(NEVER)).bind(work.cost);
                let update = update.bind(circle).bind(*name).bind(member).bind(incarnation).bind(turn);
                answers.push(match tx.execute(update).await? {
                    0 if shares(tx, circle, [*name].into_iter()).await?.is_empty() => TurnAnswer::Unknown,
                    0 => TurnAnswer::NotYours,
                    _ => TurnAnswer::Yours,
                });
            }
            Ok(answers)
        })
    }

    /// Gives shares back with how far their work has come, so that others can take them at once.
    pub async fn give(&self, who: Membership<'_>, given: &[(&str, Work)]) -> Result<(), DbError> {
        let Membership { circle, member, incarnation } = who;
        in_transaction!(self.db, "give shares back", tx => {
            lock(tx, circle).await?;
            for (name, work) in given {
                let update = Statement::new(
                    "UPDATE state_share SET holder = '', slot = ?, known = ?, cost = ? \
                     WHERE circle = ? AND name = ? AND holder = ? AND incarnation = ?",
                );
                let (turn, succeeded) = (work.turn.unwrap_or(NEVER), work.succeeded.unwrap_or(NEVER));
                let update = update.bind(turn).bind(succeeded).bind(work.cost).bind(circle);
                tx.execute(update.bind(*name).bind(member).bind(incarnation)).await?;
            }
            Ok(())
        })
    }

    /// Removes a share of work that is no more.
    pub async fn remove_share(&self, who: Membership<'_>, name: &str) -> Result<(), DbError> {
        let Membership { circle, member, incarnation } = who;
        let delete = Statement::new(
            "DELETE FROM state_share WHERE circle = ? AND name = ? AND holder = ? AND incarnation = ?",
        );
        let delete = delete.bind(circle).bind(name).bind(member).bind(incarnation);
        self.db.execute("remove a share", delete).await.map(|_| ())
    }

    /// Ends a membership. What it still holds is free at once.
    pub async fn leave(&self, who: Membership<'_>) -> Result<(), DbError> {
        let Membership { circle, member, incarnation } = who;
        in_transaction!(self.db, "leave a circle", tx => {
            lock(tx, circle).await?;
            let delete =
                Statement::new("DELETE FROM state_member WHERE circle = ? AND name = ? AND incarnation = ?");
            tx.execute(delete.bind(circle).bind(member).bind(incarnation)).await?;
            Ok(())
        })
    }
}

/// Whether a share that is not the asker's own may be taken by it.
fn is_free(row: &ShareRow, member: &str, alive: &HashMap<String, i64>, is_settling: bool) -> bool {
    if row.holder.is_empty() || row.holder == member {
        return true;
    }
    !is_settling && alive.get(&row.holder) != Some(&row.incarnation)
}

/// Notes that somebody looks; answers the version. Everybody who changes the circle waits here.
async fn enter(
    tx: &mut Transaction,
    circle: &str,
    (now, settle_millis): (i64, i64),
) -> Result<i64, sqlx::Error> {
    let update = Statement::new(
        "UPDATE state_circle SET settled_after = CASE WHEN ? - looked > ? THEN ? ELSE settled_after END, \
         looked = ? WHERE circle = ?",
    );
    let update =
        update.bind(now).bind(settle_millis).bind(now + settle_millis).bind(now).bind(circle);
    if tx.execute(update).await? == 0 {
        let insert = Statement::new(
            "INSERT INTO state_circle (circle, version, fencing, looked, settled_after) VALUES (?, 1, 0, ?, 0)",
        );
        tx.execute(insert.bind(circle).bind(now)).await?;
    }
    let query = Statement::new("SELECT version FROM state_circle WHERE circle = ?").bind(circle);
    tx.record(query).await?.map_or(Ok(0), |row| row.integer("version"))
}

async fn lock(tx: &mut Transaction, circle: &str) -> Result<(), sqlx::Error> {
    let update = Statement::new("UPDATE state_circle SET version = version + 1 WHERE circle = ?");
    tx.execute(update.bind(circle)).await.map(|_| ())
}

async fn settled_after(tx: &mut Transaction, circle: &str) -> Result<i64, sqlx::Error> {
    let query = Statement::new("SELECT settled_after FROM state_circle WHERE circle = ?");
    tx.record(query.bind(circle)).await?.map_or(Ok(0), |row| row.integer("settled_after"))
}

/// The next fencing number: higher than all before, and than those of leases that earlier versions used.
async fn fencing_after(tx: &mut Transaction, circle: &str, now: i64) -> Result<i64, sqlx::Error> {
    let query = Statement::new("SELECT fencing FROM state_circle WHERE circle = ?").bind(circle);
    let last = tx.record(query).await?.map_or(Ok(0), |row| row.integer::<i64>("fencing"))?;
    Ok((last + 1).max(now))
}

async fn members(
    tx: &mut Transaction,
    circle: &str,
) -> Result<Vec<(CircleMember, i64)>, sqlx::Error> {
    let query = Statement::new(
        "SELECT name, incarnation, until, report FROM state_member WHERE circle = ? ORDER BY name",
    );
    let read = |row: &Record| {
        let (name, report) = (row.text("name")?, row.text("report")?);
        let member = CircleMember { name, incarnation: row.integer("incarnation")?, report };
        Ok((member, row.integer("until")?))
    };
    tx.records(query.bind(circle)).await?.iter().map(read).collect()
}

const SHARES: &str = "SELECT name, holder, incarnation, fencing, slot, known, cost FROM state_share WHERE circle = ?";

async fn all_shares(tx: &mut Transaction, circle: &str) -> Result<Vec<ShareRow>, sqlx::Error> {
    let mut query = Statement::new(SHARES).bind(circle);
    query.push(" ORDER BY name");
    tx.records(query).await?.iter().map(read_share).collect()
}

async fn shares<'n>(
    tx: &mut Transaction,
    circle: &str,
    names: impl Iterator<Item = &'n str>,
) -> Result<HashMap<String, ShareRow>, sqlx::Error> {
    let mut query = Statement::new(SHARES).bind(circle);
    query.push(" AND name IN ").push_list(names);
    let rows = tx.records(query).await?;
    rows.iter().map(|row| read_share(row).map(|share| (share.name.clone(), share))).collect()
}

async fn put(
    tx: &mut Transaction,
    circle: &str,
    share: &ShareRow,
    is_known: bool,
) -> Result<(), sqlx::Error> {
    let statement = Statement::new(if is_known {
        "UPDATE state_share SET holder = ?, incarnation = ?, fencing = ?, slot = ?, known = ?, cost = ? \
         WHERE circle = ? AND name = ?"
    } else {
        "INSERT INTO state_share (holder, incarnation, fencing, slot, known, cost, circle, name) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    });
    let statement =
        statement.bind(share.holder.as_str()).bind(share.incarnation).bind(share.fencing);
    let Work { turn, succeeded, cost } = share.work;
    let statement =
        statement.bind(turn.unwrap_or(NEVER)).bind(succeeded.unwrap_or(NEVER)).bind(cost);
    tx.execute(statement.bind(circle).bind(share.name.as_str())).await.map(|_| ())
}

fn read_share(row: &Record) -> Result<ShareRow, sqlx::Error> {
    let moment =
        |column| Ok::<_, sqlx::Error>(Some(row.integer(column)?).filter(|at| *at != NEVER));
    let work =
        Work { turn: moment("slot")?, succeeded: moment("known")?, cost: row.integer("cost")? };
    Ok(ShareRow {
        name: row.text("name")?,
        holder: row.text("holder")?,
        incarnation: row.integer("incarnation")?,
        fencing: row.integer("fencing")?,
        work,
    })
}
