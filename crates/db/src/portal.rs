//! Reads Open-Falcon's databases, which are not ours: nothing is written, no schema is expected, and
//! every value comes as text.

use std::fmt;

use futures_util::TryStreamExt as _;
use sqlx::mysql::{MySqlConnectOptions, MySqlRow};
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, Row};

use crate::config::Target;
use crate::transaction::in_time;
use crate::{DbConfig, DbError};

/// Rows after which the caller is told how far it is.
const PROGRESS_ROWS: usize = 10_000;

/// A connection to a database of Open-Falcon, MySQL or MariaDB of any version.
pub struct Portal {
    connection: MySqlConnection,
    config: DbConfig,
}

/// A row: the texts of the columns that were asked for and are there, in their order. `None` for NULL.
pub type PortalRow = Vec<(&'static str, Option<String>)>;

impl Portal {
    /// Connects, for reading only, to the state that the database has at this moment: all tables fit each
    /// other.
    ///
    /// # Errors
    /// When the address is none of MySQL, or the server cannot be reached or does not let us in.
    pub async fn connect(config: &DbConfig) -> Result<Self, DbError> {
        let Target::Mysql(options) = config.target()? else {
            return Err(DbError::Address { reason: "it must begin with `mysql://`" });
        };
        let address = Target::Mysql(options.clone()).to_string();
        let connected = in_time(config.statement_timeout, open(&options)).await;
        let connection = connected.map_err(|source| DbError::Connect { address, source })?;
        Ok(Self { connection, config: config.clone() })
    }

    /// All rows of a table, in order of its first column, with those of the columns that it has. `None`
    /// when there is no such table. `progress` is told how many rows there are so far, every ten
    /// thousand.
    ///
    /// # Errors
    /// When the server fails, takes longer than the timeout for a statement, or there are more than `rows_max` rows.
    pub async fn table(
        &mut self,
        table: &'static str,
        columns: &[&'static str],
        rows_max: usize,
        mut progress: impl FnMut(usize),
    ) -> Result<Option<Vec<PortalRow>>, DbError> {
        let known = self.columns(table, columns).await?;
        let Some(first) = known.first() else { return Ok(None) };
        let list: Vec<String> = known
            .iter()
            .map(|name| format!("CONVERT(CAST(`{name}` AS CHAR) USING utf8mb4) AS `{name}`"))
            .collect();
        let select =
            format!("SELECT {} FROM `{table}` ORDER BY `{table}`.`{first}`", list.join(", "));
        let timeout = self.config.statement_timeout;
        let mut stream = sqlx::query(AssertSqlSafe(select)).fetch(&mut self.connection);
        let mut rows = Vec::new();
        loop {
            let row = in_time(timeout, stream.try_next()).await;
            let Some(row) = row.map_err(DbError::during("read a table"))? else { break };
            if rows.len() >= rows_max {
                let source =
                    sqlx::Error::Protocol(format!("{table} has more than {rows_max} rows"));
                return Err(DbError::Query { operation: "read a table", source });
            }
            rows.push(read(&row, &known).map_err(DbError::during("read a row"))?);
            if rows.len().is_multiple_of(PROGRESS_ROWS) {
                progress(rows.len());
            }
        }
        Ok(Some(rows))
    }

    /// What the graph database knows of metrics: name, type and step, each combination once.
    ///
    /// # Errors
    /// As [`Portal::table`].
    pub async fn counters(&mut self, rows_max: usize) -> Result<Vec<PortalRow>, DbError> {
        let columns = ["counter", "type", "step"];
        if self.columns("endpoint_counter", &columns).await?.len() < columns.len() {
            let source = sqlx::Error::Protocol("there is no table endpoint_counter".to_owned());
            return Err(DbError::Query { operation: "read the graph database", source });
        }
        let select = format!(
            "SELECT DISTINCT CONVERT(SUBSTRING_INDEX(counter, '/', 1) USING utf8mb4) AS counter, \
             CONVERT(type USING utf8mb4) AS type, CAST(step AS CHAR) AS step \
             FROM endpoint_counter LIMIT {}",
            rows_max.saturating_add(1)
        );
        let rows = self.rows(select).await?;
        if rows.len() > rows_max {
            let source = sqlx::Error::Protocol(format!("more than {rows_max} metrics"));
            return Err(DbError::Query { operation: "read the graph database", source });
        }
        let read = |row: &MySqlRow| read(row, &columns);
        rows.iter().map(read).collect::<Result<_, _>>().map_err(DbError::during("read a row"))
    }

    /// Those of the columns that the table has.
    async fn columns(
        &mut self,
        table: &'static str,
        columns: &[&'static str],
    ) -> Result<Vec<&'static str>, DbError> {
        let text = format!(
            "SELECT CONVERT(LOWER(column_name) USING utf8mb4) AS name FROM information_schema.columns \
             WHERE table_schema = DATABASE() AND table_name = '{table}'"
        );
        let rows = self.rows(text).await?;
        let names: Vec<String> = rows
            .iter()
            .map(|row| row.try_get("name"))
            .collect::<Result<_, _>>()
            .map_err(DbError::during("read the columns of a table"))?;
        Ok(columns.iter().copied().filter(|name| names.iter().any(|known| known == name)).collect())
    }

    /// `text` is made of words of this file and its callers' constants only.
    async fn rows(&mut self, text: String) -> Result<Vec<MySqlRow>, DbError> {
        let fetch = sqlx::query(AssertSqlSafe(text)).fetch_all(&mut self.connection);
        in_time(self.config.statement_timeout, fetch).await.map_err(DbError::during("read a table"))
    }
}

// The configuration knows the password.
impl fmt::Debug for Portal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Portal")
    }
}

async fn open(options: &MySqlConnectOptions) -> Result<MySqlConnection, sqlx::Error> {
    let mut connection = MySqlConnection::connect_with(options).await?;
    connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ").await?;
    connection.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY").await?;
    Ok(connection)
}

fn read(row: &MySqlRow, columns: &[&'static str]) -> Result<PortalRow, sqlx::Error> {
    columns.iter().map(|name| Ok((*name, row.try_get::<Option<String>, _>(*name)?))).collect()
}
