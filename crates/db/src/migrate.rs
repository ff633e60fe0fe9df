//! The numbered migrations, compiled in.

use std::borrow::Cow;

use sqlx::SqlStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

const SCRIPTS: [(i64, &str, &str); 4] = [
    (1, "hosts", include_str!("../../../sql/0001_hosts.sql")),
    (2, "rules", include_str!("../../../sql/0002_rules.sql")),
    (3, "alerts", include_str!("../../../sql/0003_alerts.sql")),
    (4, "state", include_str!("../../../sql/0004_state.sql")),
];

/// All migrations in order. Applying them again does nothing; a database with a migration that is not in the list, or
/// with another text under the same number, is refused.
pub(crate) fn migrator() -> Migrator {
    let migrations = SCRIPTS.iter().map(|&(version, name, sql)| {
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, SqlStr::from_static(sql), false)
    });
    Migrator::with_migrations(migrations.collect())
}
