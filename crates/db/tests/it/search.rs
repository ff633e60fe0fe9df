//! Lists and counts of alerts.

use db::Db;
use db::alerts::{AlertCount, AlertSearch, AlertStatus};

use crate::alerts::stored;

fn text(text: &str) -> AlertSearch {
    AlertSearch { text: text.to_owned(), ..AlertSearch::default() }
}

async fn names(db: &Db, search: &AlertSearch) -> Vec<String> {
    let found = db.alerts().search(search, 0, 10).await.unwrap();
    found.iter().map(|stored| stored.alert.labels.get("alertname").unwrap().to_owned()).collect()
}

pub(crate) async fn unresolved_comes_first_then_urgency_then_the_newest(db: &Db) {
    let alerts = [
        stored("over", AlertStatus::Resolved, 0, 90),
        stored("old", AlertStatus::Firing, 1, 10),
        stored("new", AlertStatus::Firing, 1, 20),
        stored("urgent", AlertStatus::Stale, 0, 5),
    ];
    db.alerts().store(&alerts, &[], false).await.unwrap();
    assert_eq!(names(db, &AlertSearch::default()).await, ["urgent", "new", "old", "over"]);
    let firing = AlertSearch { statuses: vec![AlertStatus::Firing], ..AlertSearch::default() };
    assert_eq!(names(db, &firing).await, ["new", "old"]);
    let urgent = AlertSearch { priorities: vec![0], ..AlertSearch::default() };
    assert_eq!(names(db, &urgent).await, ["urgent", "over"]);
    let second = db.alerts().search(&AlertSearch::default(), 1, 1).await.unwrap();
    assert_eq!(second[0].alert.labels.get("alertname"), Some("new"));
}

pub(crate) async fn text_is_found_without_regard_to_case_and_wildcards_are_letters(db: &Db) {
    let alerts = [
        stored("Disk 95% full", AlertStatus::Firing, 0, 1),
        stored("cpu_idle low", AlertStatus::Firing, 0, 2),
        stored("磁盘", AlertStatus::Firing, 0, 3),
    ];
    db.alerts().store(&alerts, &[], false).await.unwrap();
    assert_eq!(names(db, &text("DISK")).await, ["Disk 95% full"]);
    assert_eq!(names(db, &text("5%")).await, ["Disk 95% full"]);
    assert_eq!(names(db, &text("u_i")).await, ["cpu_idle low"]);
    assert_eq!(names(db, &text("alertname=磁")).await, ["磁盘"]);
    assert_eq!(names(db, &text("' OR 1=1 --")).await, Vec::<String>::new());
    assert_eq!(names(db, &text("web-03")).await.len(), 3);
}

pub(crate) async fn counts_are_by_state_and_priority(db: &Db) {
    let alerts = [
        stored("a", AlertStatus::Firing, 1, 1),
        stored("b", AlertStatus::Firing, 1, 2),
        stored("c", AlertStatus::Stale, 1, 3),
    ];
    db.alerts().store(&alerts, &[], false).await.unwrap();
    let mut counts = db.alerts().counts(&AlertSearch::default()).await.unwrap();
    counts.sort_by_key(|count| count.alerts);
    let count = |status, alerts| AlertCount { status, priority: 1, alerts };
    assert_eq!(counts, [count(AlertStatus::Stale, 1), count(AlertStatus::Firing, 2)]);
}
