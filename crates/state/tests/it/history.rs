//! Many holders that are paused at random, leases that end under them, and a history of what they
//! wrote.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::future::join_all;
use model::Timestamp;
use nix::sys::signal::Signal;
use state::{State, StateError};
use testkit::{Redis, eventually};
use tokio::time::{Instant, sleep};

use crate::world::World;

const HOLDERS: u64 = 6;
const RUN: Duration = Duration::from_secs(2);
const FOUL_RUN: Duration = Duration::from_secs(4);
const TTL: Duration = Duration::from_millis(30);

/// A write as its writer saw it, in time since the start.
#[derive(Debug)]
struct Write {
    owner: u64,
    fencing: u64,
    asked: Duration,
    answered: Duration,
    outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Accepted,
    Refused,
    /// The answer was lost: it may have been either.
    Unknown,
}

/// What may happen to the store during a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    /// It always answers.
    Fair,
    /// It is paused and killed; answers are lost.
    Foul,
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
    let hold = |owner| hold(owner, world.other_process(), start, RUN, Weather::Fair);
    let writes = join_all((0..HOLDERS).map(hold)).await.into_iter().flatten().collect();
    let last = world.state.load_document("history", "key").await.unwrap();
    check(writes, last);
}

/// The same while leases are made to end early, as after a jump of the server's clock, and the server is stopped and
/// continued, and killed and started again: who waited for its answer meanwhile cannot know what came of its write.
pub(crate) async fn never_two_holders_while_the_server_is_paused_and_killed(server: &mut Redis) {
    let start = Instant::now();
    let world = World::redis(server, "test");
    let hold = |owner| hold(owner, world.other_process(), start, FOUL_RUN, Weather::Foul);
    let holders = join_all((0..HOLDERS).map(hold));
    let (histories, ()) = tokio::join!(holders, disturb(server, start));
    let last = eventually("the server answers", FOUL_RUN * 5, async || {
        world.state.load_document("history", "key").await.ok()
    });
    check(histories.into_iter().flatten().collect(), last.await);
}

async fn disturb(server: &mut Redis, start: Instant) {
    let mut dice = Dice(99);
    let client = ::redis::Client::open(server.url()).unwrap();
    let mut kills = 0;
    while start.elapsed() < FOUL_RUN {
        sleep(Duration::from_millis(20 + dice.below(60))).await;
        match dice.below(8) {
            0..4 => {
                let Ok(mut connection) = client.get_multiplexed_async_connection().await else {
                    continue;
                };
                let mut expire = ::redis::cmd("PEXPIRE");
                expire.arg("test:{lease/history}").arg(1);
                let _: Result<i64, _> = expire.query_async(&mut connection).await;
            }
            4..7 => {
                server.process().signal(Signal::SIGSTOP);
                sleep(Duration::from_millis(dice.below(120))).await;
                server.process().signal(Signal::SIGCONT);
            }
            _ if kills < 3 => {
                kills += 1;
                server.kill();
                server.start_again().await;
            }
            _ => {}
        }
    }
}

fn check(writes: Vec<Write>, last: Option<Vec<u8>>) {
    let mut owners = HashMap::new();
    for write in &writes {
        let owner = owners.entry(write.fencing).or_insert(write.owner);
        assert_eq!(*owner, write.owner, "two owners of one number: {writes:#?}");
    }
    let of = |outcome| writes.iter().filter(move |write| write.outcome == outcome);
    let accepted: Vec<&Write> = of(Outcome::Accepted).collect();
    for earlier in &accepted {
        for later in accepted.iter().filter(|write| write.asked > earlier.answered) {
            assert!(later.fencing >= earlier.fencing, "{later:?} was accepted after {earlier:?}");
        }
    }
    let last: u64 =
        String::from_utf8(last.expect("something was written")).unwrap().parse().unwrap();
    let highest = accepted.iter().map(|write| write.fencing).max().expect("something was accepted");
    let unknown: HashSet<u64> = of(Outcome::Unknown).map(|write| write.fencing).collect();
    assert!(
        last == highest || (last > highest && unknown.contains(&last)),
        "{last} stays of {highest}"
    );

    let refused = of(Outcome::Refused).count();
    let figures = format!(
        "{} writes, {refused} refused, {} unknown, {} leases",
        writes.len(),
        of(Outcome::Unknown).count(),
        owners.len()
    );
    println!("{figures}");
    assert!(
        refused > 3 && accepted.len() > 10 && owners.len() > 10,
        "the test saw nothing: {figures}"
    );
}

async fn hold(
    owner: u64,
    state: State,
    start: Instant,
    run: Duration,
    weather: Weather,
) -> Vec<Write> {
    let mut dice = Dice(owner + 1);
    let mut writes = Vec::new();
    let name = format!("holder-{owner}");
    while start.elapsed() < run {
        let now = Timestamp(i64::try_from(start.elapsed().as_millis()).unwrap());
        let taken = state.take_lease("history", &name, TTL, now).await;
        assert!(weather == Weather::Foul || taken.is_ok(), "{taken:?}");
        let Ok(Some(lease)) = taken else {
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
            let outcome = match outcome {
                Ok(()) => Outcome::Accepted,
                Err(StateError::Fenced { .. }) => Outcome::Refused,
                Err(error) => {
                    assert_eq!(weather, Weather::Foul, "{error:?}");
                    Outcome::Unknown
                }
            };
            let (fencing, answered) = (lease.fencing, start.elapsed());
            writes.push(Write { owner, fencing, asked, answered, outcome });
        }
        if dice.below(4) == 0 {
            let released = state.release_lease("history", &name).await;
            assert!(weather == Weather::Foul || released.is_ok(), "{released:?}");
        }
    }
    writes
}
