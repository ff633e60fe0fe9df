//! One priority queue a receiver, so that one that is away never holds up another.
//!
//! A ticket on a queue says "something happened to this alert", not what to tell: that is decided from the
//! state of the alert when the ticket is taken. So a backlog can never send outdated news. Events are put on
//! the queues from the store, and marked there afterwards: a crash in between repeats a ticket, it never
//! loses one.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use db::Db;
use db::alerts::AlertEvent;
use model::{Fingerprint, Timestamp};
use serde::{Deserialize, Serialize};
use state::{Event, State};
use tokio::sync::Notify;

use crate::app::Common;

// Few, so that an urgent event waits for little of a storm of others: every round begins with the most
// urgent.
const EVENTS_PER_ROUND: u32 = 50;
// Only after a failure of the store: events that were just stored ring the bell.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// What lies on a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ticket {
    /// Which alert.
    pub(crate) fingerprint: Fingerprint,
    /// When it happened.
    pub(crate) at: Timestamp,
}

/// The queue of one receiver; clones are the same queue.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    receiver: String,
    name: String,
    state: State,
    /// Rings when there may be something to take.
    bell: Arc<Notify>,
}

impl Queue {
    pub(crate) fn of(receiver: &str, state: State) -> Self {
        let name = format!("alarm.{receiver}");
        Self { receiver: receiver.to_owned(), name, state, bell: Arc::default() }
    }

    /// Name of the receiver it belongs to.
    pub(crate) fn receiver(&self) -> &str {
        &self.receiver
    }

    /// Puts a ticket on the queue; one with the same id that is still there is kept instead.
    pub(crate) async fn push(
        &self,
        id: &str,
        priority: u8,
        ticket: Ticket,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let body = serde_json::to_vec(&ticket).context("write a ticket")?;
        self.state.push_event(&self.name, priority, id, &body, now).await?;
        self.bell.notify_one();
        Ok(())
    }

    /// Takes up to `max` tickets with their ids. What is not a ticket is acknowledged with a log line: it
    /// could never be worked on.
    pub(crate) async fn take(
        &self,
        max: usize,
        lease: Duration,
        now: Timestamp,
    ) -> anyhow::Result<Vec<(String, Ticket)>> {
        let mut tickets = Vec::new();
        for Event { id, body, .. } in self.state.take_events(&self.name, max, lease, now).await? {
            match serde_json::from_slice(&body) {
                Ok(ticket) => tickets.push((id, ticket)),
                Err(error) => {
                    let queue = &self.name;
                    tracing::error!(queue, event.id = id, %error, "threw away an unreadable ticket");
                    self.done(&id).await?;
                }
            }
        }
        Ok(tickets)
    }

    /// The ticket is worked off.
    pub(crate) async fn done(&self, id: &str) -> anyhow::Result<()> {
        self.state.ack_event(&self.name, id).await?;
        Ok(())
    }

    /// The ticket is to be taken again from `not_before` on.
    pub(crate) async fn put_back(&self, id: &str, not_before: Timestamp) -> anyhow::Result<()> {
        Ok(self.state.return_event(&self.name, id, not_before).await?)
    }

    /// How many tickets there are, those being worked on included.
    pub(crate) async fn length(&self) -> anyhow::Result<u64> {
        Ok(self.state.queue_length(&self.name).await?)
    }

    /// Resolves when there may be something to take.
    pub(crate) async fn rung(&self) {
        self.bell.notified().await;
    }
}

/// Puts stored events on the queues of all receivers, as long as the process runs.
pub(crate) async fn fill(common: Common, queues: Vec<Queue>, stored: Arc<Notify>) {
    let Common { db, clock, metrics } = common;
    loop {
        match fill_once(&db, &queues, clock.now()).await {
            Ok(0) => {
                tokio::select! {
                    () = stored.notified() => {}
                    () = clock.sleep(RETRY_INTERVAL) => {}
                }
            }
            Ok(_) => {}
            Err(error) => {
                metrics.store_failures.inc();
                tracing::error!(
                    error = format!("{error:#}"),
                    "cannot queue new events; trying again"
                );
                clock.sleep(RETRY_INTERVAL).await;
            }
        }
    }
}

async fn fill_once(db: &Db, queues: &[Queue], now: Timestamp) -> anyhow::Result<usize> {
    let events = db.alerts().unqueued_events(EVENTS_PER_ROUND).await?;
    for event in &events {
        let AlertEvent { id, fingerprint, priority, at, .. } = event;
        for queue in queues {
            queue.push(id, *priority, Ticket { fingerprint: *fingerprint, at: *at }, now).await?;
        }
    }
    db.alerts().mark_queued(&events).await?;
    Ok(events.len())
}
