//! The numbered migrations, compiled in.

use std::borrow::Cow;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{Connection, MySqlConnection, MySqlPool, SqlStr, SqlitePool};

use crate::DbError;

const OPERATION: &str = "bring the schema up to date";
// Long enough for another process to change large tables.
const LOCK_SECONDS: i64 = 300;

const SCRIPTS: [(i64, &str, &str); 19] = [
    (1, "hosts", include_str!("../../../sql/0001_hosts.sql")),
    (2, "rules", include_str!("../../../sql/0002_rules.sql")),
    (3, "alerts", include_str!("../../../sql/0003_alerts.sql")),
    (4, "state", include_str!("../../../sql/0004_state.sql")),
    (5, "groups", include_str!("../../../sql/0005_groups.sql")),
    (6, "upgrades", include_str!("../../../sql/0006_upgrades.sql")),
    (7, "silences", include_str!("../../../sql/0007_silences.sql")),
    (8, "circles", include_str!("../../../sql/0008_circles.sql")),
    (9, "messages", include_str!("../../../sql/0009_messages.sql")),
    (10, "claims", include_str!("../../../sql/0010_claims.sql")),
    (11, "rule history", include_str!("../../../sql/0011_rule_history.sql")),
    (12, "alert journal", include_str!("../../../sql/0012_alert_journal.sql")),
    (13, "people", include_str!("../../../sql/0013_people.sql")),
    (14, "silence end", include_str!("../../../sql/0014_silence_end.sql")),
    (15, "noise", include_str!("../../../sql/0015_noise.sql")),
    (16, "data centres", include_str!("../../../sql/0016_data_centres.sql")),
    (17, "claim steps", include_str!("../../../sql/0017_claim_steps.sql")),
    (18, "routing", include_str!("../../../sql/0018_routing.sql")),
    (19, "alert lists", include_str!("../../../sql/0019_alert_lists.sql")),
];

/// Brings an SQLite file up to date. Processes that open it at once wait for each other at the
/// write lock, and one that dies on the way leaves the schema as it was.
pub(crate) async fn sqlite(pool: &SqlitePool) -> Result<(), DbError> {
    const OPERATION: &str = "bring the schema up to date";
    let mut transaction =
        pool.begin_with("BEGIN IMMEDIATE").await.map_err(DbError::during(OPERATION))?;
    migrator().run_direct(None, &mut *transaction, false).await.map_err(refused)?;
    transaction.commit().await.map_err(DbError::during(OPERATION))
}

/// Brings a MySQL database up to date, under a named lock of the server. MySQL commits each table
/// definition by itself: a process that dies in a migration leaves it marked as unfinished, and the
/// next one says so.
pub(crate) async fn mysql(pool: &MySqlPool) -> Result<(), DbError> {
    // A connection of its own: closing it gives the lock back, however this ends.
    let acquired = pool.acquire().await.map_err(DbError::during(OPERATION))?;
    let mut connection = acquired.detach();
    let outcome = locked(&mut connection).await;
    let _ = connection.close().await;
    outcome
}

async fn locked(connection: &mut MySqlConnection) -> Result<(), DbError> {
    // The migrator's own lock waits for "-1" seconds, which MariaDB takes for none at all.
    let query = sqlx::query_scalar("SELECT GET_LOCK(CONCAT('saker.migrate.', MD5(DATABASE())), ?)")
        .bind(LOCK_SECONDS);
    let got: Option<i64> =
        query.fetch_one(&mut *connection).await.map_err(DbError::during(OPERATION))?;
    if got != Some(1) {
        return Err(DbError::MigrateLocked);
    }
    let mut migrator = migrator();
    migrator.set_locking(false);
    migrator.run_direct(None, connection, false).await.map_err(refused)
}

/// Whether the server has what the statements use: `SKIP LOCKED` and collations that tell `a` from
/// `a `.
pub(crate) fn is_supported(version: &str) -> bool {
    let mut numbers =
        version.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    let found: [u32; 3] = std::array::from_fn(|_| numbers.next().unwrap_or(0));
    found >= if version.contains("MariaDB") { [10, 6, 0] } else { [8, 0, 17] }
}

/// All migrations in order. Applying them again does nothing; a database with a migration that is
/// not in the list, or with another text under the same number, is refused.
fn migrator() -> Migrator {
    let migrations = SCRIPTS.iter().map(|&(version, name, sql)| {
        Migration::new(
            version,
            Cow::Borrowed(name),
            MigrationType::Simple,
            SqlStr::from_static(sql),
            false,
        )
    });
    Migrator::with_migrations(migrations.collect())
}

fn refused(error: MigrateError) -> DbError {
    let known = SCRIPTS.iter().map(|&(version, ..)| version).max().unwrap_or(0);
    match error {
        MigrateError::VersionMissing(found) if found > known => DbError::Newer { found, known },
        error => DbError::Migrate(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_are_told_from_new_ones() {
        for version in [
            "10.11.19-MariaDB-0+deb12u1",
            "10.6.0-MariaDB",
            "11.4.2-MariaDB",
            "8.0.17",
            "8.4.0",
            "9.1.0",
        ] {
            assert!(is_supported(version), "{version}");
        }
        for version in ["10.5.29-MariaDB", "5.5.68-MariaDB", "8.0.16", "5.7.44-log", "", "?"] {
            assert!(!is_supported(version), "{version}");
        }
    }
}
