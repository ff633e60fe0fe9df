//! Runs every group in its slots: several groups at a time, never two runs of one group, a slow group delays
//! only itself.

mod seat;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use daemon::Stop;
use model::Timestamp;
use storage::Arrivals;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use self::seat::{Change, Seat, Stand};
use crate::answer::Part;
use crate::arrival::{Touched, Turn, Waiting, Wave};
use crate::group::GroupRun;
use crate::rules::{self, GroupKey, RuleGroup, RuleSet};
use crate::shard::Arrival;
use crate::slot::{Due, Slots};
use crate::tick::Ticker;
use crate::wave::{self, Answered, Concern, Visit};

/// The loop wakes at least this often, so that a clock that was set is noticed.
const NAP_MAX: Duration = Duration::from_secs(5);

/// Waves that ask at a time: one that takes long does not hold up the next.
const WAVES_MAX: usize = 2;

/// The groups of this judge and where each stands.
struct Scheduler {
    ticker: Arc<Ticker>,
    concurrent_max: usize,
    known: Arc<RuleSet>,
    seats: HashMap<Arc<GroupKey>, Seat>,
    /// The groups that are not being evaluated, by their next slot.
    due: BTreeSet<(Timestamp, Arc<GroupKey>)>,
    /// Removed groups that have nothing left to do.
    done: Vec<Arc<GroupKey>>,
    /// Groups that wait to look at what arrived.
    waiting: Waiting,
    /// Groups that are being evaluated.
    running: JoinSet<Vec<GroupRun>>,
    /// Waves whose questions are being asked.
    asking: JoinSet<Answered>,
    /// When the queue of slots was last looked at.
    looked: Timestamp,
}

/// Runs until told to stop; then waits for the running evaluations and gives the groups to other judges.
pub(crate) async fn run(
    ticker: Arc<Ticker>,
    mut rules: watch::Receiver<Arc<RuleSet>>,
    arrivals: Arrivals,
    concurrent_max: usize,
    stop: Stop,
) {
    let (clock, shard) = (ticker.context.clock.clone(), ticker.shard.clone());
    let mut scheduler = Scheduler {
        looked: clock.now(),
        ticker,
        concurrent_max,
        known: Arc::default(),
        seats: HashMap::new(),
        due: BTreeSet::new(),
        done: Vec::new(),
        waiting: Waiting::default(),
        running: JoinSet::new(),
        asking: JoinSet::new(),
    };
    scheduler.apply(rules.borrow_and_update().clone());
    loop {
        scheduler.bury_done().await;
        // One moment for all: a slot that becomes due in between must end the sleep at once, and comes before a
        // look at what arrived later.
        let now = clock.now();
        scheduler.start_due(now);
        scheduler.start_arrived(now);
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
            Some(answered) = scheduler.asking.join_next() => scheduler.look(answered),
            arrived = arrivals.next() => {
                let touched = scheduler.ticker.evaluator.passes.touched(&arrived);
                scheduler.waiting.add(&touched, clock.now());
            }
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
            self.waiting.forget(&key);
            if let Some(seat) = self.seats.get_mut(&key) {
                seat.change(Change::Remove, now);
                self.settle(&key, now);
            }
        }
        for group in difference.put {
            let key = Arc::new(group.key.clone());
            self.ticker.metrics.group(&key, group.interval, group.rules.len());
            let slots = Slots::new(group.interval);
            match self.seats.get_mut(&key) {
                Some(seat) => {
                    if seat.slots != slots {
                        (seat.slots, seat.evaluated) = (slots, slots.last(now));
                    }
                    seat.change(Change::Put(group), now);
                }
                None => {
                    let seat = Seat {
                        key: Arc::clone(&key),
                        slots,
                        evaluated: slots.last(now),
                        resumed: None,
                        seen: Timestamp::MIN,
                        queued: None,
                        run: Some(GroupRun::new(group)),
                        next: None,
                    };
                    self.seats.insert(Arc::clone(&key), seat);
                }
            }
            self.settle(&key, now);
        }
    }

    /// Buries removed groups that have nothing left to do.
    async fn bury_done(&mut self) {
        for key in std::mem::take(&mut self.done) {
            // It may have been put back meanwhile.
            if !self.seats.get(&key).is_some_and(Seat::is_done) {
                continue;
            }
            let Some(seat) = self.seats.remove(&key) else { continue };
            if let Some(queued) = seat.queued {
                self.due.remove(&(queued, key));
            }
            if let Some(run) = seat.run {
                self.ticker.bury(&run).await;
            }
        }
    }

    /// Starts what is due, as long as there is room. Who waited longest goes first, or under overload the
    /// last groups would never be evaluated.
    fn start_due(&mut self, now: Timestamp) {
        if now < self.looked {
            // The clock was set back, and with it the places in the queue.
            let keys: Vec<Arc<GroupKey>> = self.seats.keys().cloned().collect();
            keys.iter().for_each(|key| self.queue(key, now));
        }
        self.looked = now;
        while self.running.len() < self.concurrent_max {
            match self.due.first() {
                Some((due, _)) if *due <= now => {}
                _ => return,
            }
            let Some((_, key)) = self.due.pop_first() else { return };
            let Some(seat) = self.seats.get_mut(&key) else { continue };
            seat.queued = None;
            let Some(due) = seat.slots.due(seat.evaluated, now) else {
                self.queue(&key, now);
                continue;
            };
            let Some(mut run) = seat.run.take() else { continue };
            (seat.evaluated, seat.seen) = (due.slot, due.slot);
            let ticker = self.ticker.clone();
            self.running.spawn(async move {
                tick(&ticker, &mut run, due).await;
                vec![run]
            });
        }
    }

    /// Goes on with groups that came from other judges where those stopped: a slot that was missed meanwhile is due
    /// at once.
    fn resume(&mut self, arrivals: &[Arrival]) {
        let now = self.ticker.context.clock.now();
        for (key, begun) in arrivals {
            if let (Some(seat), Some(begun)) = (self.seats.get_mut(key), begun) {
                seat.resume(*begun);
                self.queue(key, now);
            }
        }
    }

    /// Begins to look at what arrived. Slots go first: an alert must not be looked at earlier than it was before.
    fn start_arrived(&mut self, now: Timestamp) {
        while self.asking.len() < WAVES_MAX {
            let Some((wave, parts)) = self.waiting.next_wave(now) else { break };
            let ticker = Arc::clone(&self.ticker);
            self.asking.spawn(async move { ticker.evaluator.ask(wave, &parts).await });
        }
        // One place more than slots have, so that news does not wait for all of them.
        while self.running.len() <= self.concurrent_max {
            let Some(turn) = self.waiting.next_turn() else { return };
            self.start_turn(turn, now);
        }
    }

    /// Lets a group look by itself.
    fn start_turn(&mut self, turn: Turn, now: Timestamp) {
        let Some(seat) = self.seats.get_mut(&turn.group) else { return };
        match seat.stand(turn.wave.at) {
            Stand::Passed => {}
            Stand::Overtaken => {
                let hosts = turn.wave.hosts.clone();
                self.waiting.add(&Touched { parts: turn.parts, hosts }, now);
            }
            Stand::Busy => self.waiting.postpone(&turn.group, &turn.parts, &turn.wave.hosts),
            Stand::Free => {
                let Some(mut run) = seat.leave(turn.wave.at, &mut self.due) else { return };
                let ticker = Arc::clone(&self.ticker);
                self.running.spawn(async move {
                    ticker.look_on_arrival(&mut run, &turn).await;
                    vec![run]
                });
            }
        }
    }

    /// Lets those groups look that a wave concerns, now that its questions are answered.
    fn look(&mut self, answered: Result<Answered, JoinError>) {
        let answered = match answered {
            Ok(answered) => answered,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return,
        };
        let (now, wave) = (self.ticker.context.clock.now(), &answered.wave);
        self.waiting.rest(answered.took, now);
        let Concerned { rules, turns, again, quiet } = self.concerned(&answered);
        let metrics = &self.ticker.metrics;
        metrics.arrival_evaluations.inc_by(quiet);
        metrics.pass_rules.inc_by(quiet + rules.values().map(|one| one.len() as u64).sum::<u64>());
        self.waiting.add(&Touched { parts: again, hosts: wave.hosts.clone() }, now);
        turns.into_values().for_each(|turn| self.waiting.take_turn(turn));
        let mut visits = Vec::with_capacity(rules.len());
        for (key, rules) in rules {
            let run = self.seats.get_mut(&key).and_then(|seat| seat.leave(wave.at, &mut self.due));
            visits.extend(run.map(|run| Visit { run, rules }));
        }
        if !visits.is_empty() {
            let (ticker, wave) = (Arc::clone(&self.ticker), Arc::clone(wave));
            self.running.spawn(async move { ticker.look_together(visits, &wave).await });
        }
    }

    /// Which rules have something to do about what a wave found.
    fn concerned(&mut self, answered: &Answered) -> Concerned {
        let mut concerned = Concerned::default();
        let (seats, waiting, wave) = (&self.seats, &mut self.waiting, &answered.wave);
        // Rules that listen to one part are mostly of one group.
        let mut last: Option<(*const RuleGroup, &Seat)> = None;
        answered.each_rule(|listener, number, part| {
            let group = Arc::as_ptr(&listener.group);
            let seat = match last {
                Some((known, seat)) if known == group => seat,
                _ => match seats.get(&listener.group.key) {
                    Some(seat) => seat,
                    None => return,
                },
            };
            last = Some((group, seat));
            match (seat.stand(wave.at), &seat.run) {
                (Stand::Passed, _) => {}
                (Stand::Overtaken, _) => concerned.again.push(number),
                (Stand::Busy, _) | (_, None) => waiting.postpone(&seat.key, &[number], &wave.hosts),
                (_, Some(run)) if run.last.is_none() || run.is_removed => {}
                (_, Some(run)) => match wave::concern(run, listener, part, wave) {
                    Concern::None => concerned.quiet += 1,
                    Concern::Part(part) => {
                        let rules = concerned.rules.entry(Arc::clone(&seat.key)).or_default();
                        rules.push((listener.rule, part));
                    }
                    Concern::Alone => concerned.turn(&seat.key, wave, (listener.rule, number)),
                },
            }
        });
        concerned
    }

    /// When there is something to start for which there is room; when there is none, one that runs must end
    /// first.
    fn wake_at(&self, now: Timestamp) -> Timestamp {
        let (running, room) = (self.running.len(), self.concurrent_max);
        let slot = self.due.first().map(|(due, _)| *due).filter(|_| running < room);
        let can_look = running <= room && self.asking.len() < WAVES_MAX;
        let arrived = self.waiting.next_due(now).filter(|_| can_look);
        [slot, arrived].into_iter().flatten().fold(now.plus(NAP_MAX), Timestamp::min)
    }

    fn seat_again(&mut self, done: Result<Vec<GroupRun>, JoinError>) {
        let runs = match done {
            Ok(runs) => runs,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return,
        };
        let now = self.ticker.context.clock.now();
        runs.into_iter().for_each(|run| self.seat_one(run, now));
    }

    fn seat_one(&mut self, run: GroupRun, now: Timestamp) {
        let Some(seat) = self.seats.get_mut(&run.group.key) else { return };
        let key = Arc::clone(&seat.key);
        seat.run = Some(run);
        if let Some(begun) = seat.resumed.take() {
            seat.resume(begun);
        }
        self.waiting.release(&key, now);
        if let Some(change) = seat.next.take() {
            seat.change(change, now);
            self.settle(&key, now);
        } else {
            self.queue(&key, now);
        }
    }

    /// Shows a group that was changed and gives it its place in the queue.
    fn settle(&mut self, key: &GroupKey, now: Timestamp) {
        if let Some(run) = self.seats.get(key).and_then(|seat| seat.run.as_ref()) {
            self.ticker.board.put(run);
        }
        self.queue(key, now);
    }

    /// Puts a group that is not being evaluated where its next slot belongs.
    fn queue(&mut self, key: &GroupKey, now: Timestamp) {
        let Some(seat) = self.seats.get_mut(key) else { return };
        if let Some(queued) = seat.queued.take() {
            self.due.remove(&(queued, Arc::clone(&seat.key)));
        }
        if seat.is_done() {
            self.done.push(Arc::clone(&seat.key));
        }
        if seat.run.is_some() {
            let is_due = seat.slots.due(seat.evaluated, now).is_some();
            // What waits for room keeps its place before those whose slot came later.
            let at = seat.slots.next(seat.evaluated);
            let at = if is_due { at.min(now) } else { at };
            seat.queued = Some(at);
            self.due.insert((at, Arc::clone(&seat.key)));
        }
    }
}

/// What a wave means for the groups.
#[derive(Debug, Default)]
struct Concerned {
    /// Rules with what they are to look at.
    rules: HashMap<Arc<GroupKey>, Vec<(usize, Part)>>,
    /// Groups with rules that ask by themselves.
    turns: HashMap<Arc<GroupKey>, Turn>,
    /// Parts to be looked at once more.
    again: Vec<usize>,
    /// Rules that have nothing to do.
    quiet: u64,
}

impl Concerned {
    fn turn(&mut self, group: &Arc<GroupKey>, wave: &Arc<Wave>, (rule, part): (usize, usize)) {
        let turn = self.turns.entry(Arc::clone(group)).or_insert_with(|| Turn {
            group: Arc::clone(group),
            rules: BTreeSet::new(),
            parts: Vec::new(),
            wave: Arc::clone(wave),
        });
        turn.rules.insert(rule);
        turn.parts.push(part);
    }
}

async fn tick(ticker: &Ticker, run: &mut GroupRun, due: Due) {
    if due.missed > 0 {
        tracing::warn!(group = %run.group.key, missed = due.missed, "slots passed without an evaluation");
    }
    ticker.tick(run, due).await;
}
