//! What is Redis' own: real expiry, a server that is killed, loses its memory, or wants a password.

use std::time::Duration;

use model::Timestamp;
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use state::{
    Admission, Admitted, Attendance, CircleView, HostPhase, Membership, RedisConfig, State,
    StateError, TurnAnswer, Want, Work,
};
use testkit::{Redis, eventually};

const TTL: Duration = Duration::from_secs(600);
const SOON: Duration = Duration::from_secs(20);

async fn connection(server: &Redis) -> MultiplexedConnection {
    redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
}

/// Makes the server a cluster of one.
pub(crate) async fn own_all_slots(server: &Redis) {
    let mut connection = connection(server).await;
    let mut command = redis::cmd("CLUSTER");
    command.arg("ADDSLOTSRANGE").arg(0).arg(16383);
    let () = command.query_async(&mut connection).await.unwrap();
    eventually("the cluster is up", SOON, async || {
        let info: String =
            redis::cmd("CLUSTER").arg("INFO").query_async(&mut connection).await.ok()?;
        info.contains("cluster_state:ok").then_some(())
    })
    .await;
}

fn state(server: &Redis) -> State {
    State::redis(&RedisConfig::new(server.url())).unwrap()
}

/// Fault of the original: SETNX and then EXPIRE. A holder that died in between left a lock without
/// an end.
#[tokio::test]
async fn a_lease_has_an_end_from_its_first_moment() {
    let Some(server) = Redis::start().await else { return };
    let mut connection = connection(&server).await;
    state(&server).take_lease("group", "a", TTL, Timestamp(0)).await.unwrap().expect("free");
    let left: i64 = connection.pttl("saker:{lease/group}").await.unwrap();
    assert!((590_000..=600_000).contains(&left), "{left} ms left");
    let fencing: i64 = connection.pttl("saker:{lease/group}:fencing").await.unwrap();
    assert_eq!(fencing, -1, "the number stays");
}

#[tokio::test]
async fn a_lease_ends_by_the_clock_of_the_server_whatever_the_callers_say() {
    let Some(server) = Redis::start().await else { return };
    let (a, b) = (state(&server), state(&server));
    a.take_lease("group", "a", TTL, Timestamp(0)).await.unwrap().expect("free");
    let far_ahead = Timestamp::from_seconds(86_400);
    assert_eq!(
        b.take_lease("group", "b", TTL, far_ahead).await.unwrap(),
        None,
        "its clock is fast"
    );
    a.take_lease("group", "a", Duration::from_millis(50), Timestamp(0))
        .await
        .unwrap()
        .expect("renewed");
    let lease = eventually("the lease ends", SOON, async || {
        b.take_lease("group", "b", TTL, Timestamp(0)).await.unwrap()
    });
    assert_eq!(lease.await.until, Timestamp(0).plus(TTL));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_fails_the_verbs_until_it_is_back_and_loses_nothing() {
    // With "everysec", a busy disk puts the write off, and the answer does not wait for it.
    let Some(mut server) = Redis::start_with(&["--appendfsync", "always"]).await else { return };
    let state = state(&server);
    let before = state.take_lease("group", "a", TTL, Timestamp(0)).await.unwrap().expect("free");
    let mut pushed = Vec::new();
    for round in 0..3 {
        for n in 0..20 {
            let id = format!("{round}-{n:02}");
            state.push_event("q", 0, &id, b"", Timestamp(round)).await.unwrap();
            pushed.push(id);
        }
        state
            .save_document("kind", "key", format!("{round}").as_bytes(), before.fencing)
            .await
            .unwrap();
        server.kill();
        let outcome = state.push_event("q", 0, "lost", b"", Timestamp(round)).await;
        assert!(matches!(outcome, Err(StateError::Redis { .. })), "{outcome:?}");
        assert!(state.load_document("kind", "key").await.is_err());
        server.start_again().await;
        eventually("the verbs work again", SOON, async || state.queue_length("q").await.ok()).await;
        let document = state.load_document("kind", "key").await.unwrap();
        assert_eq!(document, Some(format!("{round}").into_bytes()));
    }
    assert_eq!(
        state.take_lease("group", "b", TTL, Timestamp(0)).await.unwrap(),
        None,
        "a holds it still"
    );
    let taken = state.take_events("q", 99, TTL, Timestamp(9)).await.unwrap();
    assert_eq!(taken.into_iter().map(|event| event.id).collect::<Vec<_>>(), pushed);
}

#[tokio::test(flavor = "multi_thread")]
async fn services_start_before_the_server_does() {
    let Some(mut server) = Redis::start().await else { return };
    server.kill();
    let state = state(&server);
    assert!(state.queue_length("q").await.is_err());
    assert!(state.queue_length("q").await.is_err());
    server.start_again().await;
    let length =
        eventually("the verbs work", SOON, async || state.queue_length("q").await.ok()).await;
    assert_eq!(length, 0);
}

#[tokio::test]
async fn fencing_numbers_grow_even_over_a_loss_of_memory() {
    let Some(server) = Redis::start().await else { return };
    let (state, mut connection) = (state(&server), connection(&server).await);
    let before = state.take_lease("group", "a", TTL, Timestamp(0)).await.unwrap().expect("free");
    let _: i64 =
        connection.del(&["saker:{lease/group}", "saker:{lease/group}:fencing"]).await.unwrap();
    let after =
        state.take_lease("group", "b", TTL, Timestamp(0)).await.unwrap().expect("free again");
    assert!(after.fencing > before.fencing, "{before:?} {after:?}");
    let () = connection.set("saker:{lease/group}:fencing", "9000000000000000").await.unwrap();
    state.release_lease("group", "b").await.unwrap();
    let later = state.take_lease("group", "a", TTL, Timestamp(0)).await.unwrap().expect("released");
    assert_eq!(later.fencing, 9_000_000_000_000_001, "also when the server's clock was set back");
}

#[tokio::test]
async fn a_password_is_given_and_never_shown() {
    let Some(server) = Redis::start_with(&["--requirepass", "s3cret"]).await else { return };
    let right =
        RedisConfig { password: Some("s3cret".to_owned()), ..RedisConfig::new(server.url()) };
    assert_eq!(State::redis(&right).unwrap().queue_length("q").await.unwrap(), 0);
    for password in [None, Some("wr0ng".to_owned())] {
        let config = RedisConfig { password, ..right.clone() };
        let state = State::redis(&config).unwrap();
        let error = state.queue_length("q").await.expect_err("the password is wrong");
        let shown = format!("{config:?} {state:?} {error:?} {error}");
        assert!(!shown.contains("wr0ng") && !shown.contains("s3cret"), "{shown}");
    }
}

#[tokio::test]
async fn nothing_stays_of_a_queue_that_was_worked_off() {
    let Some(server) = Redis::start().await else { return };
    let state = state(&server);
    for id in ["a", "b"] {
        state.push_event("q", 1, id, b"body", Timestamp(0)).await.unwrap();
    }
    state.take_events("q", 1, TTL, Timestamp(0)).await.unwrap();
    state.return_event("q", "a", Timestamp(5)).await.unwrap();
    for id in ["a", "b"] {
        assert!(state.ack_event("q", id).await.unwrap());
    }
    let keys: Vec<String> = connection(&server).await.keys("*").await.unwrap();
    assert_eq!(keys, Vec::<String>::new());
}

fn asks(host: &str) -> Admission<'_> {
    Admission {
        host,
        revision: 1,
        wave: 0,
        in_flight_max: 2,
        started_max: None,
        attempts_max: 2,
        lease_millis: 180_000,
        rest_millis: 0,
        is_idle: false,
        groups: &[],
    }
}

#[tokio::test]
async fn who_is_upgraded_is_the_set_that_runbooks_read() {
    let Some(server) = Redis::start_as_cluster().await else { return };
    own_all_slots(&server).await;
    let (state, mut connection) = (state(&server), connection(&server).await);
    assert!(state.save_upgrade_plan(0, "r1", b"plan").await.unwrap());
    assert_eq!(state.admit_upgrade(&asks("a"), Timestamp(0)).await.unwrap(), Admitted::Given(1));
    let members: Vec<String> = connection.smembers("agent_upgrade_set").await.unwrap();
    assert_eq!(members, ["a"]);
    let keys: Vec<String> = connection.keys("*").await.unwrap();
    let slot = async |key: &str| -> i64 {
        let mut connection = connection.clone();
        redis::cmd("CLUSTER").arg("KEYSLOT").arg(key).query_async(&mut connection).await.unwrap()
    };
    assert!(keys.iter().any(|key| key == "{agent_upgrade_set}:lease"), "{keys:?}");
    for key in &keys {
        assert_eq!(slot(key).await, 9739, "{key}");
    }
}

/// Fault of the original: who was put into the set and never left it held its place for ever.
#[tokio::test]
async fn a_name_that_was_put_into_the_set_by_hand_counts_and_gets_an_end() {
    let Some(server) = Redis::start().await else { return };
    let (state, mut connection) = (state(&server), connection(&server).await);
    state.save_upgrade_plan(0, "r1", b"plan").await.unwrap();
    let _: i64 = connection.sadd("agent_upgrade_set", &["x", "y"]).await.unwrap();
    assert_eq!(state.admit_upgrade(&asks("a"), Timestamp(0)).await.unwrap(), Admitted::Full);
    let ends: Vec<(String, i64)> =
        connection.zrange_withscores("{agent_upgrade_set}:lease", 0, -1).await.unwrap();
    assert_eq!(ends.len(), 2, "{ends:?}");
    let _: i64 = connection.zadd("{agent_upgrade_set}:lease", "x", 1).await.unwrap();
    assert_eq!(state.admit_upgrade(&asks("a"), Timestamp(0)).await.unwrap(), Admitted::Given(1));
    // A set that was removed by hand does not let more hosts in than there are leases.
    let _: i64 = connection.del("agent_upgrade_set").await.unwrap();
    assert_eq!(state.admit_upgrade(&asks("b"), Timestamp(0)).await.unwrap(), Admitted::Full);
}

/// Fault 7 of the original (open-falcon.md 5.2): the task was in one process' memory.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_survives_a_killed_server_and_asks_nothing_of_one_that_is_away() {
    // With the default a server whose disk is slow answers up to two seconds before it writes.
    let Some(mut server) = Redis::start_with(&["--appendfsync", "always"]).await else { return };
    let before = state(&server);
    before.save_upgrade_plan(0, "r1", b"plan").await.unwrap();
    assert_eq!(before.admit_upgrade(&asks("a"), Timestamp(0)).await.unwrap(), Admitted::Given(1));
    server.kill();
    assert!(before.admit_upgrade(&asks("b"), Timestamp(0)).await.is_err(), "no place is given");
    server.start_again().await;
    let other = state(&server);
    let plan = other.upgrade_plan().await.unwrap().expect("it was stored");
    assert_eq!((plan.rollout.as_str(), plan.body.as_slice()), ("r1", &b"plan"[..]));
    assert_eq!(other.admit_upgrade(&asks("a"), Timestamp(0)).await.unwrap(), Admitted::InFlight);
    let tally = other.upgrade_tally(180_000, Timestamp(0)).await.unwrap();
    assert_eq!((tally.in_flight, tally.counts), (1, vec![(0, HostPhase::Offered, 1)]));
}

fn judge(member: &str) -> Membership<'_> {
    Membership { circle: "judge", member, incarnation: 1 }
}

async fn attends(state: &State, member: &str, settle: Duration) -> CircleView {
    let how = Attendance { report: "", lease: TTL, settle, seen: 0 };
    state.attend(judge(member), how, Timestamp(0)).await.unwrap().expect("it is the only start")
}

#[tokio::test]
async fn after_a_loss_of_memory_who_held_a_share_gets_it_back_and_nobody_else() {
    let Some(server) = Redis::start().await else { return };
    let (state, mut connection) = (state(&server), connection(&server).await);
    let want = |held, turn| Want { name: "g", held, work: Work { turn, ..Work::default() } };
    assert!(attends(&state, "a", Duration::from_secs(300)).await.is_settling, "it is new");
    let refused = state.take_shares(judge("a"), &[want(0, None)], Timestamp(0)).await.unwrap();
    assert_eq!(refused, [], "somebody else may hold it");
    let () = connection.hset("saker:{circle/judge}", "settled_after", 0).await.unwrap();
    let held = state.take_shares(judge("a"), &[want(0, None)], Timestamp(0)).await.unwrap();
    let number = held[0].fencing;

    let () = redis::cmd("FLUSHALL").query_async(&mut connection).await.unwrap();
    let turn = [("g", Work { turn: Some(9), ..Work::default() })];
    let answer = state.begin_turns(judge("a"), &turn, Timestamp(0)).await.unwrap();
    assert_eq!(answer, [TurnAnswer::Unknown]);
    let view = attends(&state, "b", Duration::from_secs(300)).await;
    assert_eq!((view.is_settling, view.shares), (true, Some(vec![])));
    let greedy = state.take_shares(judge("b"), &[want(0, None)], Timestamp(0)).await.unwrap();
    assert_eq!(greedy, []);
    attends(&state, "a", Duration::from_secs(300)).await;
    let again =
        state.take_shares(judge("a"), &[want(number, Some(8))], Timestamp(0)).await.unwrap();
    assert!(again[0].fencing > number);
    assert_eq!(again[0].work.turn, Some(8), "what the holder knows counts");
    let answer = state.begin_turns(judge("a"), &turn, Timestamp(0)).await.unwrap();
    assert_eq!(answer, [TurnAnswer::Yours]);
}

/// What a judge with ten thousand groups asks of Redis: renewing costs one call, whatever it holds.
#[tokio::test]
async fn ten_thousand_shares_are_taken_in_few_calls_and_kept_with_one() {
    let Some(server) = Redis::start().await else { return };
    let (state, mut connection) = (state(&server), connection(&server).await);
    attends(&state, "a", Duration::ZERO).await;
    let () = connection.hset("saker:{circle/judge}", "settled_after", 0).await.unwrap();
    let names: Vec<String> = (0..10_000).map(|n| format!("rules.yml;group {n}")).collect();
    for chunk in names.chunks(500) {
        let want = |name| Want { name, held: 0, work: Work::default() };
        let wants: Vec<Want<'_>> = chunk.iter().map(|name| want(name.as_str())).collect();
        let taken = state.take_shares(judge("a"), &wants, Timestamp(0)).await.unwrap();
        assert_eq!(taken.len(), 500);
    }
    let calls = async || -> u64 {
        let mut connection = connection.clone();
        let info: String =
            redis::cmd("INFO").arg("stats").query_async(&mut connection).await.unwrap();
        let line = info.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
        line.expect("the server counts").trim().parse().unwrap()
    };
    let view = attends(&state, "a", Duration::from_secs(300)).await;
    assert_eq!(view.shares.map(|shares| shares.len()), Some(10_000));
    let before = calls().await;
    let how =
        Attendance { report: "", lease: TTL, settle: Duration::from_secs(300), seen: view.version };
    for _ in 0..10 {
        let again = state.attend(judge("a"), how, Timestamp(0)).await.unwrap().expect("there");
        assert_eq!(again.shares, None);
    }
    // Each look runs some commands inside its one script.
    let within = calls().await - before;
    assert!(within < 200, "{within} commands for ten looks");
}

/// A certificate for 127.0.0.1 and the one that signed it, made by openssl.
fn certificates(folder: &std::path::Path) -> Option<()> {
    let openssl = testkit::program("openssl")?;
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(&openssl);
        let done = command.current_dir(folder).args(arguments).output().unwrap();
        assert!(done.status.success(), "openssl {arguments:?}: {done:?}");
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let ca = ["req", "-x509", "-subj", "/CN=test ca", "-keyout", "ca.key", "-out", "ca.pem"];
    run(&[&ca[..], &key[..]].concat());
    let request = ["req", "-subj", "/CN=redis", "-keyout", "redis.key", "-out", "redis.csr"];
    run(&[&request[..], &key[..]].concat());
    std::fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    run(&[
        "x509",
        "-req",
        "-in",
        "redis.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-extfile",
        "names",
        "-out",
        "redis.pem",
    ]);
    Some(())
}

#[tokio::test]
async fn a_server_with_tls_is_trusted_by_the_given_certificates_only() {
    let folder = tempfile::tempdir().unwrap();
    let Some(()) = certificates(folder.path()) else { return };
    let file = |name: &str| folder.path().join(name).display().to_string();
    let port = testkit::free_port().to_string();
    let (certificate, key, ca) = (file("redis.pem"), file("redis.key"), file("ca.pem"));
    let arguments = [
        "--tls-port",
        &port,
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        "no",
    ];
    let Some(_server) = Redis::start_with(&arguments).await else { return };
    // As every process does: it chooses the library that encrypts.
    let _context = testkit::context_at(Timestamp(0));
    let url = format!("rediss://127.0.0.1:{port}/0");
    let given = RedisConfig { ca: std::fs::read(&ca).ok(), ..RedisConfig::new(url.as_str()) };
    assert_eq!(State::redis(&given).unwrap().queue_length("q").await.unwrap(), 0);
    let stranger = State::redis(&RedisConfig::new(url)).unwrap();
    assert!(stranger.queue_length("q").await.is_err(), "nobody this machine trusts signed it");
    let nonsense = RedisConfig { ca: Some(b"no certificate".to_vec()), ..given };
    let outcome = State::redis(&nonsense);
    assert!(outcome.is_err() || outcome.unwrap().queue_length("q").await.is_err());
}
