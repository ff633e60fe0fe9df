//! What is SQLite's own: opening and upgrading a file.

use std::path::Path;

use db::{Db, DbConfig, DbError};
use futures_util::future::join_all;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

#[tokio::test]
async fn opening_twice_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saker.db");
    Db::open(&path).await.unwrap().close().await;
    let config = DbConfig::new(format!("sqlite:{}", path.display()));
    Db::connect(&config).await.unwrap().close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_open_a_new_file_at_once_wait_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saker.db");
    for outcome in join_all((0..8).map(|_| Db::open(&path))).await {
        assert!(outcome.unwrap().hosts().all().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saker.db");
    Db::open(&path).await.unwrap().close().await;
    let mut connection = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
    sqlx::query("INSERT INTO _sqlx_migrations VALUES (9999, 'later', 0, TRUE, x'00', 1)")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let refused = Db::open(&path).await;
    assert!(matches!(refused, Err(DbError::Newer { found: 9999, .. })), "{refused:?}");
}

#[tokio::test]
async fn a_missing_directory_is_named() {
    let error = Db::open(Path::new("/nonexistent/saker.db")).await.expect_err("no such directory");
    assert!(error.to_string().contains("/nonexistent/saker.db"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_of_the_audit_than_goes_at_once_is_forgotten_in_one_call() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&folder.path().join("saker.db")).await.unwrap();
    crate::groups::forgets_each_once(&db, 1_200).await;
}
