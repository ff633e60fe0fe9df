//! Silences.

use db::{Db, SilenceRow, Trail};
use model::Timestamp;

fn silence(id: &str, ends_at: i64, updated_at: i64) -> SilenceRow {
    SilenceRow {
        id: id.to_owned(),
        matchers: r#"[{"name":"a","value":"'; DROP TABLE silence; --"}]"#.to_owned(),
        starts_at: Timestamp(1),
        ends_at: Timestamp(ends_at),
        updated_at: Timestamp(updated_at),
        created_by: "安".to_owned(),
        comment: "disk 💾".to_owned(),
        ends_after: updated_at * 1_000,
    }
}

pub(crate) async fn a_silence_is_stored_changed_and_forgotten_after_its_end(db: &Db) {
    let silences = db.silences();
    let trail = Trail::new();
    let entry = |at| trail.entry(("ann", "::1"), "silence.put", "silence/b", Timestamp(at));
    assert_eq!(silences.stamp().await.unwrap(), (0, 0));
    silences.store(&[silence("b", 20, 5), silence("a", 30, 6)], &entry(6)).await.unwrap();
    assert_eq!(silences.all().await.unwrap(), [silence("b", 20, 5), silence("a", 30, 6)]);
    assert_eq!(silences.stamp().await.unwrap(), (2, 6));
    silences.store(&[silence("b", 40, 7)], &entry(7)).await.unwrap();
    assert_eq!(silences.stamp().await.unwrap(), (2, 7));
    let written = db.audit().page("", "silence/b", 9).await.unwrap();
    assert_eq!(written.iter().map(|entry| entry.at.0).collect::<Vec<_>>(), [7, 6]);
    assert_eq!(silences.prune(Timestamp(40)).await.unwrap(), 1);
    assert_eq!(silences.all().await.unwrap(), [silence("b", 40, 7)]);
}
