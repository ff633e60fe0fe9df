//! Users, teams and stand-ins.

use db::directory::{EntryEdit, EntryKind, EntryOutcome};
use db::{AuditEntry, Db, ExpectedVersion, Trail};
use model::Timestamp;

fn audited(action: &str, at: i64) -> AuditEntry {
    Trail::new().entry(("ann", "127.0.0.1"), action, "user/bob", Timestamp(at))
}

const fn user(body: &str) -> EntryEdit<'_> {
    EntryEdit { kind: EntryKind::User, name: "bob", body, ends_at: Timestamp::MAX }
}

pub(crate) async fn an_entry_is_changed_only_from_the_version_that_was_seen(db: &Db) {
    let put = async |body: &str, expected, at| {
        db.directory().put(user(body), expected, &audited("user.put", at)).await.unwrap()
    };
    let empty = db.directory().stamp().await.unwrap();
    assert_eq!(put("{}", ExpectedVersion::None, 5).await, EntryOutcome::Made(1));
    assert_ne!(db.directory().stamp().await.unwrap(), empty);
    assert_eq!(put("{}", ExpectedVersion::None, 6).await, EntryOutcome::Conflict(Some(1)));
    assert_eq!(put("{\"a\":1}", ExpectedVersion::Is(1), 7).await, EntryOutcome::Made(2));
    assert_eq!(put("{}", ExpectedVersion::Is(1), 8).await, EntryOutcome::Conflict(Some(2)));
    assert_eq!(put("{\"名\":2}", ExpectedVersion::Any, 9).await, EntryOutcome::Made(3));
    let all = db.directory().all().await.unwrap();
    assert_eq!((all.len(), all[0].version, all[0].changed_by.as_str()), (1, 3, "ann"));
    assert_eq!((all[0].body.as_str(), all[0].changed_at), ("{\"名\":2}", Timestamp(9)));
    let audit = db.audit().page("", "user/bob", 10).await.unwrap();
    assert_eq!(audit.len(), 3, "what is refused leaves no entry");
}

pub(crate) async fn a_removed_entry_and_an_old_stand_in_are_gone(db: &Db) {
    let directory = db.directory();
    let (any, entry) = (ExpectedVersion::Any, |at| audited("user.remove", at));
    directory.put(user("{}"), any, &audited("user.put", 1)).await.unwrap();
    let stand_in =
        EntryEdit { kind: EntryKind::StandIn, name: "s1", body: "{}", ends_at: Timestamp(100) };
    directory.put(stand_in, any, &audited("stand_in.put", 2)).await.unwrap();
    assert_eq!(directory.prune(Timestamp(100)).await.unwrap(), 0);
    assert_eq!(directory.prune(Timestamp(101)).await.unwrap(), 1);
    let gone = directory.remove((EntryKind::User, "bob"), ExpectedVersion::Is(9), &entry(3)).await;
    assert_eq!(gone.unwrap(), EntryOutcome::Conflict(Some(1)));
    let gone = directory.remove((EntryKind::User, "bob"), any, &entry(4)).await.unwrap();
    assert_eq!(gone, EntryOutcome::Made(0));
    let again = directory.remove((EntryKind::User, "bob"), any, &entry(5)).await.unwrap();
    assert_eq!(again, EntryOutcome::Conflict(None));
    assert!(directory.all().await.unwrap().is_empty());
}
