//! The connection to the database.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Executor, MySqlPool, SqlitePool};
use tokio::sync::OwnedMutexGuard;

use crate::alerts::{Hold, Journal};
use crate::claims::Claims;
use crate::config::Target;
use crate::noise::Noise;
use crate::record::Record;
use crate::statement::Statement;
use crate::transaction::{Counters, Transaction, Tries, in_time};
use crate::{
    Alerts, Audit, Bundles, Circles, DataCentres, DbConfig, DbError, Directory, Groups, Hosts,
    Maintenances, Messages, Mutes, Routing, RuleGroups, Silences, StateTables, Statistics,
    Upgrades, migrate,
};

// One writer at a time is SQLite's nature; the other connections let reads go on beside it.
const SQLITE_CONNECTIONS_MAX: u32 = 4;
const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const SQLITE_TURN_TIMEOUT: Duration = Duration::from_secs(30);
// Pages of the write-ahead log, 4 KiB each, after which a commit copies them into the file, syncs both, and everybody
// waits. The journal of alerts grows faster in a storm than by SQLite's 1,000, and does so in the background.
const SQLITE_CHECKPOINT_PAGES: &str = "16384";
// How long a statement waits for a connection; while the server is away, how long until it fails.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

// A row lock that is not free within a second is a fault to be retried, not to be waited out for
// MySQL's 50. READ COMMITTED locks rows and not the gaps between them, so writers of different rows
// do not deadlock. Strict mode refuses a text that is too long instead of cutting it.
const MYSQL_SESSION: [&str; 2] = [
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', innodb_lock_wait_timeout = 1",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
];

/// The SQL store. Clones share the connections.
#[derive(Clone)]
pub struct Db {
    pool: Pool,
    counters: Arc<Counters>,
    /// What of the alerts is not yet in their tables; set where one process has them for itself.
    journal: Arc<OnceLock<Journal>>,
    /// The right to work with the alerts of an SQLite file.
    hold: Arc<Mutex<Option<Hold>>>,
    /// The longest that anything may take. SQLite answers always; it waits for a writer itself.
    statement_timeout: Duration,
}

#[derive(Clone)]
pub(crate) enum Pool {
    Sqlite(SqliteFile),
    Mysql(MySqlPool),
}

/// An SQLite file.
#[derive(Clone)]
pub(crate) struct SqliteFile {
    pool: SqlitePool,
    path: Arc<Path>,
    /// Writers of this process take turns here: SQLite lets them look again after pauses that grow to a tenth of a
    /// second, while whoever writes one transaction after the other goes on.
    writer: Arc<tokio::sync::Mutex<()>>,
}

impl SqliteFile {
    /// The turn to write. One that does not end is a fault of ours, and better seen than waited for.
    async fn turn(&self) -> Result<OwnedMutexGuard<()>, sqlx::Error> {
        let turn = Arc::clone(&self.writer).lock_owned();
        tokio::time::timeout(SQLITE_TURN_TIMEOUT, turn).await.map_err(|_| sqlx::Error::PoolTimedOut)
    }
}

impl Db {
    /// Opens or creates an SQLite file and brings its schema up to date.
    ///
    /// A commit is with the operating system when it returns (`synchronous = NORMAL` on a
    /// write-ahead log): it survives the end of the process at any moment. A power cut may undo the
    /// last commits, never half of one. Syncing every commit would make a busy disk, which syncs
    /// two hundred times a second, the limit of the alarm path.
    pub async fn open(path: &Path) -> Result<Self, DbError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(SQLITE_BUSY_TIMEOUT)
            .pragma("wal_autocheckpoint", SQLITE_CHECKPOINT_PAGES)
            .foreign_keys(true);
        let pool = SqlitePoolOptions::new()
            .max_connections(SQLITE_CONNECTIONS_MAX)
            .connect_with(options)
            .await
            .map_err(|source| DbError::Open { path: path.to_owned(), source })?;
        migrate::sqlite(&pool).await?;
        Ok(Self {
            pool: Pool::Sqlite(SqliteFile { pool, path: path.into(), writer: Arc::default() }),
            counters: Arc::default(),
            journal: Arc::default(),
            hold: Arc::default(),
            statement_timeout: Duration::MAX,
        })
    }

    /// Connects to the database and brings its schema up to date. Fails after five seconds when a
    /// server is away; one that goes away later only fails the statements of that time.
    pub async fn connect(config: &DbConfig) -> Result<Self, DbError> {
        let target = config.target()?;
        let address = target.to_string();
        match target {
            Target::Sqlite(path) => Self::open(&path).await,
            Target::Mysql(options) => Self::open_mysql(*options, config, address).await,
        }
    }

    async fn open_mysql(
        options: MySqlConnectOptions,
        config: &DbConfig,
        address: String,
    ) -> Result<Self, DbError> {
        let pool = MySqlPoolOptions::new()
            .max_connections(config.connections_max)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    for statement in MYSQL_SESSION {
                        connection.execute(statement).await?;
                    }
                    Ok(())
                })
            })
            .connect_with(options)
            .await
            .map_err(|source| DbError::Connect { address, source })?;
        let version: String = sqlx::query_scalar("SELECT VERSION()")
            .fetch_one(&pool)
            .await
            .map_err(DbError::during("read the version of the server"))?;
        if !migrate::is_supported(&version) {
            return Err(DbError::Unsupported { version });
        }
        migrate::mysql(&pool).await?;
        Ok(Self {
            pool: Pool::Mysql(pool),
            counters: Arc::default(),
            journal: Arc::default(),
            hold: Arc::default(),
            statement_timeout: config.statement_timeout,
        })
    }

    /// Hosts and their heartbeats.
    pub fn hosts(&self) -> Hosts<'_> {
        Hosts { db: self }
    }

    /// Host groups and their members.
    pub fn groups(&self) -> Groups<'_> {
        Groups { db: self }
    }

    /// Sets of plugin files.
    pub fn bundles(&self) -> Bundles<'_> {
        Bundles { db: self }
    }

    /// Maintenance windows.
    pub fn maintenances(&self) -> Maintenances<'_> {
        Maintenances { db: self }
    }

    /// Who changed what.
    pub fn audit(&self) -> Audit<'_> {
        Audit { db: self }
    }

    /// Rule groups created by API.
    pub fn rule_groups(&self) -> RuleGroups<'_> {
        RuleGroups { db: self }
    }

    /// Who took which alert.
    pub fn claims(&self) -> Claims<'_> {
        Claims { db: self }
    }

    /// Users, teams and stand-ins.
    pub fn directory(&self) -> Directory<'_> {
        Directory { db: self }
    }

    /// Routes, receivers, inhibitions, time intervals and templates that were set by API.
    pub fn routing(&self) -> Routing<'_> {
        Routing { db: self }
    }

    /// Data centres that were set by API.
    pub fn data_centres(&self) -> DataCentres<'_> {
        DataCentres { db: self }
    }

    /// Silences.
    pub fn silences(&self) -> Silences<'_> {
        Silences { db: self }
    }

    /// Alerts, their history and their notifications.
    pub fn alerts(&self) -> Alerts<'_> {
        Alerts { db: self }
    }

    /// Messages to recipients and their attempts.
    pub fn messages(&self) -> Messages<'_> {
        Messages { db: self }
    }

    /// Mutes of persons, and what may happen once.
    pub fn mutes(&self) -> Mutes<'_> {
        Mutes { db: self }
    }

    /// What noise statistics count.
    pub fn noise(&self) -> Noise<'_> {
        Noise { db: self }
    }

    /// The tables behind the embedded shared state.
    pub fn state(&self) -> StateTables<'_> {
        StateTables { db: self }
    }

    /// Circles of the embedded shared state.
    pub fn circles(&self) -> Circles<'_> {
        Circles { db: self }
    }

    /// The rollout of an agent version.
    pub fn upgrades(&self) -> Upgrades<'_> {
        Upgrades { db: self }
    }

    /// The SQLite file; `None` on a server.
    pub(crate) fn file(&self) -> Option<&Path> {
        match &self.pool {
            Pool::Sqlite(file) => Some(&file.path),
            Pool::Mysql(_) => None,
        }
    }

    /// Keeps the right to work with the alerts until [`Db::close`] or the end of the process.
    pub(crate) fn keep_hold(&self, hold: Hold) {
        *self.hold.lock().unwrap_or_else(PoisonError::into_inner) = Some(hold);
    }

    pub(crate) fn journal(&self) -> Option<&Journal> {
        self.journal.get()
    }

    /// Keeps a journal from now on; the first one stays.
    pub(crate) fn keep(&self, journal: Journal) {
        let _ = self.journal.set(journal);
    }

    /// How often transactions were in each other's way so far.
    pub fn statistics(&self) -> Statistics {
        self.counters.read()
    }

    /// Closes the connections; SQLite writes its log back into the database file.
    pub async fn close(&self) {
        match &self.pool {
            Pool::Sqlite(file) => file.pool.close().await,
            Pool::Mysql(pool) => pool.close().await,
        }
        self.hold.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// The tries of one transaction; see [`in_transaction!`](crate::transaction::in_transaction).
    pub(crate) fn tries(&self, operation: &'static str) -> Tries<'_> {
        Tries::new(&self.pool, &self.counters, self.statement_timeout, operation)
    }

    /// Runs one statement, in a transaction of its own; tells how many rows it changed.
    pub(crate) async fn execute(
        &self,
        operation: &'static str,
        statement: Statement,
    ) -> Result<u64, DbError> {
        let mut tries = self.tries(operation);
        loop {
            match in_time(self.statement_timeout, self.pool.execute(statement.clone())).await {
                Ok(rows) => return Ok(rows),
                // An insert of a key that is there would be the same insert the next time.
                Err(source) if is_duplicate(&source) => {
                    return Err(DbError::Query { operation, source });
                }
                Err(error) => tries.wait(error).await?,
            }
        }
    }

    /// All rows of an answer.
    pub(crate) async fn records<T>(
        &self,
        operation: &'static str,
        statement: Statement,
        read: impl Fn(&Record) -> Result<T, sqlx::Error>,
    ) -> Result<Vec<T>, DbError> {
        let records = in_time(self.statement_timeout, self.pool.records(statement)).await;
        let records = records.map_err(DbError::during(operation))?;
        records.iter().map(read).collect::<Result<_, _>>().map_err(DbError::during(operation))
    }

    /// The first row of an answer.
    pub(crate) async fn record<T>(
        &self,
        operation: &'static str,
        statement: Statement,
        read: impl Fn(&Record) -> Result<T, sqlx::Error>,
    ) -> Result<Option<T>, DbError> {
        Ok(self.records(operation, statement, read).await?.into_iter().next())
    }
}

impl Pool {
    pub(crate) async fn begin(&self) -> Result<Transaction, sqlx::Error> {
        Ok(match self {
            // A transaction that reads first and writes later would fail when another one wrote in
            // between.
            Self::Sqlite(file) => {
                let turn = file.turn().await?;
                Transaction::Sqlite(file.pool.begin_with("BEGIN IMMEDIATE").await?, turn)
            }
            Self::Mysql(pool) => Transaction::Mysql(pool.begin().await?),
        })
    }

    async fn execute(&self, statement: Statement) -> Result<u64, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(file) => {
                let _turn = file.turn().await?;
                statement.for_sqlite().execute(&file.pool).await?.rows_affected()
            }
            Self::Mysql(pool) => statement.for_mysql().execute(pool).await?.rows_affected(),
        })
    }

    async fn records(&self, statement: Statement) -> Result<Vec<Record>, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(file) => statement
                .for_sqlite()
                .fetch_all(&file.pool)
                .await?
                .into_iter()
                .map(Record::Sqlite)
                .collect(),
            Self::Mysql(pool) => statement
                .for_mysql()
                .fetch_all(pool)
                .await?
                .into_iter()
                .map(Record::Mysql)
                .collect(),
        })
    }
}

/// Whether an insert hit the unique key.
pub(crate) fn is_duplicate(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.is_unique_violation())
}

// The pools know the password.
impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.pool {
            Pool::Sqlite(..) => "Db(SQLite)",
            Pool::Mysql(_) => "Db(MySQL)",
        })
    }
}
