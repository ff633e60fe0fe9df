//! Taking alerts ("I'm on it"), putting them off, and giving them back: the same by API, on the page of an alert, by
//! a button, by a link and by a key of the phone.

use std::time::Duration;

use db::DbError;
use db::alerts::AlertStatus;
use db::claims::{ClaimAct, ClaimKind, ClaimRow};
use model::Fingerprint;

use crate::app::Common;
use crate::dispatch::{Dispatcher, Message};

pub(crate) const OWNER_CHARS_MAX: usize = 190;
const NOTE_BYTES_MAX: usize = 4096;
/// An alert that is taken without saying for how long is everybody's again after this.
const ACK_FOR: Duration = Duration::from_secs(24 * 3600);
const SNOOZE_FOR: Duration = Duration::from_secs(3600);
const CLAIM_MAX: Duration = Duration::from_secs(30 * 86_400);

/// What somebody wants to do with alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) kind: ClaimKind,
    pub(crate) owner: String,
    pub(crate) note: String,
    pub(crate) span: Duration,
}

impl Wanted {
    /// With limits checked; without `duration`, as `2h`, for the usual time. Fails with what to write instead.
    pub(crate) fn read(
        kind: ClaimKind,
        owner: &str,
        note: String,
        duration: Option<&str>,
    ) -> Result<Self, String> {
        let owner = owner.trim();
        if owner.is_empty() || owner.chars().count() > OWNER_CHARS_MAX {
            return Err(format!("owner must have 1 to {OWNER_CHARS_MAX} characters"));
        }
        if note.len() > NOTE_BYTES_MAX {
            return Err(format!("note is longer than {NOTE_BYTES_MAX} bytes"));
        }
        let default = if kind == ClaimKind::Acknowledged { ACK_FOR } else { SNOOZE_FOR };
        let span = match duration {
            None => default,
            Some(text) => model::parse_duration(text).map_err(|fault| fault.to_string())?,
        };
        if span.is_zero() || span > CLAIM_MAX {
            return Err("duration must be longer than nothing and at most 30d".to_owned());
        }
        Ok(Self { kind, owner: owner.to_owned(), note, span })
    }

    /// For the usual time, by somebody who is known.
    pub(crate) fn by(kind: ClaimKind, owner: &str, way: &str) -> Self {
        let span = if kind == ClaimKind::Acknowledged { ACK_FOR } else { SNOOZE_FOR };
        Self { kind, owner: owner.to_owned(), note: format!("via {way}"), span }
    }
}

/// Does it; clones do it alike.
#[derive(Debug, Clone)]
pub(crate) struct Claimer {
    pub(crate) common: Common,
    pub(crate) dispatcher: Dispatcher,
}

impl Claimer {
    /// Takes the alerts that are open, or puts them off; answers with what holds now.
    pub(crate) async fn claim(
        &self,
        fingerprints: &[Fingerprint],
        wanted: &Wanted,
    ) -> Result<Vec<ClaimRow>, DbError> {
        let now = self.common.clock.now();
        let found = self.common.db.alerts().load(fingerprints).await?;
        let open = found.iter().filter(|stored| stored.status != AlertStatus::Resolved);
        let claims: Vec<ClaimRow> = open
            .map(|stored| ClaimRow {
                fingerprint: stored.alert.fingerprint(),
                kind: wanted.kind,
                owner: wanted.owner.clone(),
                note: wanted.note.clone(),
                // An alert may begin by the clock of its sender, ahead of ours.
                made_at: now.max(stored.alert.starts_at),
                until: now.plus(wanted.span),
            })
            .collect();
        if !claims.is_empty() {
            let step = (ClaimAct::Made, wanted.owner.as_str(), now);
            self.common.claims.store(&claims, step).await?;
            let (kind, owner) = (wanted.kind.as_str(), &wanted.owner);
            tracing::info!(alerts = claims.len(), kind, owner, "claims stored");
        }
        Ok(claims)
    }

    /// Gives alerts back; answers how many of them were claimed. `owner` is who does so.
    pub(crate) async fn release(
        &self,
        fingerprints: &[Fingerprint],
        kind: ClaimKind,
        owner: &str,
    ) -> Result<usize, DbError> {
        let now = self.common.clock.now();
        let known = self.common.claims.known();
        let held = fingerprints.iter().filter_map(|fingerprint| known.get(*fingerprint, kind));
        let ended: Vec<ClaimRow> = held
            .filter(|claim| now <= claim.until)
            .map(|claim| ClaimRow {
                until: now.minus(Duration::from_millis(1)),
                ..ClaimRow::clone(claim)
            })
            .collect();
        if ended.is_empty() {
            return Ok(0);
        }
        self.common.claims.store(&ended, (ClaimAct::TakenBack, owner, now)).await?;
        tracing::info!(alerts = ended.len(), kind = kind.as_str(), owner, "claims taken back");
        if self.dispatcher.leads(now) {
            let fingerprints = ended.iter().map(|claim| claim.fingerprint).collect();
            // Taken back by hand: nobody needs to be told of it, but what was put off is news.
            self.dispatcher.tell(Message::Offer { fingerprints, is_repeat: false }).await;
        }
        Ok(ended.len())
    }
}
