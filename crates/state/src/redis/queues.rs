//! Queues: pending events in a sorted set by rank and in one by age, taken ones in a sorted set by the time they
//! come back, and what belongs to an event in hashes by its id.

use model::Timestamp;
use redis::ScriptInvocation;

use super::{RedisStore, Script};
use crate::{Event, NewEvent, StateError};

/// Events that come back to the pending ones in one call, so that no call holds the server up for
/// long. While more than these are due, the most important of them may have to wait for the next
/// call.
const COME_BACK_MAX: u32 = 10_000;
/// Events that one call puts on a queue or takes off it: the server does nothing else meanwhile.
const EVENTS_PER_CALL: usize = 1000;
/// Events that one call hands out at most.
const TAKE_MAX: usize = 10_000;
/// The rank is the priority in front of the time; milliseconds fit in these bits until the year
/// 2248, and all of it into a double without loss.
const TIME_BITS: u32 = 43;
const TIME_MAX: i64 = (1 << TIME_BITS) - 1;

impl RedisStore {
    pub(crate) async fn push_events(
        &self,
        queue: &str,
        events: &[NewEvent],
        now: Timestamp,
    ) -> Result<(), StateError> {
        for chunk in events.chunks(EVENTS_PER_CALL) {
            let mut script = self.on_queue(&self.scripts.push_event, queue);
            script.arg(now.millis());
            for event in chunk {
                script.arg(&event.id).arg(rank(event.priority, now)).arg(&event.body);
            }
            self.run::<()>("push events", &script).await?;
        }
        Ok(())
    }

    pub(crate) async fn take_events(
        &self,
        queue: &str,
        (max, oldest): (usize, usize),
        now: Timestamp,
        hidden_until: Timestamp,
    ) -> Result<Vec<Event>, StateError> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let mut script = self.on_queue(&self.scripts.take_events, queue);
        script
            .arg(max.min(TAKE_MAX))
            .arg(oldest.min(TAKE_MAX))
            .arg(now.millis())
            .arg(hidden_until.millis())
            .arg(COME_BACK_MAX)
            .arg(rank(1, Timestamp(0)));
        let (ids, ranks, returns, bodies): (Vec<String>, Vec<i64>, Vec<u32>, Vec<Vec<u8>>) =
            self.run("take events", &script).await?;
        let events = ids.into_iter().zip(ranks).zip(returns).zip(bodies);
        let event = |(((id, rank), returns), body)| Event {
            id,
            priority: priority(rank),
            attempts: returns + 1,
            body,
        };
        Ok(events.map(event).collect())
    }

    pub(crate) async fn ack_event(&self, queue: &str, id: &str) -> Result<bool, StateError> {
        let mut script = self.on_queue(&self.scripts.ack_event, queue);
        self.run("acknowledge an event", script.arg(id)).await
    }

    pub(crate) async fn ack_events(&self, queue: &str, ids: &[String]) -> Result<(), StateError> {
        for chunk in ids.chunks(EVENTS_PER_CALL) {
            let mut script = self.on_queue(&self.scripts.ack_event, queue);
            for id in chunk {
                script.arg(id);
            }
            self.run::<u64>("acknowledge events", &script).await?;
        }
        Ok(())
    }

    pub(crate) async fn return_event(
        &self,
        queue: &str,
        id: &str,
        not_before: Timestamp,
    ) -> Result<(), StateError> {
        let mut script = self.on_queue(&self.scripts.return_event, queue);
        self.run("return an event", script.arg(id).arg(not_before.millis())).await
    }

    pub(crate) async fn queue_length(&self, queue: &str) -> Result<u64, StateError> {
        let mut command = redis::cmd("HLEN");
        self.ask("count events", command.arg(self.key("queue", queue, ":bodies"))).await
    }

    fn on_queue<'a>(&self, script: &'a Script, queue: &str) -> ScriptInvocation<'a> {
        let mut invocation = script.prepare_invoke();
        for part in [":pending", ":taken", ":bodies", ":ranks", ":attempts", ":ages"] {
            invocation.key(self.key("queue", queue, part));
        }
        invocation
    }
}

fn rank(priority: u8, pushed_at: Timestamp) -> i64 {
    (i64::from(priority) << TIME_BITS) + pushed_at.millis().clamp(0, TIME_MAX)
}

fn priority(rank: i64) -> u8 {
    u8::try_from(rank >> TIME_BITS).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranks_sort_by_priority_and_then_by_time(a: u8, b: u8, earlier in 0..TIME_MAX, later in 0..TIME_MAX) {
            let (one, other) = (rank(a, Timestamp(earlier)), rank(b, Timestamp(later)));
            prop_assert_eq!((a, earlier).cmp(&(b, later)), one.cmp(&other));
            prop_assert_eq!(priority(one), a);
            prop_assert_eq!(one as f64 as i64, one, "Redis keeps it as a double");
        }
    }
}
