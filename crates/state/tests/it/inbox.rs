//! Lists that other programs push to.

use state::{Inbox, RedisConfig, Settled};
use testkit::Redis;

async fn push(redis: &Redis, items: &[&str]) {
    let client = ::redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut push = ::redis::cmd("LPUSH");
    let () = push.arg("event:p0").arg(items).query_async(&mut connection).await.unwrap();
}

fn open(redis: &Redis) -> Inbox {
    let names = ["event:p0".to_owned()];
    Inbox::open(&RedisConfig::new(redis.url()), names).unwrap().remove(0)
}

fn texts(items: Vec<Vec<u8>>) -> Vec<String> {
    items.into_iter().map(|item| String::from_utf8(item).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_stays_under_way_until_it_is_settled() {
    let Some(redis) = Redis::start().await else { return };
    let inbox = open(&redis);
    assert!(inbox.take(9).await.unwrap().is_empty());
    push(&redis, &["a", "b", "c", "b"]).await;
    assert_eq!(inbox.length().await.unwrap(), 4);
    let taken = inbox.take(3).await.unwrap();
    inbox.settle(&taken[..1], Settled::Done).await.unwrap();
    assert_eq!(texts(taken), ["a", "b", "c"], "the oldest first");
    // Whoever comes after one who died.
    let successor = open(&redis);
    assert_eq!(texts(successor.unsettled().await.unwrap()), ["b", "c"]);
    assert_eq!(
        texts(successor.take(3).await.unwrap()),
        ["b"],
        "one that looks the same is another"
    );
    successor.settle(&[b"b".to_vec(), b"b".to_vec()], Settled::Done).await.unwrap();
    successor.settle(&[b"c".to_vec(), b"unknown".to_vec()], Settled::PutAside).await.unwrap();
    assert!(successor.unsettled().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_while_the_server_is_killed() {
    let started = Redis::start_with(&["--appendfsync", "always"]).await;
    let Some(mut redis) = started else { return };
    let inbox = open(&redis);
    push(&redis, &["a", "b"]).await;
    assert_eq!(texts(inbox.take(1).await.unwrap()), ["a"]);
    redis.kill();
    assert!(inbox.take(1).await.is_err());
    redis.start_again().await;
    assert_eq!(texts(inbox.unsettled().await.unwrap()), ["a"]);
    assert_eq!(texts(inbox.take(9).await.unwrap()), ["b"]);
}
