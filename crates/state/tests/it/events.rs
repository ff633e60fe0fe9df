//! Queues.

use std::time::Duration;

use futures_util::future::join_all;
use model::Timestamp;
use state::{NewEvent, State};

use crate::world::World;

const LEASE: Duration = Duration::from_secs(30);

async fn ids(state: &State, max: usize, now: i64) -> Vec<String> {
    let events = state.take_events("q", max, LEASE, Timestamp(now)).await.unwrap();
    events.into_iter().map(|event| event.id).collect()
}

pub(crate) async fn important_events_overtake_older_ones(world: &mut World) {
    let state = &world.state;
    for (priority, id, at) in [(3, "low", 1), (0, "high", 3), (3, "lower", 2), (255, "lowest", 0)] {
        state.push_event("q", priority, id, b"", Timestamp(at)).await.unwrap();
    }
    state.push_event("another", 0, "high", b"", Timestamp(0)).await.unwrap();
    assert!(ids(state, 0, 10).await.is_empty());
    assert_eq!(ids(state, 2, 10).await, ["high", "low"]);
    assert_eq!(ids(state, 1, 10).await, ["lower"]);
    let last = state.take_events("q", 9, LEASE, Timestamp(10)).await.unwrap();
    assert_eq!((last[0].id.as_str(), last[0].priority, last[0].attempts), ("lowest", 255, 1));
    assert_eq!(state.queue_length("q").await.unwrap(), 4);
}

pub(crate) async fn an_event_that_is_not_acknowledged_comes_back_in_its_place(world: &mut World) {
    let state = &world.state;
    state.push_event("q", 0, "a", b"body \x00\xff", Timestamp(0)).await.unwrap();
    assert_eq!(ids(state, 9, 0).await, ["a"]);
    assert!(ids(state, 9, 29_999).await.is_empty());
    state.push_event("q", 0, "b", b"", Timestamp(1)).await.unwrap();
    let again = state.take_events("q", 9, LEASE, Timestamp(30_000)).await.unwrap();
    assert_eq!((again[0].attempts, again[0].body.as_slice()), (2, &b"body \x00\xff"[..]));
    assert_eq!((again[1].id.as_str(), again[1].attempts), ("b", 1));
    assert!(state.ack_event("q", "a").await.unwrap());
    assert!(!state.ack_event("q", "a").await.unwrap());
    assert_eq!(state.queue_length("q").await.unwrap(), 1);
}

pub(crate) async fn a_returned_event_waits_for_its_moment(world: &mut World) {
    let state = &world.state;
    state.push_event("q", 0, "a", b"", Timestamp(0)).await.unwrap();
    ids(state, 1, 0).await;
    state.return_event("q", "a", Timestamp(5_000)).await.unwrap();
    state.return_event("q", "unknown", Timestamp(5_000)).await.unwrap();
    assert!(ids(state, 1, 4_999).await.is_empty());
    assert_eq!(ids(state, 9, 5_000).await, ["a"]);
}

pub(crate) async fn pushing_the_same_id_twice_is_one_event_until_it_is_done(world: &mut World) {
    let state = &world.state;
    state.push_event("q", 0, "a", b"first", Timestamp(0)).await.unwrap();
    state.push_event("q", 0, "a", b"second", Timestamp(1)).await.unwrap();
    let taken = state.take_events("q", 9, LEASE, Timestamp(2)).await.unwrap();
    assert_eq!((taken.len(), taken[0].body.as_slice()), (1, &b"first"[..]));
    state.push_event("q", 0, "a", b"third", Timestamp(3)).await.unwrap();
    assert!(ids(state, 9, 3).await.is_empty(), "it is being worked on");
    state.ack_event("q", "a").await.unwrap();
    state.push_event("q", 0, "a", b"fourth", Timestamp(4)).await.unwrap();
    let taken = state.take_events("q", 9, LEASE, Timestamp(4)).await.unwrap();
    assert_eq!((taken[0].attempts, taken[0].body.as_slice()), (1, &b"fourth"[..]));
}

pub(crate) async fn of_many_takers_each_gets_other_events(world: &mut World) {
    for n in 0..60 {
        world.state.push_event("q", 0, &format!("{n:02}"), b"", Timestamp(n)).await.unwrap();
    }
    let takers: Vec<State> = (0..6).map(|_| world.other_process()).collect();
    let taken = join_all(takers.iter().map(|state| ids(state, 10, 100))).await;
    let mut all: Vec<String> = taken.into_iter().flatten().collect();
    all.extend(ids(&world.state, 60, 100).await);
    all.sort_unstable();
    let expected: Vec<String> = (0..60).map(|n| format!("{n:02}")).collect();
    assert_eq!(all, expected);
}

pub(crate) async fn what_is_urgent_goes_first_and_what_is_not_gets_its_turn(world: &mut World) {
    let state = &world.state;
    let event = |name: &str, n: i64, priority: u8| NewEvent {
        id: format!("{name}-{n:03}"),
        priority,
        body: Vec::new(),
    };
    let low: Vec<NewEvent> = (0..20).map(|n| event("low", n, 6)).collect();
    state.push_events("q", &low, Timestamp(0)).await.unwrap();
    let high: Vec<NewEvent> = (0..100).map(|n| event("high", n, 0)).collect();
    state.push_events("q", &high, Timestamp(1)).await.unwrap();
    let taken = ids(state, 64, 10).await;
    let urgent = taken.iter().filter(|id| id.starts_with("high")).count();
    assert_eq!((taken.len(), urgent), (64, 56), "{taken:?}");
    assert!(taken[..56].iter().all(|id| id.starts_with("high")), "urgent ones come first");
    // Whoever takes one at a time serves the oldest too.
    let mut low = 0;
    for _ in 0..16 {
        low += ids(state, 1, 10).await.iter().filter(|id| id.starts_with("low")).count();
    }
    assert_eq!(low, 2);
    assert_eq!(ids(state, 99, 10).await.len(), 40, "nothing is handed out twice or left");
}

pub(crate) async fn thousands_are_pushed_taken_and_done_at_once(world: &mut World) {
    let state = &world.state;
    let event =
        |n: u16| NewEvent { id: n.to_string(), priority: 1, body: n.to_le_bytes().to_vec() };
    let events: Vec<NewEvent> = (0..2_500).map(event).collect();
    state.push_events("q", &events, Timestamp(0)).await.unwrap();
    let taken = state.take_events("q", 9_999, LEASE, Timestamp(1)).await.unwrap();
    assert_eq!(taken.len(), 2_500);
    for event in &taken {
        assert_eq!(event.body, event.id.parse::<u16>().unwrap().to_le_bytes());
    }
    let names: Vec<String> = taken.into_iter().map(|event| event.id).collect();
    state.ack_events("q", &names[..2_400]).await.unwrap();
    assert_eq!(state.queue_length("q").await.unwrap(), 100);
    let again = state.take_events("q", 9_999, LEASE, Timestamp(30_001)).await.unwrap();
    assert!(again.iter().all(|event| event.attempts == 2));
    assert_eq!(again.len(), 100);
}
