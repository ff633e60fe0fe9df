//! Measures the list of a group's 5,000 hosts, on SQLite and on a real MariaDB, in a table with ten other groups as large.
//!
//! `cargo run --release -p hbs --example group_list`
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use db::{Db, DbConfig};
use testkit::MariaDb;
use tokio::time::Instant;

const HOSTS: usize = 5000;
const RUNS: usize = 50;

fn main() -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let folder = tempfile::tempdir()?;
        measure("SQLite", &Db::open(&folder.path().join("saker.db")).await?).await?;
        let mariadb = MariaDb::start().await.context("mariadbd is not installed")?;
        let db = Db::connect(&DbConfig::new(mariadb.create_database("hbs"))).await?;
        measure("MariaDB", &db).await
    })
}

async fn measure(name: &str, db: &Db) -> anyhow::Result<()> {
    let hosts: BTreeSet<String> = (0..HOSTS).map(|n| format!("host-{n:06}.example.com")).collect();
    for group in 0..10 {
        db.groups().set_matched(&format!("corp.service-{group}.web"), &hosts).await?;
    }
    let mut took = Vec::new();
    for run in 0..RUNS {
        let begun = Instant::now();
        let group = format!("corp.service-{}", run % 10);
        let rows = db.groups().hosts(&group, ("", ""), 10_000).await?;
        took.push(begun.elapsed());
        anyhow::ensure!(rows.len() == HOSTS, "{} rows", rows.len());
    }
    took.sort_unstable();
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    println!(
        "{name}: {HOSTS} hosts of a group in {:.1} ms (median of {RUNS}), {:.1} ms at most",
        ms(took[RUNS / 2]),
        ms(took[RUNS - 1])
    );
    Ok(())
}
