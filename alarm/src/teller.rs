//! One task an integration: takes tickets from its queue, asks the pipeline, sends, and records what came of it.
//! What the store is asked and told goes in batches, whatever was ready at the time.

mod desk;
mod look;
mod outcome;
mod reason;

use std::sync::Arc;
use std::time::Duration;

use daemon::Stop;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::time::{Instant, sleep_until};

use self::desk::{Desk, Reach, Ready, Settled, Turn};
use crate::app::Common;
use crate::notify::Way;
use crate::notify::office::Office;
use crate::plan::Plan;
use crate::queue::{Queue, Ticket};

// Tickets that come back by themselves (retries) and those of other instances ring no bell here.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
// A ticket whose task died comes back after twice the timeout of an attempt and this.
const LEASE_MARGIN: Duration = Duration::from_secs(30);
const STORE_RETRY: Duration = Duration::from_secs(5);
/// While messages are on their way, outcomes are gathered for so long and then written down together. Who is killed
/// meanwhile tells them again.
const GATHER_FOR: Duration = Duration::from_millis(5);

/// The task of one integration.
#[derive(Debug)]
pub(crate) struct Teller {
    pub(crate) common: Common,
    /// Its key.
    pub(crate) key: String,
    pub(crate) queue: Queue,
    /// The name that groups are leased under.
    pub(crate) owner: String,
    pub(crate) office: Office,
}

/// What a teller waits for.
enum Step {
    /// Tickets came from the queue.
    Took(Vec<(String, Arc<Ticket>)>),
    /// Errands about so many alerts were looked at.
    Looked(Vec<Ready>, Vec<Settled>, usize),
    /// A message was sent, or not.
    Sent(Settled),
    /// Outcomes were gathered for a while.
    Gathered,
    /// The outcome of errands about these groups is written down.
    Recorded(Vec<u64>),
}

impl Teller {
    /// Works until the stop, then finishes what is under way.
    pub(crate) async fn run(self, stop: Stop) {
        let (mut desk, mut reach) = (Desk::default(), Reach::new(Instant::now()));
        // Taking tickets is one of the steps under way and not awaited by itself: while the loop waits
        // elsewhere, the errands stand still, and one of them may hold the very lock of the store that the
        // loop waits for.
        let mut under_way: FuturesUnordered<BoxFuture<'_, Step>> = FuturesUnordered::new();
        let (mut is_taking, mut may_take) = (false, true);
        let stop_requested = stop.clone().requested();
        tokio::pin!(stop_requested);
        let poll = self.common.clock.sleep(POLL_INTERVAL);
        tokio::pin!(poll);
        loop {
            let plan = self.common.plans.borrow().clone();
            let receiver = plan.integration(&self.key);
            let concurrency = receiver.map_or(1, |receiver| receiver.concurrency);
            let free = reach.room(desk.errands(), concurrency);
            if receiver.is_some() && may_take && !is_taking && free > 0 && !stop.is_requested() {
                (is_taking, may_take) = (true, false);
                under_way.push(self.take(free, plan.clone()).boxed());
            }
            let held_until = self.send_ready(&mut desk, &under_way, &plan);
            let begin = desk.next_look();
            if !begin.is_empty() {
                under_way.push(self.look(begin, plan.clone()).boxed());
            }
            if !desk.is_recording && !desk.settled.is_empty() {
                desk.is_recording = true;
                let pause = if desk.sending > 0 { GATHER_FOR } else { Duration::ZERO };
                under_way.push(tokio::time::sleep(pause).map(|()| Step::Gathered).boxed());
            }
            tokio::select! {
                Some(step) = under_way.next() => {
                    if matches!(step, Step::Gathered) {
                        under_way.push(self.record(std::mem::take(&mut desk.settled)).boxed());
                    }
                    if let Step::Recorded(groups) = &step {
                        reach.work_off(groups.len(), Instant::now());
                    }
                    self.follow(step, &mut desk, &mut is_taking, &mut may_take);
                }
                () = sleep_until(held_until.unwrap_or_else(Instant::now)), if held_until.is_some() => {}
                () = self.queue.rung() => may_take = true,
                () = &mut poll => {
                    poll.set(self.common.clock.sleep(POLL_INTERVAL));
                    may_take = true;
                }
                () = &mut stop_requested, if under_way.is_empty() => return,
            }
        }
    }

    /// Starts what may leave; answers when more may, if time alone holds it up.
    fn send_ready<'a>(
        &'a self,
        desk: &mut Desk,
        under_way: &FuturesUnordered<BoxFuture<'a, Step>>,
        plan: &Arc<Plan>,
    ) -> Option<Instant> {
        let receiver = plan.integration(&self.key);
        let concurrency = receiver.map_or(1, |receiver| receiver.concurrency);
        // What is stored for bots under its key is the same the second time.
        let is_repeat_heard = receiver.is_some_and(|one| matches!(one.way, Way::Webhook(_)));
        loop {
            match desk.next_turn(concurrency, is_repeat_heard, Instant::now()) {
                Turn::Send(ready) => under_way.push(self.send(ready, Arc::clone(plan)).boxed()),
                Turn::Wait(until) => return Some(until),
                Turn::Idle => return None,
            }
        }
    }

    /// Notes what a step brought.
    fn follow(&self, step: Step, desk: &mut Desk, is_taking: &mut bool, may_take: &mut bool) {
        match step {
            Step::Took(tickets) => {
                *is_taking = false;
                // A full hand may not have been all there was.
                *may_take |= !tickets.is_empty();
                let begin = desk.admit(tickets);
                desk.begin.extend(begin);
            }
            Step::Looked(ready, settled, alerts) => {
                desk.looking -= alerts;
                desk.line_up(ready);
                desk.settled.extend(settled);
            }
            Step::Sent(settled) => {
                desk.sending -= 1;
                desk.settled.push(settled);
            }
            Step::Gathered => {}
            Step::Recorded(groups) => {
                desk.is_recording = false;
                *may_take = true;
                let begin = desk.finish(&groups);
                desk.begin.extend(begin);
            }
        }
    }

    async fn take(&self, max: usize, plan: Arc<Plan>) -> Step {
        let timeout = plan.integration(&self.key).map_or(Duration::ZERO, |one| one.timeout);
        let lease = timeout * 2 + LEASE_MARGIN;
        let taken = self.queue.take(max, lease, self.common.clock.now()).await;
        Step::Took(taken.unwrap_or_else(|error| {
            self.store_failed("take tickets", &error);
            Vec::new()
        }))
    }

    fn store_failed(&self, what: &'static str, error: &dyn std::fmt::Display) {
        self.common.metrics.store_failures.inc();
        tracing::error!(receiver.name = self.key, error = format!("{error:#}"), "cannot {what}");
    }
}
