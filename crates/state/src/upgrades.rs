//! The rollout of an agent version: who may upgrade now.
//!
//! A host that is offered a version holds a *place* until it reports an end or its lease is over.
//! There are never more places taken than the caller's limit, however many processes ask: whether
//! a place is free and taking it is one step. The *plan* says what is rolled out and how far it may
//! go; it has a revision, and who asks for a place by an older revision gets none.
//!
//! On Redis the places are the set `agent_upgrade_set`, as in Open-Falcon, so that `SMEMBERS` and
//! `SCARD` tell who is being upgraded. With another prefix than `saker` the prefix and a colon come
//! before it. Leases are measured by the server's clock there.

use model::Timestamp;

use crate::{
    Admission, Admitted, Backend, HostPhase, HostReport, State, StateError, UpgradeHostRow,
    UpgradePlanRow, UpgradeTally,
};

impl State {
    /// The plan, if there ever was one.
    pub async fn upgrade_plan(&self) -> Result<Option<UpgradePlanRow>, StateError> {
        match &self.backend {
            Backend::Embedded(db) => Ok(db.upgrades().plan().await?),
            Backend::Redis(redis) => redis.upgrade_plan().await,
        }
    }

    /// Writes the plan if its revision is still `expected` (0 when there is none), and makes it one
    /// more; `false` when somebody else was faster. With another rollout than before the hosts'
    /// progress begins anew; their places stay until their leases end.
    pub async fn save_upgrade_plan(
        &self,
        expected: i64,
        rollout: &str,
        body: &[u8],
    ) -> Result<bool, StateError> {
        match &self.backend {
            Backend::Embedded(db) => Ok(db.upgrades().save_plan(expected, rollout, body).await?),
            Backend::Redis(redis) => redis.save_upgrade_plan(expected, rollout, body).await,
        }
    }

    /// Gives a host a place, or says why not. Places whose lease is over are taken back first.
    pub async fn admit_upgrade(
        &self,
        admission: &Admission<'_>,
        now: Timestamp,
    ) -> Result<Admitted, StateError> {
        match &self.backend {
            Backend::Embedded(db) => Ok(db.upgrades().admit(admission, now).await?),
            Backend::Redis(redis) => redis.admit_upgrade(admission).await,
        }
    }

    /// Notes what a host says of its offer; `false` when that changed nothing. A host that is
    /// underway renews its lease, one that has come to an end gives its place back. A host whose
    /// lease is over does not get its place back by talking.
    pub async fn report_upgrade(
        &self,
        report: &HostReport<'_>,
        now: Timestamp,
    ) -> Result<bool, StateError> {
        match &self.backend {
            Backend::Embedded(db) => Ok(db.upgrades().report(report, now).await?),
            Backend::Redis(redis) => redis.report_upgrade(report).await,
        }
    }

    /// The hosts of the rollout in numbers. Places whose lease is over are taken back first. To be
    /// asked every second: when nobody has asked or admitted anybody for five, the hosts could not
    /// renew their leases, and those are longer by `lease_millis`.
    pub async fn upgrade_tally(
        &self,
        lease_millis: i64,
        now: Timestamp,
    ) -> Result<UpgradeTally, StateError> {
        match &self.backend {
            Backend::Embedded(db) => Ok(db.upgrades().tally(lease_millis, now).await?),
            Backend::Redis(redis) => redis.upgrade_tally(lease_millis).await,
        }
    }

    /// The hosts in one of the phases, the latest change first, at most `limit`.
    pub async fn upgrade_hosts(
        &self,
        phases: &[HostPhase],
        limit: u32,
    ) -> Result<Vec<UpgradeHostRow>, StateError> {
        match &self.backend {
            Backend::Embedded(db) => Ok(db.upgrades().hosts(phases, limit).await?),
            Backend::Redis(redis) => redis.upgrade_hosts(phases, limit).await,
        }
    }
}
