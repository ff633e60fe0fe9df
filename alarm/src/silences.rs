//! The silences of this instance: a copy of those in the store.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use db::{AuditEntry, Db, DbError, SilenceRow, Trail};
use model::Timestamp;
use thiserror::Error;
use wire::silence::PostableSilence;

use crate::matchers::matchers_text;
use crate::silence::{self, Silence, SilenceFault};

/// How long silences are listed after their end.
pub(crate) const KEPT_FOR: Duration = Duration::from_secs(120 * 3600);

/// Why a silence could not be changed.
#[derive(Debug, Error)]
pub(crate) enum ChangeError {
    /// It must not be as it was asked for.
    #[error(transparent)]
    Refused(#[from] SilenceFault),
    /// The store failed, so nothing changed.
    #[error("silences cannot be stored now; send again")]
    Store(#[from] DbError),
}

/// The silences; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Silences {
    db: Db,
    known: Arc<RwLock<Arc<Vec<Silence>>>>,
    loading: Arc<tokio::sync::Mutex<()>>,
    // Two changes at once would be judged by the same state.
    changing: Arc<tokio::sync::Mutex<()>>,
    trail: Arc<Trail>,
    silences_max: usize,
}

impl Silences {
    /// None are known before the first [`Silences::load`].
    pub(crate) fn new(db: Db, silences_max: usize) -> Self {
        Self {
            db,
            known: Arc::default(),
            loading: Arc::default(),
            changing: Arc::default(),
            trail: Arc::default(),
            silences_max,
        }
    }

    /// Those that are known.
    pub(crate) fn known(&self) -> Arc<Vec<Silence>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads them from the store.
    pub(crate) async fn load(&self) -> Result<(), DbError> {
        // What was read first must not be shown last: a change made here would be gone for a second.
        let _turn = self.loading.lock().await;
        let rows = self.db.silences().all().await?;
        let silences: Vec<Silence> = rows.into_iter().filter_map(from_row).collect();
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(silences);
        Ok(())
    }

    /// Changes with every change of what is stored.
    pub(crate) async fn stamp(&self) -> Result<(u64, i64, i64), DbError> {
        let (count, latest) = self.db.silences().stamp().await?;
        Ok((count, latest, 0))
    }

    /// Makes or changes a silence; answers with the id of the one that holds from now on. `by` is for the audit:
    /// who, and the address of the socket's other end.
    pub(crate) async fn post(
        &self,
        posted: PostableSilence,
        by: (&str, &str),
        now: Timestamp,
    ) -> Result<String, ChangeError> {
        let posted = Silence::read(posted, now)?;
        let _turn = self.changing.lock().await;
        self.load().await?;
        let new_id = uuid::Uuid::new_v4().to_string();
        let changed = silence::change(&self.known(), posted, new_id, self.silences_max, now)?;
        let Some(made) = changed.last() else { return Ok(String::new()) };
        let detail = serde_json::json!({
            "matchers": matchers_text(made.matchers()), "startsAt": made.starts_at.rfc3339(),
            "endsAt": made.ends_at.rfc3339(), "comment": made.comment,
        });
        let entry = self.entry(by, "silence.put", &made.id, now);
        self.store(&changed, &AuditEntry { detail: detail.to_string(), ..entry }).await?;
        Ok(made.id.clone())
    }

    /// Ends a silence; one that is over stays as it is. `by` as in [`Silences::post`].
    pub(crate) async fn expire(
        &self,
        id: &str,
        by: (&str, &str),
        now: Timestamp,
    ) -> Result<(), ChangeError> {
        let _turn = self.changing.lock().await;
        self.load().await?;
        let known = self.known();
        let silence = known.iter().find(|silence| silence.id == id);
        let silence = silence.ok_or_else(|| SilenceFault::Unknown(id.to_owned()))?;
        if let Some(ended) = silence::expire(silence, now) {
            self.store(&[ended], &self.entry(by, "silence.expire", id, now)).await?;
        }
        Ok(())
    }

    fn entry(&self, by: (&str, &str), action: &str, id: &str, now: Timestamp) -> AuditEntry {
        self.trail.entry(by, action, &format!("silence/{id}"), now)
    }

    async fn store(&self, changed: &[Silence], entry: &AuditEntry) -> Result<(), DbError> {
        let rows: Vec<SilenceRow> = changed.iter().map(to_row).collect();
        self.db.silences().store(&rows, entry).await?;
        self.load().await
    }

    /// Forgets what ended long ago.
    pub(crate) async fn prune(&self, now: Timestamp) -> Result<u64, DbError> {
        self.db.silences().prune(now.minus(KEPT_FOR)).await
    }
}

fn to_row(silence: &Silence) -> SilenceRow {
    SilenceRow {
        id: silence.id.clone(),
        matchers: silence.matchers_text(),
        starts_at: silence.starts_at,
        ends_at: silence.ends_at,
        updated_at: silence.updated_at,
        created_by: silence.created_by.clone(),
        comment: silence.comment.clone(),
        ends_after: silence
            .ends_after()
            .map_or(0, |span| i64::try_from(span.as_millis()).unwrap_or(i64::MAX)),
    }
}

// What cannot be read was written by a newer version. It holds nothing back here, and nothing is lost by that.
fn from_row(row: SilenceRow) -> Option<Silence> {
    let id = row.id.clone();
    let read = || -> Result<Silence, String> {
        let posted = PostableSilence {
            id: Some(row.id),
            matchers: serde_json::from_str(&row.matchers).map_err(|fault| fault.to_string())?,
            starts_at: row.starts_at,
            ends_at: row.ends_at,
            created_by: row.created_by,
            comment: row.comment,
            ends_with_alert: None,
        };
        let mut silence =
            Silence::read(posted, row.updated_at).map_err(|fault| fault.to_string())?;
        let millis = u64::try_from(row.ends_after).ok().filter(|millis| *millis > 0);
        silence.ends_after = millis.map(Duration::from_millis);
        Ok(silence)
    };
    read()
        .inspect_err(|fault| {
            tracing::error!(silence.id = id, "ignored an unreadable silence: {fault}")
        })
        .ok()
}
