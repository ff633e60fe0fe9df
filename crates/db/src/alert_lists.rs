//! Lists of alerts that links in messages lead to.

use model::{Fingerprint, Timestamp};

use crate::messages::Messages;
use crate::record::Record;
use crate::statement::{Statement, Value};
use crate::transaction::in_transaction;
use crate::upsert::Upsert;
use crate::{Db, DbError};

/// Alerts of one list at most; the others are left out.
pub const LISTED_ALERTS_MAX: usize = 5_000;

const LISTS: Upsert =
    Upsert { table: "alert_list", key: "id", updated: &["created_at"], kept: &["fingerprints"] };

/// The alerts of a message about many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertList {
    /// When the message was sent.
    pub created_at: Timestamp,
    /// Each once, in the order of the message.
    pub alerts: Vec<Fingerprint>,
}

impl Messages<'_> {
    /// Stores which alerts a link leads to. `id` has at most 64 characters; one that is there keeps its alerts.
    pub async fn keep_list(&self, id: &str, list: &AlertList) -> Result<(), DbError> {
        let alerts = list.alerts.iter().take(LISTED_ALERTS_MAX);
        let text = alerts.map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let row: Vec<Value> = vec![list.created_at.0.into(), text.as_str().into()];
        let rows = [(id.to_owned(), row)];
        in_transaction!(self.db, "store a list of alerts", tx => {
            LISTS.store(tx, rows.iter().cloned()).await
        })
    }

    /// The alerts that a link leads to; `None` when it is not known, or not any more.
    pub async fn list(&self, id: &str) -> Result<Option<AlertList>, DbError> {
        let query =
            Statement::new("SELECT created_at, fingerprints FROM alert_list WHERE id = ?").bind(id);
        let read = |row: &Record| {
            let text: String = row.text("fingerprints")?;
            let alerts = text.split_whitespace().filter_map(Fingerprint::parse).collect();
            Ok(AlertList { created_at: row.timestamp("created_at")?, alerts })
        };
        self.db.record("look for a list of alerts", query, read).await
    }
}

/// Forgets lists of messages that were sent before `before`.
pub(crate) async fn prune(db: &Db, before: Timestamp) -> Result<u64, DbError> {
    let statement = Statement::new("DELETE FROM alert_list WHERE created_at < ?").bind(before.0);
    db.execute("forget lists of alerts", statement).await
}
