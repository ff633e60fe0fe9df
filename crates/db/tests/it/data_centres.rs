//! Data centres that were set by API.

use db::{DataCentreRow, Db, Trail};
use model::Timestamp;

fn row(name: &str, body: &str, updated_at: i64) -> DataCentreRow {
    DataCentreRow { name: name.into(), body: body.into(), updated_at: Timestamp(updated_at) }
}

pub(crate) async fn a_data_centre_is_set_changed_and_removed_with_an_entry_each(db: &Db) {
    let (centres, trail) = (db.data_centres(), Trail::new());
    let entry = |action: &str, at: i64| trail.entry(("ann", "::1"), action, "上海", Timestamp(at));
    centres.put(&row("上海", r#"{"url":"a"}"#, 5), &entry("datacenter.put", 5)).await.unwrap();
    centres.put(&row("bj", "{}", 6), &entry("datacenter.put", 6)).await.unwrap();
    centres.put(&row("上海", r#"{"url":"b"}"#, 7), &entry("datacenter.put", 7)).await.unwrap();
    let all = [row("bj", "{}", 6), row("上海", r#"{"url":"b"}"#, 7)];
    assert_eq!(centres.all().await.unwrap(), all);
    assert!(centres.remove("上海", &entry("datacenter.remove", 8)).await.unwrap());
    assert!(!centres.remove("上海", &entry("datacenter.remove", 9)).await.unwrap());
    assert_eq!(centres.all().await.unwrap().len(), 1);
    let audit = db.audit().page("", "上海", 10).await.unwrap();
    let actions: Vec<&str> = audit.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(
        actions,
        ["datacenter.remove", "datacenter.put", "datacenter.put", "datacenter.put"]
    );
    assert!(!format!("{all:?}").contains("url"), "bodies hold secrets");
}
