//! Rule groups created by API.

use model::Timestamp;
use sqlx::{Row, SqlitePool};

use crate::DbError;

/// A rule group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleGroupRow {
    /// Its name, unique.
    pub name: String,
    /// The group as it was given: YAML or JSON in Prometheus' format.
    pub body: String,
    /// 1 for a new group, and one more with every change.
    pub version: i64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Queries over rule groups.
#[derive(Debug)]
pub struct RuleGroups<'a> {
    pub(crate) pool: &'a SqlitePool,
}

const COLUMNS: &str = "name, body, version, created_at, updated_at";

impl RuleGroups<'_> {
    /// All groups, by name.
    pub async fn all(&self) -> Result<Vec<RuleGroupRow>, DbError> {
        let text = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM rule_group ORDER BY name"));
        let rows =
            sqlx::query(text).fetch_all(self.pool).await.map_err(DbError::during("list rule groups"))?;
        rows.iter().map(read_group).collect::<Result<_, _>>().map_err(DbError::during("list rule groups"))
    }

    /// One group, if there is one of this name.
    pub async fn one(&self, name: &str) -> Result<Option<RuleGroupRow>, DbError> {
        const OPERATION: &str = "read a rule group";
        let text = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM rule_group WHERE name = ?"));
        let row = sqlx::query(text)
            .bind(name)
            .fetch_optional(self.pool)
            .await
            .map_err(DbError::during(OPERATION))?;
        row.as_ref().map(read_group).transpose().map_err(DbError::during(OPERATION))
    }

    /// Creates or replaces a group; answers its version. The same body again is no change.
    pub async fn put(&self, name: &str, body: &str, now: Timestamp) -> Result<i64, DbError> {
        let query = sqlx::query(
            "INSERT INTO rule_group (name, body, version, created_at, updated_at) VALUES (?1, ?2, 1, ?3, ?3) \
             ON CONFLICT (name) DO UPDATE SET \
                version = version + CASE WHEN body = excluded.body THEN 0 ELSE 1 END, \
                updated_at = CASE WHEN body = excluded.body THEN updated_at ELSE excluded.updated_at END, \
                body = excluded.body \
             RETURNING version",
        );
        let query = query.bind(name).bind(body).bind(now.millis());
        let row = query.fetch_one(self.pool).await.map_err(DbError::during("store a rule group"))?;
        row.try_get("version").map_err(DbError::during("store a rule group"))
    }

    /// Removes a group; `false` when there was none.
    pub async fn remove(&self, name: &str) -> Result<bool, DbError> {
        let done = sqlx::query("DELETE FROM rule_group WHERE name = ?").bind(name).execute(self.pool).await;
        Ok(done.map_err(DbError::during("remove a rule group"))?.rows_affected() > 0)
    }
}

fn read_group(row: &sqlx::sqlite::SqliteRow) -> Result<RuleGroupRow, sqlx::Error> {
    Ok(RuleGroupRow {
        name: row.try_get("name")?,
        body: row.try_get("body")?,
        version: row.try_get("version")?,
        created_at: Timestamp(row.try_get("created_at")?),
        updated_at: Timestamp(row.try_get("updated_at")?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Db;

    #[tokio::test]
    async fn a_group_is_created_changed_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("saker.db")).await.unwrap();
        let groups = db.rule_groups();
        assert_eq!(groups.put("disk", "rules: []", Timestamp(10)).await.unwrap(), 1);
        assert_eq!(groups.put("disk", "rules: []", Timestamp(20)).await.unwrap(), 1, "nothing changed");
        assert_eq!(groups.put("disk", "interval: 1m", Timestamp(30)).await.unwrap(), 2);
        let group = groups.one("disk").await.unwrap().expect("just stored");
        assert_eq!((group.created_at, group.updated_at), (Timestamp(10), Timestamp(30)));
        assert_eq!(groups.all().await.unwrap(), [group]);
        assert!(groups.remove("disk").await.unwrap());
        assert!(!groups.remove("disk").await.unwrap());
        assert_eq!(groups.one("disk").await.unwrap(), None);
    }

    #[tokio::test]
    async fn names_and_bodies_are_data_and_never_sql() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("saker.db")).await.unwrap();
        let name = "'; DROP TABLE rule_group; --";
        db.rule_groups().put(name, "'\u{0}\"", Timestamp(1)).await.unwrap();
        assert_eq!(db.rule_groups().all().await.unwrap()[0].name, name);
    }
}
