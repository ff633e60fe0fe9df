//! Queues of events by priority, under the rule of [`PLACES_PER_OLDEST`]. An event is handed out under a lease and
//! stays until it is acknowledged, so a consumer that dies loses nothing: at least once, with the event's id to tell
//! repeats apart.

use std::sync::atomic::Ordering;
use std::time::Duration;

use db::EventRow;
use model::Timestamp;

use crate::{Backend, State, StateError};

/// The rule of every queue by priority: of so many places one goes to whoever waits longest, and all others to the
/// most urgent, the oldest first among equals. So what is urgent never waits behind a backlog of what is not, and what
/// is not gets an eighth of what there is, however much of the urgent comes.
pub const PLACES_PER_OLDEST: u64 = 8;

/// An event handed out to a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its identity within the queue.
    pub id: String,
    /// 0 goes first.
    pub priority: u8,
    /// How often it was handed out, this time included.
    pub attempts: u32,
    /// What was pushed.
    pub body: Vec<u8>,
}

/// An event to be put on a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// Its identity within the queue.
    pub id: String,
    /// 0 goes first.
    pub priority: u8,
    /// What is handed out.
    pub body: Vec<u8>,
}

impl State {
    /// Puts an event on a queue, durably. Pushing an id that is still on the queue changes nothing.
    pub async fn push_event(
        &self,
        queue: &str,
        priority: u8,
        id: &str,
        body: &[u8],
        now: Timestamp,
    ) -> Result<(), StateError> {
        let event = NewEvent { id: id.to_owned(), priority, body: body.to_vec() };
        self.push_events(queue, &[event], now).await
    }

    /// Puts events on a queue, durably, in one step a thousand. Pushing an id that is still on the
    /// queue changes nothing.
    pub async fn push_events(
        &self,
        queue: &str,
        events: &[NewEvent],
        now: Timestamp,
    ) -> Result<(), StateError> {
        match &self.backend {
            Backend::Embedded(db) => {
                let row = |event: &NewEvent| EventRow {
                    name: event.id.clone(),
                    priority: i64::from(event.priority),
                    attempts: 0,
                    body: event.body.clone(),
                };
                let rows = events.iter().map(row).collect();
                Ok(db.state().push_events(queue, rows, now.millis()).await?)
            }
            Backend::Redis(redis) => redis.push_events(queue, events, now).await,
        }
    }

    /// Takes up to `max` events, the most important first and the oldest first among equals; one in
    /// eight is the oldest of all. Nobody else gets them until `lease` is over.
    pub async fn take_events(
        &self,
        queue: &str,
        max: usize,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Vec<Event>, StateError> {
        let hidden_until = now.plus(lease);
        let places = (max, self.places_of_the_oldest(max));
        let db = match &self.backend {
            Backend::Embedded(db) => db,
            Backend::Redis(redis) => {
                return redis.take_events(queue, places, now, hidden_until).await;
            }
        };
        let (now, hidden_until) = (now.millis(), hidden_until.millis());
        let rows = db.state().take_events(queue, places, now, hidden_until).await?;
        let events = rows.into_iter().map(|row| Event {
            id: row.name,
            priority: u8::try_from(row.priority).unwrap_or(u8::MAX),
            attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
            body: row.body,
        });
        Ok(events.collect())
    }

    /// How many of the next `max` places go by age.
    fn places_of_the_oldest(&self, max: usize) -> usize {
        let places = u64::try_from(max).unwrap_or(u64::MAX);
        let before = self.places.fetch_add(places, Ordering::Relaxed) % PLACES_PER_OLDEST;
        usize::try_from((before.saturating_add(places)) / PLACES_PER_OLDEST).unwrap_or(max)
    }

    /// The event is done and leaves the queue; `false` when it had left before.
    pub async fn ack_event(&self, queue: &str, id: &str) -> Result<bool, StateError> {
        match &self.backend {
            Backend::Embedded(db) => Ok(db.state().remove_event(queue, id).await?),
            Backend::Redis(redis) => redis.ack_event(queue, id).await,
        }
    }

    /// The events are done and leave the queue.
    pub async fn ack_events(&self, queue: &str, ids: &[String]) -> Result<(), StateError> {
        match &self.backend {
            Backend::Embedded(db) => Ok(db.state().remove_events(queue, ids).await?),
            Backend::Redis(redis) => redis.ack_events(queue, ids).await,
        }
    }

    /// The event could not be done; it is handed out again from `not_before` on.
    pub async fn return_event(
        &self,
        queue: &str,
        id: &str,
        not_before: Timestamp,
    ) -> Result<(), StateError> {
        match &self.backend {
            Backend::Embedded(db) => {
                Ok(db.state().return_event(queue, id, not_before.millis()).await?)
            }
            Backend::Redis(redis) => redis.return_event(queue, id, not_before).await,
        }
    }

    /// How many events are on the queue, the handed out ones included.
    pub async fn queue_length(&self, queue: &str) -> Result<u64, StateError> {
        match &self.backend {
            Backend::Embedded(db) => Ok(db.state().queue_length(queue).await?.unsigned_abs()),
            Backend::Redis(redis) => redis.queue_length(queue).await,
        }
    }
}
