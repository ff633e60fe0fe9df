//! Where an import reads from: the databases of Open-Falcon, or an export of them.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use db::{DbConfig, PortalRow};
use falcon::TABLES;
use serde_json::{Map, Value};

/// An export larger than this is refused.
const EXPORT_BYTES_MAX: u64 = 512 << 20;
/// Rows of one table that are read.
const ROWS_MAX: usize = 2_000_000;
/// The metrics of a big graph database take their time to be told apart.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(600);

/// Where to read from.
#[derive(Debug, Args)]
#[group(id = "source", multiple = true)]
pub(super) struct Source {
    /// The portal database, as mysql://USER@HOST:3306/falcon_portal.
    #[arg(long, value_name = "URL", required_unless_present = "file")]
    mysql: Option<String>,
    /// The graph database, which knows counters from gauges and their steps.
    #[arg(long, value_name = "URL")]
    graph_mysql: Option<String>,
    /// A file with the password of both databases, so that it is in no list of processes.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// An export: one JSON object with a list of rows a table; `-` for standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "mysql")]
    file: Option<PathBuf>,
    /// Write what was read from the databases into this file, for --file.
    #[arg(long, value_name = "FILE", requires = "mysql")]
    export: Option<PathBuf>,
}

impl Source {
    /// The tables with their rows.
    pub(super) async fn read(&self) -> anyhow::Result<Value> {
        let mut export = match &self.file {
            Some(file) => read_file(file)?,
            None => Value::Object(self.portal().await?),
        };
        if let (Some(url), Value::Object(tables)) = (&self.graph_mysql, &mut export) {
            let mut graph = self.connect(url).await?;
            let rows = graph.counters(ROWS_MAX).await.context("read the graph database")?;
            eprintln!("endpoint_counter: {} metrics", rows.len());
            tables.insert("endpoint_counter".to_owned(), as_json(rows));
        }
        if let Some(path) = &self.export {
            std::fs::write(path, export.to_string())
                .with_context(|| format!("write {}", path.display()))?;
        }
        Ok(export)
    }

    async fn portal(&self) -> anyhow::Result<Map<String, Value>> {
        let url = self.mysql.as_deref().context("give --mysql or --file")?;
        let mut portal = self.connect(url).await?;
        let mut tables = Map::new();
        for table in TABLES {
            let progress = |rows: usize| eprintln!("{}: {rows} rows so far", table.name);
            let rows = portal.table(table.name, table.columns, ROWS_MAX, progress).await;
            let rows = rows.with_context(|| format!("read the table {}", table.name))?;
            match rows {
                Some(rows) => {
                    eprintln!("{}: {} rows", table.name, rows.len());
                    tables.insert(table.name.to_owned(), as_json(rows));
                }
                None => eprintln!("{}: there is no such table", table.name),
            }
        }
        if !tables.contains_key("strategy") && !tables.contains_key("expression") {
            bail!(
                "the database has no table strategy and none expression: is it the portal database?"
            );
        }
        Ok(tables)
    }

    async fn connect(&self, url: &str) -> anyhow::Result<db::Portal> {
        let password = match &self.password_file {
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("read the password in {}", file.display()))?;
                Some(text.trim_end_matches(['\r', '\n']).to_owned())
            }
            None => None,
        };
        let config =
            DbConfig { password, statement_timeout: STATEMENT_TIMEOUT, ..DbConfig::new(url) };
        Ok(db::Portal::connect(&config).await?)
    }
}

fn read_file(path: &Path) -> anyhow::Result<Value> {
    let what = || format!("read {}", path.display());
    let mut text = Vec::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().lock().take(EXPORT_BYTES_MAX + 1).read_to_end(&mut text)
    } else {
        let file = std::fs::File::open(path).with_context(what)?;
        file.take(EXPORT_BYTES_MAX + 1).read_to_end(&mut text)
    };
    if read.with_context(what)? as u64 > EXPORT_BYTES_MAX {
        bail!("{} has more than {EXPORT_BYTES_MAX} bytes", path.display());
    }
    serde_json::from_slice(&text).with_context(|| format!("{} is no JSON", path.display()))
}

fn as_json(rows: Vec<PortalRow>) -> Value {
    let value = |text: Option<String>| text.map_or(Value::Null, Value::String);
    let row = |row: PortalRow| {
        let fields = row.into_iter().map(|(column, text)| (column.to_owned(), value(text)));
        Value::Object(fields.collect())
    };
    Value::Array(rows.into_iter().map(row).collect())
}
