//! Queues of events by priority. An event is handed out under a lease and stays until it is acknowledged, so a
//! consumer that dies loses nothing: at least once, with the event's id to tell repeats apart.

use std::time::Duration;

use model::Timestamp;

use crate::{State, StateError};

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
        Ok(self.db.state().push_event(queue, id, i64::from(priority), body, now.millis()).await?)
    }

    /// Takes up to `max` events, the most important first and the oldest first among equals. Nobody else gets them
    /// until `lease` is over.
    pub async fn take_events(
        &self,
        queue: &str,
        max: usize,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Vec<Event>, StateError> {
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let rows = self.db.state().take_events(queue, max, now.millis(), now.plus(lease).millis()).await?;
        let events = rows.into_iter().map(|row| Event {
            id: row.name,
            priority: u8::try_from(row.priority).unwrap_or(u8::MAX),
            attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
            body: row.body,
        });
        Ok(events.collect())
    }

    /// The event is done and leaves the queue; `false` when it had left before.
    pub async fn ack_event(&self, queue: &str, id: &str) -> Result<bool, StateError> {
        Ok(self.db.state().remove_event(queue, id).await?)
    }

    /// The event could not be done; it is handed out again from `not_before` on.
    pub async fn return_event(&self, queue: &str, id: &str, not_before: Timestamp) -> Result<(), StateError> {
        Ok(self.db.state().return_event(queue, id, not_before.millis()).await?)
    }

    /// How many events are on the queue, the handed out ones included.
    pub async fn queue_length(&self, queue: &str) -> Result<u64, StateError> {
        Ok(self.db.state().queue_length(queue).await?.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_state::state;

    const LEASE: Duration = Duration::from_secs(30);

    async fn ids(state: &State, max: usize, now: i64) -> Vec<String> {
        let events = state.take_events("q", max, LEASE, Timestamp(now)).await.unwrap();
        events.into_iter().map(|event| event.id).collect()
    }

    #[tokio::test]
    async fn important_events_overtake_older_ones() {
        let (state, _folder) = state().await;
        for (priority, id, at) in [(3, "low", 1), (0, "high", 3), (3, "lower", 2)] {
            state.push_event("q", priority, id, b"", Timestamp(at)).await.unwrap();
        }
        assert_eq!(ids(&state, 2, 10).await, ["high", "low"]);
        assert_eq!(ids(&state, 2, 10).await, ["lower"]);
    }

    #[tokio::test]
    async fn an_event_that_is_not_acknowledged_comes_back() {
        let (state, _folder) = state().await;
        state.push_event("q", 0, "a", b"body", Timestamp(0)).await.unwrap();
        assert_eq!(ids(&state, 9, 0).await, ["a"]);
        assert!(ids(&state, 9, 29_999).await.is_empty());
        let again = state.take_events("q", 9, LEASE, Timestamp(30_000)).await.unwrap();
        assert_eq!((again[0].attempts, again[0].body.as_slice()), (2, &b"body"[..]));
        assert!(state.ack_event("q", "a").await.unwrap());
        assert!(!state.ack_event("q", "a").await.unwrap());
        assert_eq!(state.queue_length("q").await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_returned_event_waits_for_its_moment() {
        let (state, _folder) = state().await;
        state.push_event("q", 0, "a", b"", Timestamp(0)).await.unwrap();
        ids(&state, 1, 0).await;
        state.return_event("q", "a", Timestamp(5_000)).await.unwrap();
        assert!(ids(&state, 1, 4_999).await.is_empty());
        assert_eq!(ids(&state, 1, 5_000).await, ["a"]);
    }

    #[tokio::test]
    async fn pushing_the_same_id_twice_is_one_event() {
        let (state, _folder) = state().await;
        state.push_event("q", 0, "a", b"first", Timestamp(0)).await.unwrap();
        state.push_event("q", 0, "a", b"second", Timestamp(1)).await.unwrap();
        let taken = state.take_events("q", 9, LEASE, Timestamp(2)).await.unwrap();
        assert_eq!((taken.len(), taken[0].body.as_slice()), (1, &b"first"[..]));
    }
}
