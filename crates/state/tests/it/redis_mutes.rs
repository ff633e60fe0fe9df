//! Mutes on a real Redis are Open-Falcon's: its own tools and older programs read and write them.

use std::time::Duration;

use model::Timestamp;
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use state::{RedisConfig, State};
use testkit::Redis;

const SET: &str = "block_monitor_set";
const NAME: &str = "ann_web-03_DiskFull";
const KEY: &str = "single_block_monitor_ann_web-03_DiskFull";

async fn start() -> Option<(Redis, State, MultiplexedConnection)> {
    let server = Redis::start().await?;
    let client = redis::Client::open(server.url()).unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    let state = State::redis(&RedisConfig::new(server.url())).unwrap();
    Some((server, state, connection))
}

#[tokio::test]
async fn a_mute_is_a_key_with_its_seconds_as_value_and_end_and_a_name_in_the_set() {
    let Some((_server, state, mut redis)) = start().await else { return };
    state.mute("id", NAME, "{}", 3_600, Timestamp(0)).await.unwrap();
    let (value, left): (String, i64) =
        (redis.get(KEY).await.unwrap(), redis.ttl(KEY).await.unwrap());
    assert_eq!(value, "3600");
    assert!((3_500..=3_600).contains(&left), "{left} s left");
    let members: Vec<String> = redis.smembers(SET).await.unwrap();
    assert_eq!(members, [KEY]);
    state.unmute("id", NAME).await.unwrap();
    let names: Vec<String> = redis.keys("*").await.unwrap();
    assert!(names.is_empty(), "{names:?}");
    assert!(state.mutes(Timestamp(0)).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_lies_together_is_in_one_slot_of_a_cluster() {
    let Some(server) = Redis::start_as_cluster().await else { return };
    crate::redis::own_all_slots(&server).await;
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    for key in [SET, "{block_monitor_set}:meta"] {
        let mut command = redis::cmd("CLUSTER");
        let slot: i64 = command.arg("KEYSLOT").arg(key).query_async(&mut connection).await.unwrap();
        assert_eq!(slot, 3219, "{key}");
    }
}

#[tokio::test]
async fn a_mute_of_an_older_program_is_read_and_ends_with_its_key() {
    let Some((_server, state, mut redis)) = start().await else { return };
    let now = Timestamp(1_000_000);
    let () = redis.set_ex("single_block_monitor_bob_cpu.idle", "600", 600).await.unwrap();
    // The original puts the name into the set with and without what the key begins with.
    let () = redis.sadd(SET, "bob_cpu.idle").await.unwrap();
    state.mute("id", NAME, "{}", 3_600, now).await.unwrap();
    let names = async || -> Vec<String> {
        let mutes = state.mutes(now).await.unwrap();
        mutes.into_iter().map(|mute| mute.joined).collect()
    };
    assert_eq!(names().await, [NAME, "bob_cpu.idle"]);
    let old = state.mutes(now).await.unwrap().pop().unwrap();
    assert!(old.body.is_empty() && old.until > now.plus(Duration::from_secs(500)), "{old:?}");
    // It ends, or somebody ends it by its key: the other one stays.
    let () = redis.del("single_block_monitor_bob_cpu.idle").await.unwrap();
    assert_eq!(names().await, [NAME]);
    let () = redis.del(KEY).await.unwrap();
    assert!(
        names().await.is_empty(),
        "a set without living names is an empty list, and no failure"
    );
}
