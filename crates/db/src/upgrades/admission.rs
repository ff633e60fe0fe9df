//! Giving places to hosts, and taking back those whose lease is over.

use model::Timestamp;

use super::{
    Admission, Admitted, HostPhase, PLAN, UpgradeHostRow, Upgrades, host_of, locked_plan, number,
};
use crate::DbError;
use crate::statement::Statement;
use crate::transaction::{Transaction, in_transaction};

/// When nobody has looked for so long, in milliseconds, every hbs was away.
const SILENCE_MAX: i64 = 5000;
const NO_WORD: &str = "nothing was heard of it until its lease ended";

impl Upgrades<'_> {
    /// Gives the host a place, in one step with all the checks.
    pub async fn admit(
        &self,
        admission: &Admission<'_>,
        now: Timestamp,
    ) -> Result<Admitted, DbError> {
        in_transaction!(self.db, "admit a host to the upgrade", tx => {
            if locked_plan(tx).await?.is_none_or(|(revision, _)| revision != admission.revision) {
                return Ok(Admitted::Stale);
            }
            drop_expired(tx, admission.lease_millis, now).await?;
            let known = host_of(tx, admission.host).await?;
            match refusal(tx, admission, known.as_ref(), now).await? {
                Some(refusal) => Ok(refusal),
                None => give_place(tx, admission, known.as_ref(), now).await,
            }
        })
    }
}

async fn refusal(
    tx: &mut Transaction,
    admission: &Admission<'_>,
    known: Option<&UpgradeHostRow>,
    now: Timestamp,
) -> Result<Option<Admitted>, sqlx::Error> {
    let place = Statement::new("SELECT COUNT(*) AS number FROM upgrade_place WHERE host = ?");
    if number(tx, place.bind(admission.host)).await? > 0 {
        let is_unheard = known.is_some_and(|host| {
            host.phase == HostPhase::Offered && host.attempts < admission.attempts_max
        });
        return Ok((!admission.is_idle || !is_unheard).then_some(Admitted::InFlight));
    }
    if let Some(host) = known {
        if !host.phase.may_retry() || host.attempts >= admission.attempts_max {
            return Ok(Some(Admitted::Spent));
        }
        if now.millis() < host.changed_at.millis() + admission.rest_millis {
            return Ok(Some(Admitted::Resting));
        }
    } else if let Some(max) = admission.started_max {
        let started = Statement::new("SELECT COUNT(*) AS number FROM upgrade_host");
        if number(tx, started).await? >= max {
            return Ok(Some(Admitted::WaveFull));
        }
    }
    let taken = Statement::new("SELECT COUNT(*) AS number FROM upgrade_place");
    if number(tx, taken).await? >= u64::from(admission.in_flight_max) {
        return Ok(Some(Admitted::Full));
    }
    for group in admission.groups {
        let taken = Statement::new(
            "SELECT COUNT(*) AS number FROM upgrade_group_place WHERE host_group = ? AND host <> ?",
        );
        let taken = taken.bind(group.name.as_str()).bind(admission.host);
        if number(tx, taken).await? >= u64::from(group.max) {
            return Ok(Some(Admitted::GroupFull));
        }
    }
    Ok(None)
}

async fn give_place(
    tx: &mut Transaction,
    admission: &Admission<'_>,
    known: Option<&UpgradeHostRow>,
    now: Timestamp,
) -> Result<Admitted, sqlx::Error> {
    let (host, until) = (admission.host, now.millis() + admission.lease_millis);
    let place = Statement::new("UPDATE upgrade_place SET until = ? WHERE host = ?");
    if tx.execute(place.bind(until).bind(host)).await? == 0 {
        let place = Statement::new("INSERT INTO upgrade_place (host, until) VALUES (?, ?)");
        tx.execute(place.bind(host).bind(until)).await?;
    }
    for group in admission.groups {
        let until = now.millis() + group.hold_millis;
        let leave =
            Statement::new("DELETE FROM upgrade_group_place WHERE host_group = ? AND host = ?");
        tx.execute(leave.bind(group.name.as_str()).bind(host)).await?;
        let enter = Statement::new(
            "INSERT INTO upgrade_group_place (host_group, host, until) VALUES (?, ?, ?)",
        );
        tx.execute(enter.bind(group.name.as_str()).bind(host).bind(until)).await?;
    }
    let attempt = known.map_or(0, |known| known.attempts) + 1;
    let statement = Statement::new(match known {
        Some(_) => {
            "UPDATE upgrade_host SET phase = ?, attempts = ?, wave = ?, started_at = ?, changed_at = ?, \
             reason = ? WHERE host = ?"
        }
        None => {
            "INSERT INTO upgrade_host (phase, attempts, wave, started_at, changed_at, reason, host) \
             VALUES (?, ?, ?, ?, ?, ?, ?)"
        }
    });
    let wave = known.map_or(admission.wave, |known| known.wave);
    let statement = statement.bind(HostPhase::Offered.as_str()).bind(attempt).bind(wave);
    let statement = statement.bind(now.millis()).bind(now.millis()).bind("").bind(host);
    tx.execute(statement).await?;
    Ok(Admitted::Given(attempt))
}

/// Takes back the places whose lease is over; their hosts are lost.
pub(super) async fn drop_expired(
    tx: &mut Transaction,
    lease_millis: i64,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let now = now.millis();
    look(tx, lease_millis, now).await?;
    for table in ["upgrade_place", "upgrade_group_place"] {
        let over =
            Statement::new(format!("SELECT COUNT(*) AS number FROM {table} WHERE until <= ?"));
        if number(tx, over.bind(now)).await? == 0 {
            continue;
        }
        if table == "upgrade_place" {
            let mut lose = Statement::new(
                "UPDATE upgrade_host SET phase = ?, changed_at = ?, reason = ? WHERE host IN \
                 (SELECT host FROM upgrade_place WHERE until <= ?) AND phase IN ",
            );
            lose = lose.bind(HostPhase::Lost.as_str()).bind(now).bind(NO_WORD).bind(now);
            let underway = HostPhase::ALL.into_iter().filter(|phase| phase.is_underway());
            lose.push_list(underway.map(HostPhase::as_str));
            tx.execute(lose).await?;
        }
        let drop = Statement::new(format!("DELETE FROM {table} WHERE until <= ?"));
        tx.execute(drop.bind(now)).await?;
    }
    Ok(())
}

/// Notes that somebody looked. When nobody did for a while, hosts could not renew their leases, and
/// go on with their work all the same: they get another one.
async fn look(tx: &mut Transaction, lease_millis: i64, now: i64) -> Result<(), sqlx::Error> {
    let query = Statement::new("SELECT looked_at FROM upgrade_plan WHERE name = ?").bind(PLAN);
    let Some(row) = tx.record(query).await? else { return Ok(()) };
    let silence = now - row.integer::<i64>("looked_at")?;
    if silence > SILENCE_MAX {
        let until = now + lease_millis;
        let renew = Statement::new("UPDATE upgrade_place SET until = ? WHERE until < ?");
        tx.execute(renew.bind(until).bind(until)).await?;
    }
    if silence > SILENCE_MAX / 5 {
        let note = Statement::new("UPDATE upgrade_plan SET looked_at = ? WHERE name = ?");
        tx.execute(note.bind(now).bind(PLAN)).await?;
    }
    Ok(())
}
