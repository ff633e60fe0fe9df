//! Databases of Open-Falcon are read as they are.

use db::{DbConfig, DbError, Portal};
use testkit::MariaDb;

const ROWS_MAX: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn every_value_comes_as_text_and_what_is_missing_is_left_out() {
    let Some(server) = MariaDb::start().await else { return };
    let url = server.create_database("portal");
    server.sql(
        "CREATE TABLE portal.grp (id INT UNSIGNED PRIMARY KEY, GRP_NAME VARCHAR(99) CHARACTER SET latin1, \
         create_at TIMESTAMP DEFAULT now(), come_from TINYINT, right_value DOUBLE, note BLOB); \
         INSERT INTO portal.grp VALUES (10, 'b', NULL, 1, 0.5, x'ff61'), (9, 'é', now(), NULL, NULL, \
         NULL); \
         CREATE TABLE portal.endpoint_counter (id INT PRIMARY KEY, counter VARCHAR(255), step INT, \
         type VARCHAR(16)); \
         INSERT INTO portal.endpoint_counter VALUES (1, 'qps/a=1', 60, 'COUNTER'), (2, 'qps/a=2', 60, \
         'COUNTER'), \
         (3, 'cpu.idle', 10, 'GAUGE')",
    );
    let mut portal = Portal::connect(&DbConfig::new(&url)).await.unwrap();
    let columns = ["id", "grp_name", "come_from", "right_value", "absent"];
    let rows = portal.table("grp", &columns, ROWS_MAX, |_| ()).await.unwrap().unwrap();
    let text = |text: &str| Some(text.to_owned());
    let first =
        [("id", text("9")), ("grp_name", text("é")), ("come_from", None), ("right_value", None)];
    assert_eq!((rows.len(), rows[0].as_slice()), (2, first.as_slice()), "in order of numbers");
    assert_eq!(rows[1][3], ("right_value", text("0.5")));
    assert_eq!(portal.table("mockcfg", &["id"], ROWS_MAX, |_| ()).await.unwrap(), None);

    let counters = portal.counters(ROWS_MAX).await.unwrap();
    let mut metrics: Vec<_> = counters.iter().map(|row| row[0].1.clone().unwrap()).collect();
    metrics.sort();
    assert_eq!(metrics, ["cpu.idle", "qps"]);
    let error = portal.table("grp", &columns, 1, |_| ()).await.unwrap_err();
    assert!(format!("{error:?}").contains("grp has more than 1 rows"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_fit_each_other_whatever_is_written_meanwhile() {
    let Some(server) = MariaDb::start().await else { return };
    let url = server.create_database("portal");
    server.sql("CREATE TABLE portal.tpl (id INT PRIMARY KEY); INSERT INTO portal.tpl VALUES (1)");
    let mut portal = Portal::connect(&DbConfig::new(&url)).await.unwrap();
    server.sql("INSERT INTO portal.tpl VALUES (2)");
    let rows = portal.table("tpl", &["id"], ROWS_MAX, |_| ()).await.unwrap().unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        portal.counters(ROWS_MAX).await.map(|_| ()).unwrap_err().to_string(),
        "read the graph database in the database"
    );
}

#[tokio::test]
async fn what_is_no_mysql_is_refused() {
    let refused = Portal::connect(&DbConfig::new("sqlite:x.db")).await;
    assert!(matches!(refused, Err(DbError::Address { .. })));
}
