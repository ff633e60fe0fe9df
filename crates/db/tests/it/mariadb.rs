//! What is MariaDB's own, on a real server.

use std::error::Error;
use std::time::Duration;

use db::{Db, DbConfig, DbError, HostRow, Statistics};
use futures_util::future::join_all;
use nix::sys::signal::Signal;
use testkit::MariaDb;

use crate::every_case;

#[tokio::test(flavor = "multi_thread")]
async fn every_case_holds_on_mariadb() {
    let Some(server) = MariaDb::start().await else { return };
    every_case(async |case| {
        // Names of databases have at most 64 letters.
        let url = server.create_database(&format!("case_{case}"));
        Db::connect(&DbConfig::new(url)).await.unwrap()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_is_made_once_and_a_newer_one_is_refused() {
    let Some(server) = MariaDb::start().await else { return };
    let config = DbConfig::new(server.create_database("saker"));
    for outcome in join_all((0..8).map(|_| Db::connect(&config))).await {
        let db = outcome.unwrap();
        assert!(db.hosts().all().await.unwrap().is_empty());
        db.close().await;
    }
    server.sql("INSERT INTO saker._sqlx_migrations VALUES (9999, 'later', NOW(), TRUE, x'00', 1)");
    let refused = Db::connect(&config).await;
    assert!(matches!(refused, Err(DbError::Newer { found: 9999, .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_never_shown() {
    let Some(server) = MariaDb::start().await else { return };
    let config = DbConfig::new(server.create_database("saker"));
    let db = Db::connect(&config).await.unwrap();
    let wrong = DbConfig { password: Some("wr0ng".to_owned()), ..config.clone() };
    let error = Db::connect(&wrong).await.expect_err("the password is wrong");
    let mut shown = format!("{config:?} {wrong:?} {db:?} {error:?} {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        shown = format!("{shown} {error}");
        cause = error.source();
    }
    assert!(
        shown.contains("Access denied") && shown.contains("mysql://saker@127.0.0.1"),
        "{shown}"
    );
    assert!(!shown.contains("s3cret") && !shown.contains("wr0ng"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_transactions_in_a_deadlock_one_is_tried_again() {
    let Some(server) = MariaDb::start().await else { return };
    let config = DbConfig::new(server.create_database("saker"));
    let db = Db::connect(&config).await.unwrap();
    let host = |name: &str, seen_at: i64| HostRow {
        name: name.to_owned(),
        ip: String::new(),
        agent_version: String::new(),
        plugin_version: String::new(),
        facts: String::new(),
        first_seen_at: 1,
        seen_at,
    };
    db.hosts().record(&[host("a", 1), host("b", 1)]).await.unwrap();

    // The other one locks `b`, waits until we have locked `a` and wait for `b`, and then asks for
    // `a`.
    let url = config.url.clone();
    let mut other = <sqlx::MySqlConnection as sqlx::Connection>::connect(&url).await.unwrap();
    for statement in [
        "SET innodb_lock_wait_timeout = 50",
        "BEGIN",
        // Rows changed make it the dearer one to roll back, so that the server chooses us.
        "INSERT INTO rule_group SELECT CONCAT('g', seq), '', 1, 1, 1, '', 1 FROM seq_1_to_100",
        "UPDATE host SET seen_at = 2 WHERE name = 'b'",
    ] {
        sqlx::query(statement).execute(&mut other).await.unwrap();
    }
    let ours = async { db.hosts().record(&[host("a", 3), host("b", 3)]).await };
    let theirs = async {
        testkit::eventually("we wait for b", Duration::from_secs(20), async || {
            // Not INNODB_TRX, which shows old rows to who asks more than ten times a second.
            let waiting = "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS \
                           WHERE VARIABLE_NAME = 'INNODB_ROW_LOCK_CURRENT_WAITS'";
            let count: String = sqlx::query_scalar(waiting).fetch_one(&mut other).await.unwrap();
            (count != "0").then_some(())
        })
        .await;
        sqlx::query("UPDATE host SET seen_at = 2 WHERE name = 'a'")
            .execute(&mut other)
            .await
            .unwrap();
        sqlx::query("COMMIT").execute(&mut other).await.unwrap();
    };
    let (outcome, ()) = futures_util::future::join(ours, theirs).await;
    outcome.unwrap();
    assert_eq!(db.statistics(), Statistics { deadlocks: 1, ..Statistics::default() });
    let seen: Vec<i64> = db.hosts().all().await.unwrap().iter().map(|host| host.seen_at).collect();
    assert_eq!(seen, [3, 3], "our values came last");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_never_free_is_given_up_and_a_killed_server_is_found_again() {
    let Some(mut server) = MariaDb::start().await else { return };
    let config = DbConfig::new(server.create_database("saker"));
    let db = Db::connect(&config).await.unwrap();
    crate::rules::put(&db, "disk", "rules: []", 1).await.unwrap();
    let mut other =
        <sqlx::MySqlConnection as sqlx::Connection>::connect(&config.url).await.unwrap();
    for statement in ["BEGIN", "UPDATE rule_group SET version = 7 WHERE name = 'disk'"] {
        sqlx::query(statement).execute(&mut other).await.unwrap();
    }
    let outcome = crate::rules::remove(&db, "disk").await;
    assert!(
        matches!(outcome, Err(DbError::Query { operation: "remove a rule group", .. })),
        "{outcome:?}"
    );
    assert_eq!(
        db.statistics(),
        Statistics { lock_timeouts: 4, given_up: 1, ..Statistics::default() }
    );

    server.kill();
    assert!(db.rule_groups().all().await.is_err());
    server.start_again().await;
    let groups = db.rule_groups().all().await.unwrap();
    assert_eq!(groups[0].version, 1, "what was not committed is gone, the rest is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_fails_the_statement_and_works_when_it_goes_on() {
    let Some(server) = MariaDb::start().await else { return };
    let config = DbConfig {
        statement_timeout: Duration::from_secs(2),
        ..DbConfig::new(server.create_database("saker"))
    };
    let db = Db::connect(&config).await.unwrap();
    crate::rules::put(&db, "disk", "rules: []", 1).await.unwrap();
    server.process().signal(Signal::SIGSTOP);
    for outcome in [
        db.rule_groups().all().await.map(|_| ()),
        crate::rules::put(&db, "disk", "rules: [1]", 2).await.map(|_| ()),
        crate::rules::remove(&db, "disk").await.map(|_| ()),
    ] {
        assert!(matches!(outcome, Err(DbError::Query { .. })), "{outcome:?}");
    }
    server.process().signal(Signal::SIGCONT);
    // What timed out may have happened or not, but nothing is stuck.
    let put =
        testkit::eventually("the server answers again", Duration::from_secs(20), async || {
            crate::rules::put(&db, "disk", "rules: [2]", 3).await.ok()
        });
    assert!(put.await >= 1);
    assert_eq!(db.rule_groups().all().await.unwrap()[0].body, "rules: [2]");
}
