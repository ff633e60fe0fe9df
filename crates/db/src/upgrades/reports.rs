//! What hosts say of their offers, and all of it in numbers.

use model::Timestamp;

use super::admission::drop_expired;
use super::{HostPhase, HostReport, UpgradeTally, Upgrades, host_of, locked_plan, number};
use crate::DbError;
use crate::statement::Statement;
use crate::transaction::{Transaction, in_transaction};

impl Upgrades<'_> {
    /// Notes what a host says; `false` when nothing was changed by it. An end gives its place back.
    pub async fn report(&self, report: &HostReport<'_>, now: Timestamp) -> Result<bool, DbError> {
        in_transaction!(self.db, "note how an upgrade goes on", tx => {
            let plan = locked_plan(tx).await?;
            let Some(host) = host_of(tx, report.host).await? else {
                // A place without progress is of an earlier rollout.
                return if report.phase.is_underway() { Ok(false) } else { leave(tx, report).await };
            };
            if plan.is_none_or(|(_, rollout)| rollout != report.rollout) {
                return Ok(false);
            }
            if report.phase.is_underway() {
                let longest = host.started_at.millis() + report.underway_millis_max;
                let until = (now.millis() + report.lease_millis).min(longest);
                let renew = Statement::new("UPDATE upgrade_place SET until = ? WHERE host = ?");
                if tx.execute(renew.bind(until).bind(report.host)).await? == 0 {
                    return Ok(false);
                }
            } else {
                leave(tx, report).await?;
            }
            if host.phase == report.phase && host.reason == report.reason {
                return Ok(false);
            }
            let note = Statement::new(
                "UPDATE upgrade_host SET phase = ?, changed_at = ?, reason = ? WHERE host = ?",
            );
            let note = note.bind(report.phase.as_str()).bind(now.millis());
            tx.execute(note.bind(report.reason).bind(report.host)).await?;
            Ok(true)
        })
    }

    /// The hosts in numbers, after the places whose lease is over were taken back.
    pub async fn tally(&self, lease_millis: i64, now: Timestamp) -> Result<UpgradeTally, DbError> {
        in_transaction!(self.db, "count upgraded hosts", tx => {
            let revision = locked_plan(tx).await?.map_or(0, |(revision, _)| revision);
            drop_expired(tx, lease_millis, now).await?;
            let taken = Statement::new("SELECT COUNT(*) AS number FROM upgrade_place");
            let in_flight = number(tx, taken).await?;
            let query = Statement::new(
                "SELECT wave, phase, COUNT(*) AS number, MAX(started_at) AS last FROM upgrade_host \
                 GROUP BY wave, phase",
            );
            let mut tally = UpgradeTally { revision, in_flight, ..UpgradeTally::default() };
            for row in tx.records(query).await? {
                let phase = row.word("phase", HostPhase::parse)?;
                tally.counts.push((row.integer("wave")?, phase, row.integer("number")?));
                tally.last_started_at = tally.last_started_at.max(Some(row.timestamp("last")?));
            }
            tally.counts.sort_unstable();
            Ok(tally)
        })
    }
}

async fn leave(tx: &mut Transaction, report: &HostReport<'_>) -> Result<bool, sqlx::Error> {
    for group in report.groups {
        let leave =
            Statement::new("DELETE FROM upgrade_group_place WHERE host_group = ? AND host = ?");
        tx.execute(leave.bind(group.name.as_str()).bind(report.host)).await?;
    }
    let leave = Statement::new("DELETE FROM upgrade_place WHERE host = ?");
    Ok(tx.execute(leave.bind(report.host)).await? > 0)
}
