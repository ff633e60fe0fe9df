//! Messages, their attempts, mutes and claims.

use db::messages::{AttemptRow, MessageRow, Stage};
use db::{Db, MuteRow};
use model::{Fingerprint, Timestamp};

fn message(id: &str, urgency: u8, created_at: i64) -> MessageRow {
    MessageRow {
        id: id.to_owned(),
        receiver: "ops".to_owned(),
        recipient: "安".to_owned(),
        thread: "t".to_owned(),
        kind: "firing".to_owned(),
        urgency,
        stage: Stage::Waiting,
        next_at: Timestamp(0),
        created_at: Timestamp(created_at),
        done_at: Timestamp(0),
        code: String::new(),
        detail: String::new(),
        progress: "{}".to_owned(),
        body: r#"{"a":"'; DROP TABLE message; -- 💾"}"#.to_owned(),
    }
}

fn attempt(message_id: &str, tried_at: i64) -> AttemptRow {
    AttemptRow {
        message_id: message_id.to_owned(),
        channel: "dingtalk_robot".to_owned(),
        bot: "main".to_owned(),
        account: "acc".to_owned(),
        tried_at: Timestamp(tried_at),
        duration_ms: 12,
        result: "limited".to_owned(),
        code: "130101".to_owned(),
        detail: "send too fast".to_owned(),
    }
}

pub(crate) async fn a_message_is_stored_once_and_open_until_it_is_settled(db: &Db) {
    let messages = db.messages();
    let about = [Fingerprint(1), Fingerprint(2)];
    messages.add(&[message("b", 1, 5), message("a", 0, 9)], &about).await.unwrap();
    let changed = MessageRow { body: "other".to_owned(), ..message("b", 1, 5) };
    messages.add(&[changed], &about).await.unwrap();
    assert_eq!(messages.open_ids("ops", 10).await.unwrap(), ["a", "b"]);
    assert_eq!(messages.load(&["b".to_owned()]).await.unwrap(), [message("b", 1, 5)]);
    let sent = MessageRow {
        stage: Stage::Sent,
        done_at: Timestamp(20),
        detail: "x".repeat(500),
        ..message("a", 0, 9)
    };
    assert!(!messages.was_told("t", "安").await.unwrap());
    messages.settle(&[sent], &[attempt("a", 19)]).await.unwrap();
    assert!(messages.was_told("t", "安").await.unwrap());
    assert!(!messages.was_told("t", "bob").await.unwrap());
    assert_eq!(messages.open_ids("ops", 10).await.unwrap(), ["b"]);
    assert_eq!(messages.attempts(&["a".to_owned()]).await.unwrap(), [attempt("a", 19)]);
    let about = messages.about(Fingerprint(2), 10).await.unwrap();
    assert_eq!(about.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(about[0].detail.len(), 190);
}

pub(crate) async fn what_failed_is_counted_and_listed_until_it_is_forgotten(db: &Db) {
    let messages = db.messages();
    messages.add(&[message("a", 0, 1), message("b", 0, 1), message("c", 0, 1)], &[]).await.unwrap();
    let failed =
        |id, at| MessageRow { stage: Stage::Failed, done_at: Timestamp(at), ..message(id, 0, 1) };
    messages.settle(&[failed("a", 50), failed("b", 60)], &[attempt("a", 50)]).await.unwrap();
    let mut counts = messages.counts().await.unwrap();
    counts.sort_by_key(|(_, stage, _)| stage.as_str());
    let ops = |stage, count| ("ops".to_owned(), stage, count);
    assert_eq!(counts, [ops(Stage::Failed, 2), ops(Stage::Waiting, 1)]);
    let listed = messages.in_stage(Stage::Failed, 10).await.unwrap();
    assert_eq!(listed.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(messages.sent_by("acc", Timestamp(49)).await.unwrap(), [Timestamp(50)]);
    assert_eq!(messages.sent_by("acc", Timestamp(50)).await.unwrap(), []);
    assert_eq!(messages.reached_by("acc", Timestamp(0)).await.unwrap(), [], "it failed");
    let reached = AttemptRow { result: "sent".to_owned(), ..attempt("b", 60) };
    let begun = AttemptRow { result: "begun".to_owned(), ..attempt("b", 61) };
    messages.settle(&[], &[reached, begun]).await.unwrap();
    let expected = [60, 61].map(|at| ("安".to_owned(), Timestamp(at)));
    assert_eq!(messages.reached_by("acc", Timestamp(59)).await.unwrap(), expected);
    assert_eq!(messages.reached_by("other", Timestamp(59)).await.unwrap(), []);
    assert_eq!(messages.prune(Timestamp(60)).await.unwrap(), 1);
    assert_eq!(messages.open_ids("ops", 10).await.unwrap(), ["c"], "what is open stays");
    assert!(messages.attempts(&["a".to_owned()]).await.unwrap().is_empty());
}

pub(crate) async fn a_mute_is_replaced_ended_and_forgotten(db: &Db) {
    let mute = |id: &str, ends_at| MuteRow {
        id: id.to_owned(),
        joined: format!("ann_{id}"),
        ends_at: Timestamp(ends_at),
        body: "{}".to_owned(),
    };
    let mutes = db.mutes();
    mutes.store(&mute("a", 10)).await.unwrap();
    mutes.store(&mute("a", 20)).await.unwrap();
    mutes.store(&mute("b", 15)).await.unwrap();
    assert_eq!(mutes.live(Timestamp(14)).await.unwrap(), [mute("a", 20), mute("b", 15)]);
    assert_eq!(mutes.live(Timestamp(15)).await.unwrap(), [mute("a", 20)]);
    assert!(mutes.remove("a").await.unwrap());
    assert!(!mutes.remove("a").await.unwrap());
    mutes.prune(Timestamp(16)).await.unwrap();
    assert!(mutes.live(Timestamp(0)).await.unwrap().is_empty());
}

pub(crate) async fn of_many_who_claim_a_name_at_once_one_gets_it(db: &Db) {
    let tries = (0..50).map(|n| async move {
        db.mutes().claim("jti", Timestamp(10), &n.to_string()).await.unwrap()
    });
    let won = futures_util::future::join_all(tries).await;
    assert_eq!(won.iter().filter(|won| **won).count(), 1);
    let winner = won.iter().position(|won| *won).unwrap().to_string();
    assert_eq!(db.mutes().claimed("jti", Timestamp(9)).await.unwrap(), Some(winner));
    assert_eq!(db.mutes().claimed("jti", Timestamp(10)).await.unwrap(), None);
    db.mutes().release("jti").await.unwrap();
    assert!(db.mutes().claim("jti", Timestamp(10), "again").await.unwrap());
}
