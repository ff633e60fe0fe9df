//! What a teller has at hand, and in which order. Pure.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use db::alerts::{Delivery, Told};
use model::{Fingerprint, Timestamp};
use tokio::time::Instant;

use crate::notification::Notification;
use crate::queue::Ticket;
use crate::told::Subject;

/// For so long a message whose outcome is not written down holds up the next, where there are few.
const ONE_BY_ONE_FOR: Duration = Duration::from_millis(50);
/// Alerts that one look has in memory, unless one errand alone brings more.
const ALERTS_PER_LOOK: usize = 1_000;

/// All tickets at hand about one group: one look at its alerts serves them all.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Errand {
    pub(super) ticket: Arc<Ticket>,
    pub(super) ids: Vec<String>,
}

/// Keeps two errands about one group from running at once: the second must see what the first one told.
#[derive(Debug, Default)]
pub(super) struct Desk {
    pub(super) running: HashSet<u64>,
    pub(super) held: Vec<Errand>,
    /// To be looked at.
    pub(super) begin: VecDeque<Errand>,
    /// Alerts that are being looked at.
    pub(super) looking: usize,
    /// Looked at and to be sent, the most urgent first.
    ready: VecDeque<Box<Ready>>,
    /// The alerts that those are about.
    ready_alerts: usize,
    pub(super) sending: usize,
    /// When the last one was sent.
    sent_at: Option<Instant>,
    /// To be written down.
    pub(super) settled: Vec<Settled>,
    /// Whether outcomes are being gathered or written down.
    pub(super) is_recording: bool,
}

/// What may leave now.
#[derive(Debug)]
pub(super) enum Turn {
    /// This message.
    Send(Box<Ready>),
    /// Nothing before this moment, unless an outcome is written down earlier.
    Wait(Instant),
    /// Nothing before something else happens.
    Idle,
}

/// A message that can leave.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) errand: Errand,
    /// Whom it is about, and what was told about them before.
    pub(super) subjects: Vec<(Subject, Option<Told>)>,
    pub(super) notification: Notification,
    /// What the pipeline noted on the way.
    pub(super) noted: Vec<Told>,
}

/// What came of an errand.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) group: u64,
    pub(super) ids: Vec<String>,
    pub(super) again: Option<Timestamp>,
    pub(super) told: Vec<Told>,
    pub(super) deliveries: Vec<Delivery>,
}

impl Settled {
    pub(super) fn of(errand: Errand, again: Option<Timestamp>) -> Self {
        let (told, deliveries) = (Vec::new(), Vec::new());
        Self { group: errand.ticket.group, ids: errand.ids, again, told, deliveries }
    }
}

/// How many tickets a teller has at hand: as many as it works off in about a fifth of a second. More would make an urgent
/// one wait for them, and fewer would make small batches.
#[derive(Debug)]
pub(super) struct Reach {
    most: usize,
    since: Instant,
    worked_off: usize,
    was_full: bool,
}

impl Reach {
    const WINDOW: Duration = Duration::from_millis(100);
    /// To begin with, for every message that may be sent at once.
    const FIRST_PER_SENDER: usize = 16;
    /// More than a look, so that the next are taken while those before are written down.
    const MOST: usize = 2_048;

    pub(super) fn new(now: Instant) -> Self {
        Self { most: 0, since: now, worked_off: 0, was_full: false }
    }

    /// How many more tickets may be taken by one that sends so many messages at once.
    pub(super) fn room(&mut self, at_hand: usize, concurrency: usize) -> usize {
        if self.most == 0 {
            self.most = concurrency * Self::FIRST_PER_SENDER;
        }
        self.most = self.most.clamp(concurrency * 2, Self::MOST.max(concurrency * 2));
        self.was_full |= at_hand >= self.most;
        self.most.saturating_sub(at_hand)
    }

    /// So many tickets are done.
    pub(super) fn work_off(&mut self, tickets: usize, now: Instant) {
        self.worked_off += tickets;
        let passed = now.duration_since(self.since);
        if passed < Self::WINDOW {
            return;
        }
        // One that had nothing to do tells nothing about its speed.
        if self.was_full {
            let windows = passed.as_secs_f64() / Self::WINDOW.as_secs_f64();
            self.most = (2.0 * self.worked_off as f64 / windows) as usize;
        }
        *self = Self { since: now, worked_off: 0, was_full: false, ..*self };
    }
}

impl Desk {
    /// The errands to look at next, if not enough alerts wait to be sent.
    pub(super) fn next_look(&mut self) -> Vec<Errand> {
        if self.ready_alerts + self.looking >= ALERTS_PER_LOOK {
            return Vec::new();
        }
        let mut errands = Vec::new();
        let mut alerts = 0;
        while alerts < ALERTS_PER_LOOK
            && let Some(errand) = self.begin.pop_front()
        {
            alerts += errand.ticket.alerts.len();
            errands.push(errand);
        }
        self.looking += alerts;
        errands
    }

    /// The next message to leave, of which so many may be under way. A kill repeats what is sent and not written down;
    /// so where a repeat would be heard and no more is at hand than may be under way, one goes after the other.
    pub(super) fn next_turn(&mut self, most: usize, is_repeat_heard: bool, now: Instant) -> Turn {
        if self.sending >= most || self.ready.is_empty() {
            return Turn::Idle;
        }
        let is_out = self.sending > 0 || !self.settled.is_empty() || self.is_recording;
        let next_at = self.sent_at.map(|at| at + ONE_BY_ONE_FOR);
        if let Some(next_at) = next_at.filter(|at| *at > now)
            && is_out
            && is_repeat_heard
            && self.errands() <= most
        {
            return Turn::Wait(next_at);
        }
        let Some(ready) = self.next_ready() else { return Turn::Idle };
        (self.sending, self.sent_at) = (self.sending + 1, Some(now));
        Turn::Send(ready)
    }

    /// Puts messages behind all that are as urgent or more. Those at hand are few, and what is not urgent has had its
    /// share when the tickets were taken.
    pub(super) fn line_up(&mut self, messages: Vec<Ready>) {
        for message in messages {
            let priority = message.notification.priority;
            let place = self.ready.partition_point(|other| other.notification.priority <= priority);
            self.ready_alerts += message.subjects.len();
            // Those behind it move up by a pointer each.
            self.ready.insert(place, Box::new(message));
        }
    }

    fn next_ready(&mut self) -> Option<Box<Ready>> {
        let ready = self.ready.pop_front()?;
        self.ready_alerts -= ready.subjects.len();
        Some(ready)
    }

    /// Takes tickets; answers with the errands that can start now.
    pub(super) fn admit(&mut self, tickets: Vec<(String, Arc<Ticket>)>) -> Vec<Errand> {
        let mut ready: Vec<Errand> = Vec::new();
        let mut places = HashMap::new();
        for (id, ticket) in tickets {
            let group = ticket.group;
            let (waiting, place) = if self.running.contains(&group) {
                let place = self.held.iter().position(|errand| errand.ticket.group == group);
                (&mut self.held, place.unwrap_or(usize::MAX))
            } else {
                let place = *places.entry(group).or_insert(ready.len());
                (&mut ready, place)
            };
            match waiting.get_mut(place) {
                Some(errand) => {
                    errand.ids.push(id);
                    merge(Arc::make_mut(&mut errand.ticket), &ticket);
                }
                None => waiting.push(Errand { ticket, ids: vec![id] }),
            }
        }
        self.running.extend(ready.iter().map(|errand| errand.ticket.group));
        ready
    }

    /// Errands about these groups are done; answers with those that waited for them.
    pub(super) fn finish(&mut self, groups: &[u64]) -> Vec<Errand> {
        let mut next = Vec::new();
        for group in groups {
            match self.held.iter().position(|errand| errand.ticket.group == *group) {
                Some(position) => next.push(self.held.swap_remove(position)),
                None => {
                    self.running.remove(group);
                }
            }
        }
        next
    }

    pub(super) fn errands(&self) -> usize {
        self.running.len() + self.held.len()
    }
}

/// The later ticket adds its alerts.
fn merge(ticket: &mut Ticket, later: &Ticket) {
    let known: HashSet<Fingerprint> = ticket.alerts.iter().copied().collect();
    ticket.alerts.extend(later.alerts.iter().filter(|alert| !known.contains(alert)));
    ticket.left_out = later.left_out;
    ticket.is_repeat |= later.is_repeat;
    ticket.at = ticket.at.max(later.at);
    ticket.event_at = ticket.event_at.min(later.event_at);
}

#[cfg(test)]
pub(crate) mod tests {
    use model::Labels;

    use super::*;

    pub(crate) fn ticket(group: u64, alerts: &[u64]) -> Arc<Ticket> {
        Arc::new(Ticket {
            group,
            group_key: String::new(),
            labels: Labels::empty(),
            route_labels: Labels::empty(),
            alerts: alerts.iter().map(|alert| Fingerprint(*alert)).collect(),
            left_out: 0,
            is_repeat: false,
            is_escalation: false,
            escalates_after_ms: 0,
            repeat_interval_ms: 1,
            at: Timestamp(1),
            event_at: Timestamp(1),
        })
    }

    fn named(id: &str, group: u64, alerts: &[u64]) -> (String, Arc<Ticket>) {
        (id.to_owned(), ticket(group, alerts))
    }

    #[test]
    fn two_errands_about_one_group_never_run_at_once() {
        let mut desk = Desk::default();
        let ready =
            desk.admit(vec![named("a", 1, &[1, 2]), named("b", 2, &[3]), named("c", 1, &[2, 4])]);
        assert_eq!(ready.len(), 2);
        assert_eq!(ready[0].ids, ["a", "c"], "one look at the state serves both");
        assert_eq!(ready[0].ticket.alerts, [1, 2, 4].map(Fingerprint));
        assert!(desk.admit(vec![named("d", 1, &[5]), named("e", 1, &[6])]).is_empty());
        assert!(desk.finish(&[2]).is_empty());
        let held = desk.finish(&[1]);
        assert_eq!(held[0].ids, ["d", "e"]);
        assert!(desk.admit(vec![named("f", 1, &[7])]).is_empty(), "the held errand runs now");
        assert_eq!(desk.finish(&[1])[0].ids, ["f"]);
        assert!(desk.finish(&[1]).is_empty());
        assert_eq!(desk.admit(vec![named("g", 1, &[8])]).len(), 1);
    }

    fn message(group: u64, priority: u8) -> Ready {
        Ready {
            errand: Errand { ticket: ticket(group, &[group]), ids: Vec::new() },
            subjects: Vec::new(),
            notification: Notification {
                priority,
                ..Notification::test("ops", "http://x", Timestamp(1))
            },
            noted: Vec::new(),
        }
    }

    /// A desk with so many messages that can leave.
    fn busy(count: u64) -> Desk {
        let mut desk = Desk::default();
        let tickets = (1..=count).map(|group| named(&group.to_string(), group, &[group]));
        desk.admit(tickets.collect());
        desk.line_up((1..=count).map(|group| message(group, 3)).collect());
        desk
    }

    /// How many leave at once.
    fn leave(desk: &mut Desk, is_repeat_heard: bool, now: Instant) -> usize {
        let turns = std::iter::repeat_with(|| desk.next_turn(8, is_repeat_heard, now));
        turns.take_while(|turn| matches!(turn, Turn::Send(_))).count()
    }

    #[test]
    fn few_messages_leave_one_by_one_so_that_a_kill_repeats_one() {
        let (mut desk, now) = (busy(5), Instant::now());
        assert_eq!(leave(&mut desk, true, now), 1);
        desk.sending -= 1;
        desk.settled.push(Settled::of(message(1, 3).errand, None));
        assert_eq!(leave(&mut desk, true, now), 0, "it is not written down yet");
        desk.settled.clear();
        desk.is_recording = true;
        assert_eq!(leave(&mut desk, true, now), 0, "nor now");
        desk.is_recording = false;
        desk.finish(&[1]);
        assert_eq!(leave(&mut desk, true, now), 1);
        let turn = desk.next_turn(8, true, now);
        assert!(matches!(turn, Turn::Wait(at) if at == now + ONE_BY_ONE_FOR), "{turn:?}");
        assert_eq!(leave(&mut desk, true, now + ONE_BY_ONE_FOR), 1, "a slow answer holds up none");
    }

    #[test]
    fn many_messages_leave_together_and_so_do_those_whose_repeat_nobody_hears() {
        assert_eq!(leave(&mut busy(9), true, Instant::now()), 8);
        assert_eq!(leave(&mut busy(5), false, Instant::now()), 5);
    }

    #[test]
    fn an_urgent_message_leaves_before_those_that_were_looked_at_earlier() {
        let mut desk = Desk::default();
        desk.line_up(vec![message(1, 6), message(2, 3), message(3, 6)]);
        desk.line_up(vec![message(4, 0), message(5, 3)]);
        let groups: Vec<u64> = desk.ready.iter().map(|ready| ready.errand.ticket.group).collect();
        assert_eq!(groups, [4, 2, 5, 1, 3]);
    }

    #[test]
    fn no_more_alerts_are_in_memory_than_can_be_sent_soon() {
        let mut desk = Desk::default();
        let many: Vec<u64> = (0..600).collect();
        let numbers = ["a", "b", "c"].into_iter().zip(1..);
        let tickets = numbers.map(|(id, group)| named(id, group, &many)).collect();
        let begin = desk.admit(tickets);
        desk.begin.extend(begin);
        assert_eq!(desk.next_look().len(), 2, "the second fills it");
        assert!(desk.next_look().is_empty());
        desk.looking -= 600;
        assert_eq!(desk.next_look().len(), 1);
    }

    #[test]
    fn a_teller_has_at_hand_what_it_works_off_soon() {
        let began = Instant::now();
        let mut at = began;
        let mut work = |reach: &mut Reach, tickets: usize, millis: u64| {
            let room = reach.room(tickets, 8);
            at += Duration::from_millis(millis);
            reach.work_off(tickets, at);
            room
        };
        let mut reach = Reach::new(began);
        assert_eq!(work(&mut reach, 128, 100), 0, "sixteen for each of eight");
        assert_eq!(work(&mut reach, 256, 100), 0, "it is fast: twice what it did");
        assert_eq!(reach.room(0, 8), 512);
        assert_eq!(work(&mut reach, 10, 100), 502, "little to do is no reason for less");
        assert_eq!(reach.room(0, 8), 512);
        assert_eq!(work(&mut reach, 512, 10_000), 0, "a slow receiver");
        assert_eq!(reach.room(0, 8), 16, "two for each is the least");
        for _ in 0..9 {
            let most = reach.room(0, 8);
            work(&mut reach, most, 100);
        }
        assert_eq!(reach.room(0, 8), 2_048, "and there is a most");
    }
}
