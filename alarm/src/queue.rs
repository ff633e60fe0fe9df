//! One priority queue an integration, so that one that is away never holds up another.
//!
//! A ticket on a queue names a group and the alerts that are news, not what to tell: that is decided from the
//! state of the alerts when the ticket is taken. So a backlog can never send outdated news.
//!
//! Several instances share the queues on Redis. Where this process is alone they are in its memory: a ticket says
//! nothing that the store does not say, and after a restart the tickets are made again from there
//! ([`Groups::rebuild`](crate::group::Groups::rebuild)).

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use model::{Fingerprint, FingerprintSet, Labels, Timestamp};
use serde::{Deserialize, Serialize};
use state::{Event, NewEvent, PLACES_PER_OLDEST, State};
use tokio::sync::Notify;

/// A clock that shows so much less than before was set back.
pub(crate) const SET_BACK: Duration = Duration::from_secs(10);

/// What lies on a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ticket {
    /// Which group, as a number: no two tickets of one group are worked on at once.
    pub(crate) group: u64,
    /// Identity of the group in messages.
    pub(crate) group_key: String,
    /// The labels of the group.
    pub(crate) labels: Labels,
    /// The labels of the route; values may be templates.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub(crate) route_labels: Labels,
    /// The alerts to look at.
    pub(crate) alerts: Vec<Fingerprint>,
    /// Alerts of the group that fire and are not among them.
    pub(crate) left_out: u64,
    /// Whether what was told before `at` is told again.
    pub(crate) is_repeat: bool,
    /// Whether the receiver is told because nobody took the alerts.
    pub(crate) is_escalation: bool,
    /// If so, after how long without anybody.
    #[serde(default)]
    pub(crate) escalates_after_ms: u64,
    /// After how long what fires is told again, as things stand.
    pub(crate) repeat_interval_ms: u64,
    /// When it was decided.
    pub(crate) at: Timestamp,
    /// When the first thing in it happened.
    pub(crate) event_at: Timestamp,
}

/// A ticket with its id and priority, before it lies on a queue.
pub(crate) type NewTicket = (String, u8, Arc<Ticket>);

/// The queue of one integration; clones are the same queue.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    place: Place,
    /// Rings when there may be something to take.
    bell: Arc<Notify>,
}

/// Where tickets lie.
#[derive(Debug, Clone)]
enum Place {
    Here(Arc<Mutex<Tray>>),
    Shared { name: String, state: State },
}

impl Queue {
    /// Puts tickets with their ids on the queue; one with the same id that is still there is kept instead.
    pub(crate) async fn push(&self, tickets: Vec<NewTicket>, now: Timestamp) -> anyhow::Result<()> {
        match &self.place {
            Place::Here(tray) => locked(tray).push(tickets),
            Place::Shared { name, state } => {
                let events: Vec<NewEvent> = tickets
                    .into_iter()
                    .map(|(id, priority, ticket)| {
                        let body = serde_json::to_vec(&*ticket).context("write a ticket")?;
                        Ok(NewEvent { id, priority, body })
                    })
                    .collect::<anyhow::Result<_>>()?;
                state.push_events(name, &events, now).await?;
            }
        }
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
    ) -> anyhow::Result<Vec<(String, Arc<Ticket>)>> {
        let (name, state) = match &self.place {
            Place::Here(tray) => return Ok(locked(tray).take(max, now.plus(lease), now)),
            Place::Shared { name, state } => (name, state),
        };
        let mut tickets = Vec::new();
        for Event { id, body, .. } in state.take_events(name, max, lease, now).await? {
            match serde_json::from_slice(&body) {
                Ok(ticket) => tickets.push((id, Arc::new(ticket))),
                Err(error) => {
                    let queue = name;
                    tracing::error!(queue, event.id = id, %error, "threw away an unreadable ticket");
                    self.done(&[id]).await?;
                }
            }
        }
        Ok(tickets)
    }

    /// The tickets are worked off.
    pub(crate) async fn done(&self, ids: &[String]) -> anyhow::Result<()> {
        match &self.place {
            Place::Here(tray) => locked(tray).done(ids),
            Place::Shared { name, state } => state.ack_events(name, ids).await?,
        }
        Ok(())
    }

    /// The ticket is to be taken again from `not_before` on.
    pub(crate) async fn put_back(&self, id: &str, not_before: Timestamp) -> anyhow::Result<()> {
        match &self.place {
            Place::Here(tray) => locked(tray).put_back(id, not_before),
            Place::Shared { name, state } => state.return_event(name, id, not_before).await?,
        }
        Ok(())
    }

    /// How many tickets there are, those being worked on included.
    pub(crate) async fn length(&self) -> anyhow::Result<u64> {
        match &self.place {
            Place::Here(tray) => Ok(locked(tray).slips.len() as u64),
            Place::Shared { name, state } => Ok(state.queue_length(name).await?),
        }
    }

    /// The alerts that its tickets are about, those being worked on included; `None` where others have it too.
    pub(crate) fn alerts(&self) -> Option<FingerprintSet> {
        match &self.place {
            Place::Here(tray) => Some(locked(tray).alerts()),
            Place::Shared { .. } => None,
        }
    }

    /// Resolves when there may be something to take.
    pub(crate) async fn rung(&self) {
        self.bell.notified().await;
    }
}

/// The queue of one integration in memory, under the contract and the rule of the shared one ([`PLACES_PER_OLDEST`]),
/// each ticket taken under a lease until it is done. Tickets are numbered as they come.
#[derive(Debug, Default)]
struct Tray {
    slips: HashMap<u64, Slip>,
    numbers: HashMap<String, u64>,
    /// Waiting ones by priority and then by age.
    waiting: BTreeSet<(u8, u64)>,
    /// Waiting ones by age.
    ages: BTreeSet<u64>,
    /// Taken ones by the time they come back.
    taken: BTreeSet<(Timestamp, u64)>,
    pushed: u64,
    handed_out: u64,
    /// When tickets were taken last.
    looked_at: Timestamp,
}

#[derive(Debug)]
struct Slip {
    id: String,
    priority: u8,
    ticket: Arc<Ticket>,
    /// When it comes back, if it is taken.
    hidden_until: Option<Timestamp>,
}

impl Tray {
    fn push(&mut self, tickets: Vec<NewTicket>) {
        for (id, priority, ticket) in tickets {
            if self.numbers.contains_key(&id) {
                continue;
            }
            self.pushed += 1;
            let number = self.pushed;
            self.numbers.insert(id.clone(), number);
            self.slips.insert(number, Slip { id, priority, ticket, hidden_until: None });
            self.list(priority, number);
        }
    }

    fn take(&mut self, max: usize, until: Timestamp, now: Timestamp) -> Vec<(String, Arc<Ticket>)> {
        // By a clock that was set back nothing comes back in time, so all of it does now. What is being worked on
        // is told from that by who works on it.
        let is_set_back = now.plus(SET_BACK) < self.looked_at;
        self.looked_at = now;
        while let Some((at, number)) = self.taken.first().copied()
            && (at <= now || is_set_back)
        {
            self.taken.pop_first();
            if let Some(slip) = self.slips.get_mut(&number) {
                slip.hidden_until = None;
                let priority = slip.priority;
                self.list(priority, number);
            }
        }
        let mut taken = Vec::new();
        while taken.len() < max {
            let is_turn_of_oldest = (self.handed_out + 1).is_multiple_of(PLACES_PER_OLDEST);
            let oldest = if is_turn_of_oldest { self.ages.first().copied() } else { None };
            let most_urgent = || self.waiting.first().map(|(_, number)| *number);
            let Some(number) = oldest.or_else(most_urgent) else { break };
            self.handed_out += 1;
            self.hide(number, until);
            if let Some(slip) = self.slips.get(&number) {
                taken.push((slip.priority, number, (slip.id.clone(), Arc::clone(&slip.ticket))));
            }
        }
        taken.sort_unstable_by_key(|(priority, number, _)| (*priority, *number));
        taken.into_iter().map(|(_, _, named)| named).collect()
    }

    fn done(&mut self, ids: &[String]) {
        for id in ids {
            let number = self.numbers.remove(id);
            let Some((number, slip)) = number.and_then(|n| Some((n, self.slips.remove(&n)?)))
            else {
                continue;
            };
            match slip.hidden_until {
                Some(until) => drop(self.taken.remove(&(until, number))),
                None => self.unlist(slip.priority, number),
            }
        }
    }

    fn put_back(&mut self, id: &str, not_before: Timestamp) {
        if let Some(number) = self.numbers.get(id).copied() {
            self.hide(number, not_before);
        }
    }

    fn hide(&mut self, number: u64, until: Timestamp) {
        let Some(slip) = self.slips.get_mut(&number) else { return };
        let priority = slip.priority;
        match slip.hidden_until.replace(until) {
            Some(before) => drop(self.taken.remove(&(before, number))),
            None => self.unlist(priority, number),
        }
        self.taken.insert((until, number));
    }

    fn alerts(&self) -> FingerprintSet {
        self.slips.values().flat_map(|slip| &slip.ticket.alerts).copied().collect()
    }

    fn list(&mut self, priority: u8, number: u64) {
        self.waiting.insert((priority, number));
        self.ages.insert(number);
    }

    fn unlist(&mut self, priority: u8, number: u64) {
        self.waiting.remove(&(priority, number));
        self.ages.remove(&number);
    }
}

fn locked(tray: &Mutex<Tray>) -> MutexGuard<'_, Tray> {
    tray.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The queues of all integrations; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Queues {
    /// `None` where this process is alone.
    shared: Option<State>,
    known: Arc<Mutex<HashMap<String, Queue>>>,
}

impl Queues {
    /// On this state if others share it.
    pub(crate) fn new(state: &State) -> Self {
        Self { shared: state.is_shared().then(|| state.clone()), known: Arc::default() }
    }

    /// The queue of the integration with this key.
    pub(crate) fn of(&self, key: &str) -> Queue {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = known.get(key) {
            return queue.clone();
        }
        let place = match self.shared.clone() {
            Some(state) => Place::Shared { name: format!("alarm.{key}"), state },
            None => Place::Here(Arc::default()),
        };
        let queue = Queue { place, bell: Arc::default() };
        known.insert(key.to_owned(), queue.clone());
        queue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    fn ticket() -> Ticket {
        Ticket {
            group: 1,
            group_key: String::new(),
            labels: Labels::empty(),
            route_labels: Labels::empty(),
            alerts: Vec::new(),
            left_out: 0,
            is_repeat: false,
            is_escalation: false,
            escalates_after_ms: 0,
            repeat_interval_ms: 1,
            at: Timestamp(1),
            event_at: Timestamp(1),
        }
    }

    fn here() -> Queue {
        Queue { place: Place::Here(Arc::default()), bell: Arc::default() }
    }

    async fn push(queue: &Queue, tickets: impl IntoIterator<Item = (String, u8)>) {
        let tickets = tickets.into_iter().map(|(id, priority)| (id, priority, Arc::new(ticket())));
        queue.push(tickets.collect(), Timestamp(0)).await.unwrap();
    }

    async fn take(queue: &Queue, max: usize, at: i64) -> Vec<String> {
        let taken = queue.take(max, LEASE, Timestamp(at)).await.unwrap();
        taken.into_iter().map(|(id, _)| id).collect()
    }

    #[tokio::test]
    async fn urgent_tickets_overtake_and_one_that_waits_gets_its_turn_all_the_same() {
        let queue = here();
        let old = (0..3).map(|n| (format!("old-{n}"), 6));
        push(&queue, old.chain((0..40).map(|n| (format!("new-{n:02}"), 0)))).await;
        assert_eq!(take(&queue, 2, 0).await, ["new-00", "new-01"]);
        let taken = take(&queue, 8, 0).await;
        assert_eq!(taken.iter().filter(|id| id.starts_with("old")).count(), 1);
        assert_eq!(taken.last().map(String::as_str), Some("old-0"), "last of those it came with");
        assert_eq!(take(&queue, 99, 0).await.len(), 33);
        assert_eq!(queue.length().await.unwrap(), 43);
    }

    #[tokio::test]
    async fn a_clock_that_is_set_back_keeps_no_ticket_away() {
        let (queue, noon) = (here(), 43_200_000);
        push(&queue, [("a".to_owned(), 1), ("b".to_owned(), 1)]).await;
        assert_eq!(take(&queue, 9, noon).await, ["a", "b"]);
        queue.put_back("a", Timestamp(noon + 5_000)).await.unwrap();
        assert!(take(&queue, 9, noon - 9_000).await.is_empty(), "a few seconds are waited out");
        assert_eq!(take(&queue, 9, noon - 3_600_000).await, ["a", "b"]);
        assert!(take(&queue, 9, noon - 3_599_000).await.is_empty(), "by the new time as ever");
    }

    #[tokio::test]
    async fn a_ticket_comes_back_after_its_lease_until_it_is_done() {
        let queue = here();
        push(&queue, [("a".to_owned(), 1), ("a".to_owned(), 0), ("b".to_owned(), 1)]).await;
        assert_eq!(take(&queue, 9, 0).await, ["a", "b"]);
        push(&queue, [("a".to_owned(), 0)]).await;
        assert!(take(&queue, 9, 29_999).await.is_empty(), "it is being worked on");
        queue.put_back("b", Timestamp(40_000)).await.unwrap();
        queue.put_back("unknown", Timestamp(1)).await.unwrap();
        assert_eq!(take(&queue, 9, 30_000).await, ["a"]);
        queue.done(&["a".to_owned(), "unknown".to_owned()]).await.unwrap();
        assert_eq!(take(&queue, 9, 100_000).await, ["b"]);
        queue.done(&["b".to_owned()]).await.unwrap();
        assert_eq!((queue.length().await.unwrap(), take(&queue, 9, 999_999).await.len()), (0, 0));
    }
}
