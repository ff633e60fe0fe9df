//! Empties the queue of one destination into it: batches by size and age, again and again until they
//! are taken, without regard to the other destinations.

mod away;
mod pace;
mod post;

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;

use daemon::{Clock, Context};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use tokio::sync::{mpsc, watch};
use wire::remote_write;

pub(crate) use self::away::Away;
use self::pace::{Due, Waiting, due, pause};
use self::post::{Outcome, Post, Refusal};
use crate::destination::Destination;
use crate::destination_metrics::{DestinationMetrics, DropReason};
use crate::queue::{Chunk, ChunkLimits, Position, Taken};

/// Sends what is in the queue of a destination.
#[derive(Debug)]
pub(crate) struct Forwarder {
    destination: Arc<Destination>,
    post: Post,
    clock: Clock,
    metrics: DestinationMetrics,
    away: Arc<Away>,
    drain: watch::Receiver<bool>,
    /// Tells the drain that this one has not ended yet.
    _running: mpsc::Sender<()>,
}

/// What became of a chunk.
#[derive(Debug)]
enum Delivery {
    /// Taken or given up, up to there.
    Done(Position),
    /// The process stops and the destination is away: the rest stays in the queue.
    Left,
}

/// Asks all forwarders to empty their queues and waits until they have.
#[derive(Debug)]
pub(crate) struct Drain {
    ask: watch::Sender<bool>,
    running: mpsc::Receiver<()>,
    /// Handed to forwarders, and let go of before the wait.
    handle: mpsc::Sender<()>,
}

impl Drain {
    pub(crate) fn new() -> Self {
        let (handle, running) = mpsc::channel(1);
        Self { ask: watch::Sender::new(false), running, handle }
    }

    /// Returns when all forwarders have ended: their queues are empty, or their destinations away.
    pub(crate) async fn run(mut self) {
        drop(self.handle);
        self.ask.send_replace(true);
        // Nothing is ever sent: it resolves when the last sender is gone.
        let _ = self.running.recv().await;
    }
}

impl Forwarder {
    /// Reads the token of the destination.
    pub(crate) fn new(
        destination: Arc<Destination>,
        context: &Context,
        metrics: DestinationMetrics,
        away: Arc<Away>,
        drain: &Drain,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            post: Post::new(&destination.settings, context.http.clone())?,
            destination,
            clock: context.clock.clone(),
            metrics,
            away,
            drain: drain.ask.subscribe(),
            _running: drain.handle.clone(),
        })
    }

    /// Sends until a drain has emptied the queue.
    pub(crate) async fn run(self) {
        let mut in_flight = FuturesOrdered::new();
        // One future over several turns of the loop: a chunk that was handed out must not get lost.
        let mut next = pin!(self.next_chunk());
        let mut is_empty = false;
        loop {
            let has_room = !is_empty && in_flight.len() < self.destination.settings.in_flight_max;
            tokio::select! {
                chunk = &mut next, if has_room => match chunk {
                    Some(chunk) => {
                        in_flight.push_back(self.deliver(chunk));
                        next.set(self.next_chunk());
                    }
                    None => is_empty = true,
                },
                Some(delivery) = in_flight.next() => match delivery {
                    Delivery::Done(position) => self.destination.queue.settle(position).await,
                    Delivery::Left => return,
                },
                else => return,
            }
        }
    }

    /// The next chunk when it is full or old enough; `None` when the queue is empty and drained.
    async fn next_chunk(&self) -> Option<Chunk> {
        let (settings, queue) = (&self.destination.settings, &self.destination.queue);
        let samples_max = settings.batch_samples_max as u64;
        let message_bytes_max = settings.batch_bytes_max;
        let mut drain = self.drain.clone();
        loop {
            let is_draining = *drain.borrow_and_update();
            let stats = queue.stats();
            let waiting = Waiting { samples: stats.waiting_samples, since: stats.waiting_since };
            let wait = if is_draining { std::time::Duration::ZERO } else { settings.batch_wait };
            let span = match due(waiting, samples_max, wait, self.clock.now()) {
                Due::Now => {
                    let chunk = queue.take(ChunkLimits { samples_max, message_bytes_max }).await;
                    if chunk.is_some() {
                        return chunk;
                    }
                    // Everything that waited could not be read.
                    continue;
                }
                Due::Empty if is_draining => return None,
                Due::Empty => None,
                Due::In(span) => Some(span),
            };
            tokio::select! {
                () = queue.arrived() => {}
                _ = drain.changed() => {}
                () = self.clock.sleep(span.unwrap_or_default()), if span.is_some() => {}
            }
        }
    }

    /// Sends a chunk until it is taken or can never be.
    async fn deliver(&self, chunk: Chunk) -> Delivery {
        let mut parts = VecDeque::from([chunk.batches]);
        while let Some(mut batches) = parts.pop_front() {
            let samples = batches.iter().map(|one| one.samples).sum();
            let Some(refusal) = self.offer_until_answered(&batches).await else {
                return Delivery::Left;
            };
            match refusal {
                Ok(()) => self.metrics.sent(samples),
                // What is too large together may be small enough in parts.
                Err(refusal) if refusal.is_too_large && batches.len() > 1 => {
                    let second = batches.split_off(batches.len() / 2);
                    parts.push_front(second);
                    parts.push_front(batches);
                }
                Err(refusal) => self.give_up(samples, &refusal),
            }
        }
        self.metrics.delivered(chunk.oldest, self.clock.now());
        Delivery::Done(chunk.end)
    }

    /// `None` when a drain gives up on a destination that is away.
    async fn offer_until_answered(&self, batches: &[Taken]) -> Option<Result<(), Refusal>> {
        let name = &self.destination.settings.name;
        let body = joined(batches);
        let mut drain = self.drain.clone();
        let mut failures = 0;
        loop {
            let begun = tokio::time::Instant::now();
            let outcome = self.post.offer(body.clone(), self.clock.now()).await;
            self.metrics.answered(begun.elapsed());
            let (why, reason, retry_after) = match outcome {
                Outcome::Taken => {
                    self.away.is_back(name);
                    return Some(Ok(()));
                }
                Outcome::Refused(refusal) => {
                    self.away.is_back(name);
                    return Some(Err(refusal));
                }
                Outcome::Later { why, reason, retry_after } => (why, reason, retry_after),
            };
            self.metrics.retried(reason);
            self.away.is_away(name, why);
            if *drain.borrow_and_update() {
                return None;
            }
            let pause = pause(&self.destination.settings, failures, retry_after, self.clock.now());
            failures += 1;
            tokio::select! {
                () = self.clock.sleep(pause) => {}
                _ = drain.changed() => {}
            }
        }
    }

    fn give_up(&self, samples: u64, refusal: &Refusal) {
        let reason = DropReason::of_status(refusal.status);
        self.metrics.dropped(reason, samples);
        tracing::warn!(
            destination = self.destination.settings.name,
            samples,
            "a destination refused samples for good, they are dropped: {}",
            refusal.why
        );
    }
}

/// One body with all of them.
fn joined(batches: &[Taken]) -> axum::body::Bytes {
    if let [one] = batches {
        return one.body.clone();
    }
    let bodies: Vec<&[u8]> = batches.iter().map(|one| one.body.as_ref()).collect();
    remote_write::join(&bodies)
        .expect("the queue hands out snappy blocks only, and less than 4 GiB of them")
        .into()
}
