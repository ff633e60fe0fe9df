//! Runs every group in its slots: several groups at a time, never two runs of one group, a slow group delays
//! only itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use daemon::Stop;
use model::Timestamp;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::group::GroupRun;
use crate::rules::{self, GroupKey, RuleGroup, RuleSet};
use crate::shard::Arrival;
use crate::slot::{Due, Slots};
use crate::tick::Ticker;

/// The loop wakes at least this often, so that a clock that was set is noticed.
const NAP_MAX: Duration = Duration::from_secs(5);

/// The groups of this judge and where each stands.
struct Scheduler {
    ticker: Arc<Ticker>,
    concurrent_max: usize,
    known: Arc<RuleSet>,
    seats: BTreeMap<GroupKey, Seat>,
    running: JoinSet<GroupRun>,
}

/// A group in the scheduler.
struct Seat {
    slots: Slots,
    evaluated: Timestamp,
    /// The group's state; gone while it is being evaluated.
    run: Option<GroupRun>,
    /// A change that came while the group was being evaluated.
    next: Option<Change>,
}

/// What becomes of a known group.
enum Change {
    Put(Arc<RuleGroup>),
    Remove,
}

/// Runs until told to stop; then waits for the running evaluations and gives the groups to other judges.
pub(crate) async fn run(
    ticker: Arc<Ticker>,
    mut rules: watch::Receiver<Arc<RuleSet>>,
    concurrent_max: usize,
    stop: Stop,
) {
    let (clock, shard) = (ticker.context.clock.clone(), ticker.shard.clone());
    let mut scheduler = Scheduler {
        ticker,
        concurrent_max,
        known: Arc::default(),
        seats: BTreeMap::new(),
        running: JoinSet::new(),
    };
    scheduler.apply(rules.borrow_and_update().clone());
    loop {
        // One moment for both: a slot that becomes due in between must end the sleep at once.
        let now = clock.now();
        scheduler.start_due(now).await;
        let wake_at = scheduler.wake_at(now);
        tokio::select! {
            () = stop.clone().requested() => break,
            changed = rules.changed() => match changed {
                Ok(()) => {
                    let rules = rules.borrow_and_update().clone();
                    scheduler.apply(rules);
                }
                Err(_) => break,
            },
            arrivals = shard.arrivals() => scheduler.resume(&arrivals),
            Some(done) = scheduler.running.join_next() => scheduler.seat_again(done),
            () = clock.sleep_until(wake_at) => {}
        }
    }
    while let Some(done) = scheduler.running.join_next().await {
        scheduler.seat_again(done);
    }
    scheduler.ticker.leave().await;
}

impl Scheduler {
    /// Takes a new set of rules.
    fn apply(&mut self, rules: Arc<RuleSet>) {
        let now = self.ticker.context.clock.now();
        let difference = rules::difference(&self.known, &rules);
        self.known = rules;
        for key in difference.removed {
            self.ticker.metrics.forget_group(&key);
            if let Some(seat) = self.seats.get_mut(&key) {
                seat.change(Change::Remove, now);
                self.show(&key);
            }
        }
        for group in difference.put {
            let key = group.key.clone();
            self.ticker.metrics.group(&key, group.interval, group.rules.len());
            let slots = Slots::new(&key.to_string(), group.interval);
            match self.seats.get_mut(&key) {
                Some(seat) => {
                    if seat.slots != slots {
                        (seat.slots, seat.evaluated) = (slots, slots.last(now));
                    }
                    seat.change(Change::Put(group), now);
                }
                None => {
                    let seat = Seat {
                        slots,
                        evaluated: slots.last(now),
                        run: Some(GroupRun::new(group)),
                        next: None,
                    };
                    self.seats.insert(key.clone(), seat);
                }
            }
            self.show(&key);
        }
    }

    /// Starts what is due, as long as there is room, and buries removed groups that have nothing left to do.
    async fn start_due(&mut self, now: Timestamp) {
        let is_done = |seat: &Seat| seat.run.as_ref().is_some_and(GroupRun::is_done);
        let done: Vec<GroupKey> = self
            .seats
            .iter()
            .filter(|(_, seat)| is_done(seat))
            .map(|(key, _)| key.clone())
            .collect();
        for run in done.iter().filter_map(|key| self.seats.remove(key)?.run) {
            self.ticker.bury(&run).await;
        }
        let mut waiting: Vec<(&mut Seat, Due)> = self
            .seats
            .values_mut()
            .filter(|seat| seat.run.is_some())
            .filter_map(|seat| seat.slots.due(seat.evaluated, now).map(|due| (seat, due)))
            .collect();
        // Who waited longest goes first, or under overload the last groups would never be evaluated.
        waiting.sort_by_key(|(seat, _)| seat.evaluated);
        let room = self.concurrent_max.saturating_sub(self.running.len());
        for (seat, due) in waiting.into_iter().take(room) {
            let Some(mut run) = seat.run.take() else { continue };
            let ticker = self.ticker.clone();
            seat.evaluated = due.slot;
            self.running.spawn(async move {
                tick(&ticker, &mut run, due).await;
                run
            });
        }
    }

    /// Goes on with groups that came from other judges where those stopped: a slot that was missed meanwhile is due
    /// at once.
    fn resume(&mut self, arrivals: &[Arrival]) {
        for (key, begun) in arrivals {
            if let (Some(seat), Some(begun)) = (self.seats.get_mut(key), begun) {
                seat.evaluated = *begun;
            }
        }
    }

    /// When the next group is due; while as many run as may, when one of them is done.
    fn wake_at(&self, now: Timestamp) -> Timestamp {
        let nap = now.plus(NAP_MAX);
        if self.running.len() >= self.concurrent_max {
            return nap;
        }
        let idle = self.seats.values().filter(|seat| seat.run.is_some());
        idle.map(|seat| seat.slots.next(seat.evaluated.max(seat.slots.last(now))))
            .fold(nap, Timestamp::min)
    }

    fn seat_again(&mut self, done: Result<GroupRun, JoinError>) {
        let run = match done {
            Ok(run) => run,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return,
        };
        let key = run.group.key.clone();
        let Some(seat) = self.seats.get_mut(&key) else { return };
        seat.run = Some(run);
        if let Some(change) = seat.next.take() {
            seat.change(change, self.ticker.context.clock.now());
            self.show(&key);
        }
    }

    fn show(&self, key: &GroupKey) {
        if let Some(run) = self.seats.get(key).and_then(|seat| seat.run.as_ref()) {
            self.ticker.board.put(run);
        }
    }
}

impl Seat {
    fn change(&mut self, change: Change, now: Timestamp) {
        match (&mut self.run, change) {
            (None, change) => self.next = Some(change),
            (Some(run), Change::Put(group)) => run.adopt(group, now),
            (Some(run), Change::Remove) => run.retire(now),
        }
    }
}

async fn tick(ticker: &Ticker, run: &mut GroupRun, due: Due) {
    if due.missed > 0 {
        tracing::warn!(group = %run.group.key, missed = due.missed, "slots passed without an evaluation");
    }
    ticker.tick(run, due).await;
}
