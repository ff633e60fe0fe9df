//! One priority queue an integration, so that one that is away never holds up another.
//!
//! A ticket on a queue names a group and the alerts that are news, not what to tell: that is decided from the
//! state of the alerts when the ticket is taken. So a backlog can never send outdated news.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use model::{Fingerprint, Labels, Timestamp};
use serde::{Deserialize, Serialize};
use state::{Event, NewEvent, State};
use tokio::sync::Notify;

/// What lies on a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ticket {
    /// Which group, as a number: no two tickets of one group are worked on at once.
    pub(crate) group: u64,
    /// Identity of the group in messages.
    pub(crate) group_key: String,
    /// The labels of the group.
    pub(crate) labels: Labels,
    /// The alerts to look at.
    pub(crate) alerts: Vec<Fingerprint>,
    /// Alerts of the group that fire and are not among them.
    pub(crate) left_out: u64,
    /// Whether what was told before `at` is told again.
    pub(crate) is_repeat: bool,
    /// Whether the receiver is told because nobody took the alerts.
    pub(crate) is_escalation: bool,
    /// After how long what fires is told again, as things stand.
    pub(crate) repeat_interval_ms: u64,
    /// When it was decided.
    pub(crate) at: Timestamp,
    /// When the first thing in it happened.
    pub(crate) event_at: Timestamp,
}

/// The queue of one integration; clones are the same queue.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    name: String,
    state: State,
    /// Rings when there may be something to take.
    bell: Arc<Notify>,
}

impl Queue {
    /// Puts tickets with their ids on the queue; one with the same id that is still there is kept instead.
    pub(crate) async fn push(
        &self,
        tickets: &[(String, u8, Ticket)],
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let events: Vec<NewEvent> = tickets
            .iter()
            .map(|(id, priority, ticket)| {
                let body = serde_json::to_vec(ticket).context("write a ticket")?;
                Ok(NewEvent { id: id.clone(), priority: *priority, body })
            })
            .collect::<anyhow::Result<_>>()?;
        self.state.push_events(&self.name, &events, now).await?;
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
                    self.done(&[id]).await?;
                }
            }
        }
        Ok(tickets)
    }

    /// The tickets are worked off.
    pub(crate) async fn done(&self, ids: &[String]) -> anyhow::Result<()> {
        Ok(self.state.ack_events(&self.name, ids).await?)
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

/// The queues of all integrations; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Queues {
    state: State,
    known: Arc<Mutex<HashMap<String, Queue>>>,
}

impl Queues {
    pub(crate) fn new(state: State) -> Self {
        Self { state, known: Arc::default() }
    }

    /// The queue of the integration with this key.
    pub(crate) fn of(&self, key: &str) -> Queue {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = known.get(key) {
            return queue.clone();
        }
        let (name, state) = (format!("alarm.{key}"), self.state.clone());
        let queue = Queue { name, state, bell: Arc::default() };
        known.insert(key.to_owned(), queue.clone());
        queue
    }
}
