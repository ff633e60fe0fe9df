//! How fast a queue on a real Redis is drained to a channel that does nothing, and how soon what is urgent overtakes.
//! `cargo nextest run --release -p state --run-ignored only drain --no-capture` prints the figures.

use std::time::Duration;

use model::Timestamp;
use state::{NewEvent, State};
use testkit::Redis;
use tokio::time::Instant;

use crate::world::World;

const EVENTS: usize = 100_000;
const BATCH: usize = 500;
const LEASE: Duration = Duration::from_secs(30);
/// Consumers beside each other, as there are tellers.
const CONSUMERS: usize = 2;

async fn fill(state: &State, priority: u8) {
    // As large as a ticket of alarm.
    let event = |n: usize| NewEvent { id: format!("{n:033}"), priority, body: vec![b'x'; 300] };
    let events: Vec<NewEvent> = (0..EVENTS).map(event).collect();
    state.push_events("q", &events, Timestamp(1)).await.unwrap();
}

/// Takes, tells nobody and acknowledges, until the queue is empty; answers how many events came.
async fn drain(state: State, mut seen: impl FnMut(&str)) -> usize {
    let mut events = 0;
    loop {
        let taken = state.take_events("q", BATCH, LEASE, Timestamp(2)).await.unwrap();
        if taken.is_empty() {
            return events;
        }
        events += taken.len();
        let ids: Vec<String> = taken.into_iter().map(|event| event.id).collect();
        ids.iter().for_each(|id| seen(id));
        state.ack_events("q", &ids).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn a_hundred_thousand_events_are_drained() {
    let Some(server) = Redis::start().await else { return };
    let world = World::redis(&server, "drain");
    let began = Instant::now();
    fill(&world.state, 3).await;
    println!("pushed {:.0}/s", EVENTS as f64 / began.elapsed().as_secs_f64());
    let began = Instant::now();
    let consumers = (0..CONSUMERS).map(|_| drain(world.other_process(), |_| {}));
    let drained: usize = futures_util::future::join_all(consumers).await.into_iter().sum();
    println!("drained {:.0}/s", EVENTS as f64 / began.elapsed().as_secs_f64());
    assert_eq!(drained, EVENTS);
    assert_eq!(world.state.queue_length("q").await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn what_is_urgent_overtakes_a_hundred_thousand_others_within_a_second() {
    let Some(server) = Redis::start().await else { return };
    let world = World::redis(&server, "overtake");
    fill(&world.state, 6).await;
    let (consumer, producer) = (world.other_process(), world.other_process());
    let mut overtook = None;
    let mut others = 0;
    let pushed = async {
        // The consumer is at work by then.
        let began = Instant::now();
        producer.push_event("q", 0, "urgent", b"", Timestamp(2)).await.unwrap();
        began
    };
    let (_, began) = tokio::join!(
        drain(consumer, |id| match id {
            "urgent" => overtook = Some((Instant::now(), others)),
            _ => others += 1,
        }),
        pushed
    );
    let (at, before) = overtook.unwrap();
    println!("handed out after {:?}, {before} others before it", at.duration_since(began));
    assert!(at.duration_since(began) < Duration::from_secs(1));
}
