//! Lists and counts for the web view and the API.

use model::{Fingerprint, Timestamp};

use super::{ALERT_READ_COLUMNS, AlertStatus, Alerts, StoredAlert, read_alert};
use crate::DbError;
use crate::record::Record;
use crate::statement::Statement;

/// Which alerts are asked for. Empty lists and an empty text do not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertSearch {
    /// Any of these states.
    pub statuses: Vec<AlertStatus>,
    /// Any of these priorities.
    pub priorities: Vec<u8>,
    /// A part of the fingerprint, of a label or of a text; letter case does not matter.
    pub text: String,
    /// Only some of these; `None` does not narrow.
    pub among: Option<Vec<Fingerprint>>,
}

/// How many alerts share a state and a priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlertCount {
    /// The state.
    pub status: AlertStatus,
    /// The priority.
    pub priority: u8,
    /// How many.
    pub alerts: u64,
}

impl Alerts<'_> {
    /// The alerts that match: unresolved ones first, then the most urgent, then the newest.
    pub async fn search(
        &self,
        search: &AlertSearch,
        offset: u32,
        max: u32,
    ) -> Result<Vec<StoredAlert>, DbError> {
        self.settle().await?;
        let mut query =
            Statement::new(format!("SELECT {ALERT_READ_COLUMNS} FROM alert WHERE 1 = 1"));
        push_conditions(&mut query, search);
        query.push(
            " ORDER BY CASE status WHEN 'resolved' THEN 1 ELSE 0 END, priority, starts_at DESC, \
             fingerprint LIMIT ",
        );
        query.push_bind(max).push(" OFFSET ").push_bind(offset);
        self.db.records("search alerts", query, read_alert).await
    }

    /// Resolved alerts that ended at `from` or later, at most `max`, the latest first.
    pub async fn ended_since(
        &self,
        from: Timestamp,
        max: u32,
    ) -> Result<Vec<StoredAlert>, DbError> {
        self.settle().await?;
        let query = Statement::new(format!(
            "SELECT {ALERT_READ_COLUMNS} FROM alert WHERE status = 'resolved' AND ends_at >= ? \
             ORDER BY ends_at DESC, fingerprint LIMIT ?",
        ));
        self.db.records("look for ended alerts", query.bind(from.0).bind(max), read_alert).await
    }

    /// How many alerts match, by state and priority.
    pub async fn counts(&self, search: &AlertSearch) -> Result<Vec<AlertCount>, DbError> {
        if let Some(journal) = self.db.journal()
            && *search == AlertSearch::default()
        {
            return Ok(journal.counts());
        }
        self.settle().await?;
        let mut query =
            Statement::new("SELECT status, priority, COUNT(*) AS alerts FROM alert WHERE 1 = 1");
        push_conditions(&mut query, search);
        query.push(" GROUP BY status, priority");
        let count = |row: &Record| -> Result<AlertCount, sqlx::Error> {
            Ok(AlertCount {
                status: row.word("status", AlertStatus::parse)?,
                priority: row.integer("priority")?,
                alerts: row.integer("alerts")?,
            })
        };
        self.db.records("count alerts", query, count).await
    }
}

fn push_conditions(query: &mut Statement, search: &AlertSearch) {
    if !search.statuses.is_empty() {
        query
            .push(" AND status IN ")
            .push_list(search.statuses.iter().map(|status| status.as_str()));
    }
    if !search.priorities.is_empty() {
        query.push(" AND priority IN ").push_list(search.priorities.iter().copied());
    }
    if let Some(alerts) = &search.among {
        query.push(" AND fingerprint IN ").push_list(alerts.iter().map(ToString::to_string));
    }
    if !search.text.is_empty() {
        query
            .push(" AND search_text LIKE ")
            .push_bind(like_pattern(&search.text))
            .push(" ESCAPE '!'");
    }
}

fn like_pattern(text: &str) -> String {
    let mut pattern = "%".to_owned();
    for c in text.chars().flat_map(char::to_lowercase) {
        if matches!(c, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}
