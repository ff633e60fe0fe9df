//! The silences of this instance: a copy of those in the store, renewed every second, so that a silence made
//! at any instance holds at all of them within a second.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use daemon::Clock;
use db::{Db, DbError, SilenceRow};
use model::Timestamp;
use thiserror::Error;
use wire::silence::PostableSilence;

use crate::silence::{self, Silence, SilenceFault};

const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// Changes within one millisecond leave the stamp as it is; this often it is not trusted.
const REFRESHES_BY_STAMP: u32 = 30;
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
    // Two changes at once would be judged by the same state.
    changing: Arc<tokio::sync::Mutex<()>>,
    silences_max: usize,
}

impl Silences {
    /// None are known before the first [`Silences::load`].
    pub(crate) fn new(db: Db, silences_max: usize) -> Self {
        Self { db, known: Arc::default(), changing: Arc::default(), silences_max }
    }

    /// Those that are known.
    pub(crate) fn known(&self) -> Arc<Vec<Silence>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads them from the store.
    pub(crate) async fn load(&self) -> Result<(), DbError> {
        let rows = self.db.silences().all().await?;
        let silences: Vec<Silence> = rows.into_iter().filter_map(from_row).collect();
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(silences);
        Ok(())
    }

    /// Follows the changes of other instances for as long as the process runs.
    pub(crate) async fn follow(self, clock: Clock) {
        let (mut seen, mut by_stamp) = (None, 0);
        loop {
            if let Err(error) = self.refresh(&mut seen, &mut by_stamp).await {
                seen = None;
                let error = daemon::error_chain(&error);
                tracing::error!(error, "cannot read the silences; the last known ones hold");
            }
            clock.sleep(REFRESH_INTERVAL).await;
        }
    }

    async fn refresh(
        &self,
        seen: &mut Option<(u64, i64)>,
        by_stamp: &mut u32,
    ) -> Result<(), DbError> {
        let stamp = self.db.silences().stamp().await?;
        if *seen == Some(stamp) && *by_stamp < REFRESHES_BY_STAMP {
            *by_stamp += 1;
            return Ok(());
        }
        self.load().await?;
        (*seen, *by_stamp) = (Some(stamp), 0);
        Ok(())
    }

    /// Makes or changes a silence; answers with the id of the one that holds from now on.
    pub(crate) async fn post(
        &self,
        posted: PostableSilence,
        now: Timestamp,
    ) -> Result<String, ChangeError> {
        let posted = Silence::read(posted, now)?;
        let _turn = self.changing.lock().await;
        self.load().await?;
        let new_id = uuid::Uuid::new_v4().to_string();
        let changed = silence::change(&self.known(), posted, new_id, self.silences_max, now)?;
        self.store(&changed).await?;
        Ok(changed.last().map_or_else(String::new, |silence| silence.id.clone()))
    }

    /// Ends a silence; one that is over stays as it is.
    pub(crate) async fn expire(&self, id: &str, now: Timestamp) -> Result<(), ChangeError> {
        let _turn = self.changing.lock().await;
        self.load().await?;
        let known = self.known();
        let silence = known.iter().find(|silence| silence.id == id);
        let silence = silence.ok_or_else(|| SilenceFault::Unknown(id.to_owned()))?;
        if let Some(ended) = silence::expire(silence, now) {
            self.store(&[ended]).await?;
        }
        Ok(())
    }

    async fn store(&self, changed: &[Silence]) -> Result<(), DbError> {
        let rows: Vec<SilenceRow> = changed.iter().map(to_row).collect();
        self.db.silences().store(&rows).await?;
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
