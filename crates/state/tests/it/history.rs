//! Many holders that are paused at random, leases that end under them, and a history of what they
//! wrote.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use model::Timestamp;
use state::{State, StateError};
use tokio::time::{Instant, sleep};

use crate::world::World;

const HOLDERS: u64 = 6;
const RUN: Duration = Duration::from_secs(2);
const TTL: Duration = Duration::from_millis(30);

/// A write as its writer saw it, in time since the start.
#[derive(Debug)]
struct Write {
    owner: u64,
    fencing: u64,
    asked: Duration,
    answered: Duration,
    is_accepted: bool,
}

/// Numbers like random ones, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Each holder takes the lease, is paused for up to three lease times as by a garbage collector or
/// a stopped machine, and writes as if it still held the lease. Fencing must make of it: a number
/// has one owner, and once a write of a number is answered, no write of a lower number that begins
/// afterwards is accepted.
pub(crate) async fn never_two_holders_that_both_write(world: &mut World) {
    let start = Instant::now();
    let holders = (0..HOLDERS).map(|owner| hold(owner, world.other_process(), start));
    let writes: Vec<Write> = join_all(holders).await.into_iter().flatten().collect();

    let mut owners = HashMap::new();
    for write in &writes {
        let owner = owners.entry(write.fencing).or_insert(write.owner);
        assert_eq!(*owner, write.owner, "two owners of one number: {writes:#?}");
    }
    let accepted: Vec<&Write> = writes.iter().filter(|write| write.is_accepted).collect();
    for earlier in &accepted {
        for later in accepted.iter().filter(|write| write.asked > earlier.answered) {
            assert!(later.fencing >= earlier.fencing, "{later:?} was accepted after {earlier:?}");
        }
    }
    let last =
        world.state.load_document("history", "key").await.unwrap().expect("something was written");
    let highest = accepted.iter().map(|write| write.fencing).max().expect("something was accepted");
    assert_eq!(String::from_utf8(last).unwrap(), highest.to_string(), "the highest number stays");

    let refused = writes.len() - accepted.len();
    let figures = format!("{} writes, {refused} refused, {} leases", writes.len(), owners.len());
    println!("{figures}");
    assert!(
        refused > 3 && accepted.len() > 10 && owners.len() > 10,
        "the test saw nothing: {figures}"
    );
}

async fn hold(owner: u64, state: State, start: Instant) -> Vec<Write> {
    let mut dice = Dice(owner + 1);
    let mut writes = Vec::new();
    let name = format!("holder-{owner}");
    while start.elapsed() < RUN {
        let now = Timestamp(i64::try_from(start.elapsed().as_millis()).unwrap());
        let Some(lease) = state.take_lease("history", &name, TTL, now).await.unwrap() else {
            sleep(Duration::from_millis(1 + dice.below(5))).await;
            continue;
        };
        // Most are quick; every third is paused past the end of its lease.
        let pause = if dice.below(3) == 0 { dice.below(90) } else { dice.below(5) };
        for _ in 0..=dice.below(2) {
            sleep(Duration::from_millis(pause)).await;
            let asked = start.elapsed();
            let body = lease.fencing.to_string();
            let outcome =
                state.save_document("history", "key", body.as_bytes(), lease.fencing).await;
            assert!(matches!(outcome, Ok(()) | Err(StateError::Fenced { .. })), "{outcome:?}");
            let (fencing, answered) = (lease.fencing, start.elapsed());
            writes.push(Write { owner, fencing, asked, answered, is_accepted: outcome.is_ok() });
        }
        if dice.below(4) == 0 {
            state.release_lease("history", &name).await.unwrap();
        }
    }
    writes
}
