//! Lists and counts for the web view and the API.

use sqlx::{QueryBuilder, Row, Sqlite};

use super::{AlertStatus, Alerts, StoredAlert, row};
use crate::DbError;

/// Which alerts are asked for. Empty lists and an empty text do not narrow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertSearch {
    /// Any of these states.
    pub statuses: Vec<AlertStatus>,
    /// Any of these priorities.
    pub priorities: Vec<u8>,
    /// A part of the fingerprint, of a label or of a text; letter case does not matter.
    pub text: String,
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
        let mut query = QueryBuilder::<Sqlite>::new("SELECT * FROM alert WHERE 1 = 1");
        push_conditions(&mut query, search);
        query.push(
            " ORDER BY CASE status WHEN 'resolved' THEN 1 ELSE 0 END, priority, starts_at DESC, fingerprint \
             LIMIT ",
        );
        query.push_bind(max).push(" OFFSET ").push_bind(offset);
        self.alerts_of(query, "search alerts").await
    }

    /// How many alerts match, by state and priority.
    pub async fn counts(&self, search: &AlertSearch) -> Result<Vec<AlertCount>, DbError> {
        const OPERATION: &str = "count alerts";
        let mut query =
            QueryBuilder::<Sqlite>::new("SELECT status, priority, COUNT(*) AS alerts FROM alert WHERE 1 = 1");
        push_conditions(&mut query, search);
        query.push(" GROUP BY status, priority");
        let rows = query.build().fetch_all(self.pool).await.map_err(DbError::during(OPERATION))?;
        let count = |row: &sqlx::sqlite::SqliteRow| -> Result<AlertCount, sqlx::Error> {
            Ok(AlertCount {
                status: row::word(row, "status", AlertStatus::parse)?,
                priority: row.try_get("priority")?,
                alerts: row.try_get::<i64, _>("alerts")?.unsigned_abs(),
            })
        };
        rows.iter().map(count).collect::<Result<_, _>>().map_err(DbError::during(OPERATION))
    }
}

fn push_conditions(query: &mut QueryBuilder<Sqlite>, search: &AlertSearch) {
    if !search.statuses.is_empty() {
        query.push(" AND status IN ");
        row::push_list(query, search.statuses.iter().map(|status| status.as_str()));
    }
    if !search.priorities.is_empty() {
        query.push(" AND priority IN ");
        row::push_list(query, search.priorities.iter().copied());
    }
    if !search.text.is_empty() {
        query.push(" AND search_text LIKE ").push_bind(like_pattern(&search.text)).push(" ESCAPE '!'");
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

#[cfg(test)]
mod tests {
    use super::super::tests::{database, stored};
    use super::*;

    fn text(text: &str) -> AlertSearch {
        AlertSearch { text: text.to_owned(), ..AlertSearch::default() }
    }

    async fn names(db: &crate::Db, search: &AlertSearch) -> Vec<String> {
        let found = db.alerts().search(search, 0, 10).await.unwrap();
        found.iter().map(|stored| stored.alert.labels.get("alertname").unwrap().to_owned()).collect()
    }

    #[tokio::test]
    async fn unresolved_comes_first_then_urgency_then_the_newest() {
        let (db, _folder) = database().await;
        let alerts = [
            stored("over", AlertStatus::Resolved, 0, 90),
            stored("old", AlertStatus::Firing, 1, 10),
            stored("new", AlertStatus::Firing, 1, 20),
            stored("urgent", AlertStatus::Stale, 0, 5),
        ];
        db.alerts().store(&alerts, &[]).await.unwrap();
        assert_eq!(names(&db, &AlertSearch::default()).await, ["urgent", "new", "old", "over"]);
        let firing = AlertSearch { statuses: vec![AlertStatus::Firing], ..AlertSearch::default() };
        assert_eq!(names(&db, &firing).await, ["new", "old"]);
        let urgent = AlertSearch { priorities: vec![0], ..AlertSearch::default() };
        assert_eq!(names(&db, &urgent).await, ["urgent", "over"]);
        let second = db.alerts().search(&AlertSearch::default(), 1, 1).await.unwrap();
        assert_eq!(second[0].alert.labels.get("alertname"), Some("new"));
    }

    #[tokio::test]
    async fn text_is_found_without_regard_to_case_and_wildcards_are_letters() {
        let (db, _folder) = database().await;
        let alerts = [
            stored("Disk 95% full", AlertStatus::Firing, 0, 1),
            stored("cpu_idle low", AlertStatus::Firing, 0, 2),
            stored("磁盘", AlertStatus::Firing, 0, 3),
        ];
        db.alerts().store(&alerts, &[]).await.unwrap();
        assert_eq!(names(&db, &text("DISK")).await, ["Disk 95% full"]);
        assert_eq!(names(&db, &text("5%")).await, ["Disk 95% full"]);
        assert_eq!(names(&db, &text("u_i")).await, ["cpu_idle low"]);
        assert_eq!(names(&db, &text("alertname=磁")).await, ["磁盘"]);
        assert_eq!(names(&db, &text("' OR 1=1 --")).await, Vec::<String>::new());
        assert_eq!(names(&db, &text("web-03")).await.len(), 3);
    }

    #[tokio::test]
    async fn counts_are_by_state_and_priority() {
        let (db, _folder) = database().await;
        let alerts = [
            stored("a", AlertStatus::Firing, 1, 1),
            stored("b", AlertStatus::Firing, 1, 2),
            stored("c", AlertStatus::Stale, 1, 3),
        ];
        db.alerts().store(&alerts, &[]).await.unwrap();
        let mut counts = db.alerts().counts(&AlertSearch::default()).await.unwrap();
        counts.sort_by_key(|count| count.alerts);
        let count = |status, alerts| AlertCount { status, priority: 1, alerts };
        assert_eq!(counts, [count(AlertStatus::Stale, 1), count(AlertStatus::Firing, 2)]);
    }
}
