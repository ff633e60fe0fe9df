//! Host groups, bundles, maintenance and the audit.

use std::collections::{BTreeMap, BTreeSet};

use db::{AuditEntry, Db, FileRow, MaintenanceOf, MaintenanceRow, MemberBy};
use model::Timestamp;

pub(crate) fn entry(id: &str) -> AuditEntry {
    AuditEntry {
        id: id.to_owned(),
        at: Timestamp(5),
        actor: "ann".to_owned(),
        peer: "::1".to_owned(),
        action: "group.put".to_owned(),
        target: "'; DROP TABLE audit; --".to_owned(),
        detail: "{}".to_owned(),
    }
}

fn names(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|&name| name.to_owned()).collect()
}

/// `group/host by` of the hosts of a group.
async fn hosts(db: &Db, group: &str) -> Vec<String> {
    let rows = db.groups().hosts(group, ("", ""), 1000).await.unwrap();
    rows.iter().map(|row| format!("{}/{} {}", row.group, row.host, row.by.as_str())).collect()
}

pub(crate) async fn a_change_is_counted_and_audited_with_it(db: &Db) {
    let groups = db.groups();
    assert_eq!(groups.generation().await.unwrap(), 0);
    assert_eq!(groups.put("corp", "{}", Timestamp(1), &entry("1")).await.unwrap(), 1);
    assert_eq!(groups.put("corp", "{\"a\":1}", Timestamp(2), &entry("2")).await.unwrap(), 2);
    assert_eq!(groups.generation().await.unwrap(), 2);
    let group = &groups.all().await.unwrap()[0];
    assert_eq!((group.created_at, group.updated_at), (Timestamp(1), Timestamp(2)));
    assert_eq!((group.body.as_str(), group.version), ("{\"a\":1}", 2));
    groups.put("corp", "{}", Timestamp(3), &entry("2")).await.expect_err("an entry that is there");
    assert_eq!(groups.generation().await.unwrap(), 2, "none without the other");
    assert!(groups.remove("corp", &entry("3")).await.unwrap());
    assert!(!groups.remove("corp", &entry("4")).await.unwrap());
    assert_eq!(db.audit().page("", "", 9).await.unwrap().len(), 3);
}

pub(crate) async fn members_are_by_hand_and_by_rule_beside_each_other(db: &Db) {
    let groups = db.groups();
    for group in ["a", "b"] {
        groups.put(group, "{}", Timestamp(1), &entry(group)).await.unwrap();
    }
    groups.change_members("a", &names(&["x", "y"]), &names(&[]), &entry("1")).await.unwrap();
    groups.change_members("a", &names(&["y", "z"]), &names(&["x"]), &entry("2")).await.unwrap();
    assert_eq!(groups.set_matched("a", &names(&["y", "w"])).await.unwrap(), 2);
    assert_eq!(groups.set_matched("a", &names(&["y", "w"])).await.unwrap(), 0);
    assert_eq!(hosts(db, "a").await, ["a/w rule", "a/y hand", "a/y rule", "a/z hand"]);
    let by_hand = groups.members_by_hand().await.unwrap();
    assert!(by_hand.len() == 2 && by_hand.iter().all(|row| row.by == MemberBy::Hand));
    let matching = BTreeMap::from([
        ("w".to_owned(), names(&["b"])),
        ("y".to_owned(), names(&[])),
        ("v".to_owned(), names(&["a", "b"])),
    ]);
    groups.set_matching(&matching).await.unwrap();
    groups.set_matching(&matching).await.unwrap();
    assert_eq!(hosts(db, "a").await, ["a/v rule", "a/y hand", "a/z hand"]);
    assert_eq!(hosts(db, "b").await, ["b/v rule", "b/w rule"]);
    let counts = groups.host_counts().await.unwrap();
    assert_eq!(counts, [("a".to_owned(), 3), ("b".to_owned(), 2)]);
    groups.remove("a", &entry("3")).await.unwrap();
    assert_eq!(hosts(db, "a").await, [""; 0]);
}

pub(crate) async fn the_hosts_of_a_group_are_a_range_that_is_read_in_pages(db: &Db) {
    let groups = db.groups();
    let many: BTreeSet<String> = (0..2500).map(|n| format!("h{n:04}")).collect();
    for group in ["corp", "corp.web", "corp-2", "corporate", "cor"] {
        groups.set_matched(group, &many).await.unwrap();
    }
    let all = groups.hosts("corp", ("", ""), 9999).await.unwrap();
    assert_eq!(all.len(), 5000);
    assert!(all.is_sorted() && all.iter().all(|row| ["corp", "corp.web"].contains(&&*row.group)));
    let mut pages = Vec::new();
    let mut after = (String::new(), String::new());
    loop {
        let page = groups.hosts("corp", (&after.0, &after.1), 999).await.unwrap();
        let Some(last) = page.last() else { break };
        after = (last.group.clone(), last.host.clone());
        pages.extend(page);
    }
    assert_eq!(pages, all);
}

pub(crate) async fn a_bundle_keeps_its_files_until_they_are_old_and_unused(db: &Db) {
    let file = |sha256: &str| FileRow { sha256: sha256.to_owned(), body: vec![0, 255, 7] };
    let files = [file("one"), file("two")];
    db.bundles().put("sys", "{}", &files, Timestamp(10), &entry("1")).await.unwrap();
    db.bundles().put("sys", "{\"v\":2}", &files[..1], Timestamp(20), &entry("2")).await.unwrap();
    let all = db.bundles().all().await.unwrap();
    assert_eq!(all, [("sys".to_owned(), "{\"v\":2}".to_owned())]);
    assert_eq!(db.bundles().file("two").await.unwrap(), Some(vec![0, 255, 7]));
    assert_eq!(db.bundles().files_before(Timestamp(20)).await.unwrap(), ["two"]);
    db.bundles().remove_files(&names(&["one", "two"]), Timestamp(20)).await.unwrap();
    assert_eq!(db.bundles().file("two").await.unwrap(), None);
    assert!(db.bundles().file("one").await.unwrap().is_some(), "it was stored again");
    assert!(db.bundles().remove("sys", &entry("3")).await.unwrap());
    assert!(!db.bundles().remove("sys", &entry("4")).await.unwrap());
}

pub(crate) async fn a_window_is_listed_until_it_is_over_and_ended_once(db: &Db) {
    let window = MaintenanceRow {
        id: "w".to_owned(),
        of: MaintenanceOf::Group,
        target: "corp".to_owned(),
        starts_at: Timestamp(10),
        ends_at: Timestamp(20),
        reason: "磁盘".to_owned(),
        created_by: "ann".to_owned(),
        created_at: Timestamp(5),
    };
    let windows = db.maintenances();
    windows.add(&window, &entry("1")).await.unwrap();
    for (moment, open) in [(9, 0), (10, 1), (19, 1), (20, 0)] {
        assert_eq!(windows.open_at(Timestamp(moment)).await.unwrap().len(), open, "{moment}");
    }
    let found = windows.ending_after(Timestamp(19)).await.unwrap();
    assert_eq!(found, std::slice::from_ref(&window));
    assert_eq!(windows.ending_after(Timestamp(20)).await.unwrap(), []);
    assert!(windows.end("w", Timestamp(15), &entry("2")).await.unwrap());
    assert!(!windows.end("w", Timestamp(16), &entry("3")).await.unwrap());
    let ended = MaintenanceRow { ends_at: Timestamp(15), ..window };
    assert_eq!(windows.ending_after(Timestamp(0)).await.unwrap(), [ended]);
    assert_eq!(windows.forget_before(Timestamp(16)).await.unwrap(), 1);
}

pub(crate) async fn the_audit_is_read_backwards_in_pages(db: &Db) {
    for id in ["1", "2", "3"] {
        let target = if id == "2" { "other" } else { "corp" };
        let entry = AuditEntry { target: target.to_owned(), ..entry(id) };
        db.audit().add(&entry).await.unwrap();
    }
    let ids = async |before: &str, target: &str| -> Vec<String> {
        let page = db.audit().page(before, target, 2).await.unwrap();
        page.into_iter().map(|entry| entry.id).collect()
    };
    assert_eq!(ids("", "").await, ["3", "2"]);
    assert_eq!(ids("2", "").await, ["1"]);
    assert_eq!(ids("", "corp").await, ["3", "1"]);
    assert_eq!(db.audit().forget_before(Timestamp(5)).await.unwrap(), 0);
    assert_eq!(db.audit().forget_before(Timestamp(6)).await.unwrap(), 3);
}

pub(crate) async fn two_who_forget_the_audit_at_once_forget_each_entry_once(db: &Db) {
    forgets_each_once(db, 60).await;
}

/// With so many old entries and three that stay.
pub(crate) async fn forgets_each_once(db: &Db, old: u64) {
    for n in 0..old + 3 {
        let at = Timestamp(if n < old { 5 } else { 6 });
        let id = format!("{n:04}");
        db.audit().add(&AuditEntry { at, ..entry(&id) }).await.unwrap();
    }
    let forget = || async { db.audit().forget_before(Timestamp(6)).await.unwrap() };
    let (one, other) = tokio::join!(forget(), forget());
    assert_eq!(one + other, old);
    assert_eq!(db.audit().page("", "", 9).await.unwrap().len(), 3);
}
