//! Who took which alert ("I'm on it") and what was put off for a while: a copy of what is in the
//! store.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use db::alerts::StoredAlert;
use db::claims::{ClaimAct, ClaimKind, ClaimRow};
use db::noise::AckRow;
use db::{Db, DbError};
use model::{Fingerprint, Timestamp};

/// How long claims are kept after their end.
pub(crate) const KEPT_FOR: Duration = Duration::from_secs(120 * 3600);

/// All claims at one moment.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    claims: HashMap<(Fingerprint, ClaimKind), ClaimRow>,
}

impl Claims {
    /// Of these rows.
    pub(crate) fn of(rows: Vec<ClaimRow>) -> Self {
        Self { claims: rows.into_iter().map(|row| ((row.fingerprint, row.kind), row)).collect() }
    }

    /// The claim on an alert that holds at `now`. One made before the alert began this time is about another
    /// incident; what was put off stays so even if it ends and begins again.
    pub(crate) fn on(
        &self,
        alert: &StoredAlert,
        kind: ClaimKind,
        now: Timestamp,
    ) -> Option<&ClaimRow> {
        // Hashing the labels is the larger part of the work, and mostly there are no claims at all.
        if self.claims.is_empty() {
            return None;
        }
        let claim = self.claims.get(&(alert.alert.fingerprint(), kind))?;
        let is_of_this = kind == ClaimKind::Snoozed || alert.alert.starts_at <= claim.made_at;
        (is_of_this && now <= claim.until).then_some(claim)
    }

    /// The claim of a kind on an alert, whether it holds or not.
    pub(crate) fn get(&self, fingerprint: Fingerprint, kind: ClaimKind) -> Option<&ClaimRow> {
        self.claims.get(&(fingerprint, kind))
    }

    /// Whether the alert is put off.
    pub(crate) fn is_snoozed(&self, alert: &StoredAlert, now: Timestamp) -> bool {
        self.on(alert, ClaimKind::Snoozed, now).is_some()
    }

    /// Whether somebody took the alert.
    pub(crate) fn is_acknowledged(&self, alert: &StoredAlert, now: Timestamp) -> bool {
        self.on(alert, ClaimKind::Acknowledged, now).is_some()
    }

    /// Whether somebody had taken the alert up to some time ago. Who is called when nobody takes it is called after
    /// that time, and not at once.
    pub(crate) fn was_acknowledged_within(
        &self,
        alert: &StoredAlert,
        span: Duration,
        now: Timestamp,
    ) -> bool {
        self.is_acknowledged(alert, now.minus(span))
    }

    /// Claims that ran out or were taken back after `since`, up to `now`.
    pub(crate) fn ended(
        &self,
        since: Timestamp,
        now: Timestamp,
    ) -> impl Iterator<Item = &ClaimRow> {
        self.all().filter(move |claim| claim.until >= since && claim.until < now)
    }

    /// All of them, in no order.
    pub(crate) fn all(&self) -> impl Iterator<Item = &ClaimRow> {
        self.claims.values()
    }

    /// All of them, the latest first.
    pub(crate) fn list(&self) -> Vec<&ClaimRow> {
        let mut all: Vec<&ClaimRow> = self.claims.values().collect();
        all.sort_unstable_by_key(|claim| (std::cmp::Reverse(claim.made_at), claim.fingerprint));
        all
    }
}

/// The claims as they change; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct ClaimStore {
    db: Db,
    known: Arc<RwLock<Arc<Claims>>>,
    loading: Arc<tokio::sync::Mutex<()>>,
}

impl ClaimStore {
    /// None are known before the first [`ClaimStore::load`].
    pub(crate) fn new(db: Db) -> Self {
        Self { db, known: Arc::default(), loading: Arc::default() }
    }

    /// Those that are known.
    pub(crate) fn known(&self) -> Arc<Claims> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads them from the store.
    pub(crate) async fn load(&self) -> Result<(), DbError> {
        // What was read first must not be shown last: a change made here would be gone for a second.
        let _turn = self.loading.lock().await;
        let claims = Claims::of(self.db.claims().all().await?);
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(claims);
        Ok(())
    }

    /// Stores some and what was done with them, by whom and when; they hold here when this returns.
    pub(crate) async fn store(
        &self,
        claims: &[ClaimRow],
        step: (ClaimAct, &str, Timestamp),
    ) -> Result<(), DbError> {
        self.db.claims().store(claims, step).await?;
        self.note_acks(claims).await?;
        self.load().await
    }

    /// For noise statistics: the next claim takes the place of these, however they came about.
    async fn note_acks(&self, claims: &[ClaimRow]) -> Result<(), DbError> {
        let acks: Vec<&ClaimRow> =
            claims.iter().filter(|claim| claim.kind == ClaimKind::Acknowledged).collect();
        if acks.is_empty() {
            return Ok(());
        }
        let fingerprints: Vec<Fingerprint> = acks.iter().map(|claim| claim.fingerprint).collect();
        let starts: HashMap<Fingerprint, Timestamp> = self
            .db
            .alerts()
            .load(&fingerprints)
            .await?
            .into_iter()
            .map(|stored| (stored.alert.fingerprint(), stored.alert.starts_at))
            .collect();
        let row = |claim: &ClaimRow| {
            let (fingerprint, made_at) = (claim.fingerprint, claim.made_at);
            let began_at = starts.get(&fingerprint).copied().unwrap_or(made_at).min(made_at);
            AckRow { fingerprint, began_at, made_at }
        };
        let rows: Vec<AckRow> = acks.into_iter().map(row).collect();
        self.db.noise().add_acks(&rows).await
    }

    /// Changes with every change of what is stored.
    pub(crate) async fn stamp(&self) -> Result<(u64, i64, i64), DbError> {
        self.db.claims().stamp().await
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use db::alerts::AlertStatus;

    use super::*;
    use crate::pipeline::tests::candidate;

    /// A claim on an alert, made at its start.
    pub(crate) fn claim(alert: &StoredAlert, kind: ClaimKind, until: i64) -> ClaimRow {
        ClaimRow {
            fingerprint: alert.alert.fingerprint(),
            kind,
            owner: "ann".to_owned(),
            note: String::new(),
            made_at: alert.alert.starts_at,
            until: Timestamp(until),
        }
    }

    #[test]
    fn a_claim_holds_up_to_its_end_and_only_for_its_incident() {
        let alert = candidate(AlertStatus::Firing, 100, None).alert;
        let later = candidate(AlertStatus::Firing, 200, None).alert;
        let claims = Claims::of(vec![claim(&alert, ClaimKind::Acknowledged, 500)]);
        assert!(claims.is_acknowledged(&alert, Timestamp(500)));
        assert!(!claims.is_acknowledged(&alert, Timestamp(501)));
        assert!(!claims.is_acknowledged(&later, Timestamp(300)), "it began again");
        assert!(!claims.is_snoozed(&alert, Timestamp(300)));
        let claims = Claims::of(vec![claim(&alert, ClaimKind::Snoozed, 500)]);
        assert!(claims.is_snoozed(&later, Timestamp(300)));
    }

    #[test]
    fn the_end_of_a_claim_is_seen_once() {
        let alert = candidate(AlertStatus::Firing, 100, None).alert;
        let claims = Claims::of(vec![claim(&alert, ClaimKind::Acknowledged, 500)]);
        let ended = |since, now| claims.ended(Timestamp(since), Timestamp(now)).count();
        assert_eq!((ended(400, 500), ended(400, 501), ended(501, 600)), (0, 1, 0));
    }
}
