//! Rule groups created by API, and their versions.

use db::{
    AuditEntry, Db, EditOutcome, ExpectedVersion, RULE_GROUP_VERSIONS_MAX, RuleGroupEdit,
    RuleGroupRow, Trail,
};
use model::Timestamp;

fn entry(action: &str, at: i64) -> AuditEntry {
    Trail::new().entry(("ann", "192.0.2.1"), action, "rule_group/disk", Timestamp(at))
}

async fn edit(
    db: &Db,
    name: &str,
    edit: RuleGroupEdit<'_>,
    expected: ExpectedVersion,
    at: i64,
) -> EditOutcome {
    db.rule_groups().edit(name, edit, expected, &entry("rule_group.put", at)).await.unwrap()
}

/// Stores a body, whatever is there; answers the version.
pub(crate) async fn put(db: &Db, name: &str, body: &str, at: i64) -> Result<i64, db::DbError> {
    let edit = RuleGroupEdit { body: Some(body), ..RuleGroupEdit::default() };
    let entry = entry("rule_group.put", at);
    match db.rule_groups().edit(name, edit, ExpectedVersion::Any, &entry).await? {
        EditOutcome::Made(row) | EditOutcome::Unchanged(row) => Ok(row.version),
        refused => panic!("{refused:?}"),
    }
}

pub(crate) async fn remove(db: &Db, name: &str) -> Result<EditOutcome, db::DbError> {
    db.rule_groups().remove(name, ExpectedVersion::Any, &entry("rule_group.remove", 50)).await
}

fn row(outcome: EditOutcome) -> RuleGroupRow {
    match outcome {
        EditOutcome::Made(row) => row,
        refused => panic!("{refused:?}"),
    }
}

pub(crate) async fn a_group_is_created_changed_and_removed(db: &Db) {
    let groups = db.rule_groups();
    assert_eq!(put(db, "disk", "rules: []", 10).await.unwrap(), 1);
    assert_eq!(put(db, "disk", "rules: []", 20).await.unwrap(), 1, "nothing changed");
    assert_eq!(put(db, "disk", "interval: 1m", 30).await.unwrap(), 2);
    let group = groups.one("disk").await.unwrap().expect("just stored");
    assert_eq!((group.created_at, group.updated_at), (Timestamp(10), Timestamp(30)));
    assert_eq!((group.owner.as_str(), group.enabled), ("", true));
    assert_eq!(groups.all().await.unwrap(), std::slice::from_ref(&group));
    assert_eq!(remove(db, "disk").await.unwrap(), EditOutcome::Made(group));
    assert_eq!(remove(db, "disk").await.unwrap(), EditOutcome::Missing);
    assert_eq!(groups.one("disk").await.unwrap(), None);
    assert_eq!(put(db, "disk", "rules: []", 60).await.unwrap(), 4, "3 was the removal");
}

pub(crate) async fn owner_and_switch_change_by_themselves(db: &Db) {
    let off = RuleGroupEdit { enabled: Some(false), ..RuleGroupEdit::default() };
    assert_eq!(edit(db, "disk", off, ExpectedVersion::Any, 1).await, EditOutcome::Missing);
    put(db, "disk", "rules: []", 1).await.unwrap();
    let off = row(edit(db, "disk", off, ExpectedVersion::Any, 2).await);
    assert_eq!((off.enabled, off.version, off.body.as_str()), (false, 2, "rules: []"));
    let owned = RuleGroupEdit { owner: Some("team-a"), ..RuleGroupEdit::default() };
    let owned = row(edit(db, "disk", owned, ExpectedVersion::Any, 3).await);
    assert_eq!((owned.owner.as_str(), owned.enabled, owned.version), ("team-a", false, 3));
    assert_eq!(db.rule_groups().one("disk").await.unwrap(), Some(owned));
}

pub(crate) async fn a_change_meant_for_another_version_is_refused(db: &Db) {
    let body = |body| RuleGroupEdit { body: Some(body), ..RuleGroupEdit::default() };
    let is = ExpectedVersion::Is;
    assert_eq!(edit(db, "disk", body("a"), is(1), 1).await, EditOutcome::Conflict(None));
    row(edit(db, "disk", body("a"), ExpectedVersion::None, 1).await);
    let refused = edit(db, "disk", body("b"), ExpectedVersion::None, 2).await;
    assert_eq!(refused, EditOutcome::Conflict(Some(1)));
    assert_eq!(row(edit(db, "disk", body("b"), is(1), 2).await).version, 2);
    assert_eq!(edit(db, "disk", body("c"), is(1), 3).await, EditOutcome::Conflict(Some(2)));
    let entry = entry("rule_group.remove", 4);
    let refused = db.rule_groups().remove("disk", is(1), &entry).await.unwrap();
    assert_eq!(refused, EditOutcome::Conflict(Some(2)));
    assert_eq!(db.rule_groups().one("disk").await.unwrap().unwrap().body, "b");
}

pub(crate) async fn every_version_and_who_made_it_is_kept(db: &Db) {
    put(db, "disk", "a", 1).await.unwrap();
    put(db, "disk", "b", 2).await.unwrap();
    remove(db, "disk").await.unwrap();
    let versions = db.rule_groups().versions("disk", 0, 10).await.unwrap();
    let told: Vec<_> =
        versions.iter().map(|v| (v.version, v.action.as_str(), v.body.as_str())).collect();
    let expected =
        [(3, "rule_group.remove", ""), (2, "rule_group.put", "b"), (1, "rule_group.put", "a")];
    assert_eq!(told, expected);
    assert_eq!((versions[0].actor.as_str(), versions[0].peer.as_str()), ("ann", "192.0.2.1"));
    let page = db.rule_groups().versions("disk", 3, 1).await.unwrap();
    assert_eq!(page, versions[1..2]);
    assert_eq!(db.rule_groups().version("disk", 1).await.unwrap(), Some(versions[2].clone()));
    assert_eq!(db.rule_groups().version("disk", 9).await.unwrap(), None);
    let audit = db.audit().page("", "rule_group/disk", 10).await.unwrap();
    assert_eq!(audit.len(), 3);
}

pub(crate) async fn old_versions_are_forgotten(db: &Db) {
    let all = RULE_GROUP_VERSIONS_MAX + 2;
    for version in 1..=all {
        put(db, "disk", &version.to_string(), version).await.unwrap();
    }
    let versions = db.rule_groups().versions("disk", 0, 1_000).await.unwrap();
    let ends = [versions.first(), versions.last()].map(|v| v.unwrap().version);
    assert_eq!(ends, [all, 3]);
}

pub(crate) async fn groups_are_listed_in_pages(db: &Db) {
    for name in ["a", "b", "c"] {
        put(db, name, "rules: []", 1).await.unwrap();
    }
    let page = db.rule_groups().page("a", 1).await.unwrap();
    assert_eq!(page.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["b"]);
}

pub(crate) async fn names_and_bodies_are_data_and_never_sql(db: &Db) {
    let name = "'; DROP TABLE rule_group; --";
    put(db, name, "'\u{0}\"", 1).await.unwrap();
    assert_eq!(db.rule_groups().all().await.unwrap()[0].name, name);
}

pub(crate) async fn one_group_stored_by_many_at_once_has_a_version_for_each(db: &Db) {
    let bodies: Vec<String> = (0..8).map(|n| format!("rules: [{n}]")).collect();
    let storing = bodies.iter().map(|body| put(db, "disk", body, 1));
    let stored = futures_util::future::join_all(storing).await;
    let mut versions: Vec<i64> = stored.into_iter().map(Result::unwrap).collect();
    versions.sort_unstable();
    assert_eq!(versions, [1, 2, 3, 4, 5, 6, 7, 8]);
}
