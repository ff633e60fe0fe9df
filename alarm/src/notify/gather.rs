//! What waits so that it goes together: messages of low priority, a few minutes long, and what is held for the end of a
//! person's quiet hours. Pure but for storing which alerts a link leads to.
//!
//! A message that waits is a row like any other, with the moment it may go as `next_at` and a word in its progress: those to
//! one recipient with the same word go as one. So a kill loses nothing, and whoever sends looks again before it sends.

use std::collections::HashMap;
use std::time::Duration;

use channels::next::Progress;
use channels::{Kind, Message, compose};
use db::AlertList;
use db::messages::MessageRow;
use jiff::tz::TimeZone;
use model::{Fingerprint, Labels, Timestamp};

use super::desk::{DIGEST_MAX, Desk, Item};
use super::office::Office;
use crate::directory::Directory;
use crate::quiet::spoken;

/// Messages of this priority and below gather, as in Open-Falcon; those above never do.
const LOW: u8 = 3;
/// The word of what is held for the end of quiet hours.
const QUIET: &str = "quiet";
/// What stands as code of a message that is held by quiet hours.
pub(crate) const QUIET_HOURS: &str = "quiet_hours";
/// What stands as code of a message that waits for others of low priority.
pub(crate) const GATHERED: &str = "gathered";
const TEST: &str = "test";

/// Why a message waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wait {
    until: Timestamp,
    /// The messages with the same word go with it.
    together: String,
    /// Why, in one word.
    pub(super) code: &'static str,
    detail: String,
}

/// Who asks for how long a message waits, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clerk<'a> {
    pub(super) directory: &'a Directory,
    /// Of people who have none of their own.
    pub(super) zone: &'a TimeZone,
    pub(super) now: Timestamp,
}

impl Clerk<'_> {
    /// Whether a new message waits. `address` is empty for a chat, which has no quiet hours; `low_for` is how long its
    /// receiver gathers what is not urgent, nothing for not at all.
    pub(super) fn new_message(
        &self,
        row: &MessageRow,
        address: &str,
        labels: &Labels,
        low_for: Duration,
    ) -> Option<Wait> {
        self.quiet(row, address).or_else(|| {
            let is_about_alerts = matches!(row.kind.as_str(), "firing" | "resolved");
            if row.urgency < LOW || !is_about_alerts || low_for.is_zero() {
                return None;
            }
            let until = next_turn(&row.recipient, low_for, self.now);
            let name = labels.get("alertname").unwrap_or("");
            Some(Wait {
                until,
                together: format!("P{}|{}|{name}", row.urgency, row.kind),
                code: GATHERED,
                detail: format!("low priority: goes with others at {}", until.rfc3339()),
            })
        })
    }

    fn quiet(&self, row: &MessageRow, address: &str) -> Option<Wait> {
        if address.is_empty() || row.kind == TEST {
            return None;
        }
        let (user, priority) = (&row.recipient, row.urgency);
        let until = self.directory.quiet_until(user, priority, self.zone, self.now)?;
        Some(Wait {
            until,
            together: QUIET.to_owned(),
            code: QUIET_HOURS,
            detail: format!("{user} has quiet hours until {}", spoken(until, self.zone)),
        })
    }

    /// Which messages at hand wait now, and which need not wait any more since quiet hours changed.
    pub(super) fn changes(&self, desk: &Desk) -> Vec<(String, Option<Wait>)> {
        let mut known: HashMap<(&str, u8), Option<Timestamp>> = HashMap::new();
        let mut until = |item: &Item| {
            let (user, priority) = (item.row.recipient.as_str(), item.row.urgency);
            // Borrowed from the desk, which outlives the map.
            self.directory.users.get_key_value(user).and_then(|(user, _)| {
                *known.entry((user.as_str(), priority)).or_insert_with(|| {
                    self.directory.quiet_until(user, priority, self.zone, self.now)
                })
            })
        };
        let due = desk.due(self.now).filter(|item| until(item).is_some());
        let mut changes: Vec<_> = due
            .filter_map(|item| {
                Some((item.row.id.to_owned(), Some(self.quiet(&item.row, &item.body.address)?)))
            })
            .collect();
        let held = desk.waiting(self.now).filter(|item| item.row.code == QUIET_HOURS);
        let freed = held.filter(|item| until(item) != Some(item.row.next_at));
        changes.extend(
            freed.map(|item| (item.row.id.to_owned(), self.quiet(&item.row, &item.body.address))),
        );
        changes
    }
}

/// The end of the turn that a moment falls into: each recipient has a turn every `each`, and not all at one moment.
fn next_turn(recipient: &str, each: Duration, now: Timestamp) -> Timestamp {
    let each = i64::try_from(each.as_millis()).unwrap_or(i64::MAX).max(1);
    let hash = Labels::from_pairs([("recipient", recipient)]).hash();
    let begins = i64::try_from(hash % each.unsigned_abs()).unwrap_or(0);
    Timestamp(now.0 + each - (now.0 - begins).rem_euclid(each))
}

impl Wait {
    /// Has a row wait that is not stored yet.
    pub(super) fn hold(self, row: &mut MessageRow) {
        let mut progress: Progress = serde_json::from_str(&row.progress).unwrap_or_default();
        progress.together = self.together;
        row.progress = serde_json::to_string(&progress).unwrap_or_default();
        (row.next_at, row.detail) = (self.until, self.detail);
        self.code.clone_into(&mut row.code);
    }
}

impl Item {
    /// Has it wait, or not any more.
    pub(super) fn wait(&mut self, wait: Option<Wait>, now: Timestamp) {
        match wait {
            Some(wait) => {
                self.progress.together.clone_from(&wait.together);
                wait.hold(&mut self.row);
            }
            None => {
                self.row.next_at = now;
                self.row.code.clear();
                self.row.detail.clear();
            }
        }
    }
}

/// The messages that go with one that may go now: itself, if it goes alone. `None` when it is for the limits of the bots to
/// say.
pub(super) fn together(head: &Item, due: &[&Item], bot: usize) -> Option<Vec<String>> {
    let word = &head.progress.together;
    if word.is_empty() {
        return None;
    }
    let goes_along = |item: &&&Item| item.progress.together == *word && item.takes(bot);
    Some(due.iter().filter(goes_along).take(DIGEST_MAX).map(|item| item.row.id.clone()).collect())
}

/// One message in place of many.
pub(super) fn digest(
    first: &Item,
    messages: &[&Message],
    kind: &str,
    now: Timestamp,
) -> Option<Message> {
    match first.progress.together.as_str() {
        "" => compose::digest(messages, now),
        QUIET => compose::after_quiet_hours(messages, now),
        _ => compose::gathered(messages, first.row.urgency, kind == "mail", now),
    }
}

impl Office {
    /// Has the link of a digest lead to its alerts. Without it the link leads to a page that says so.
    pub(super) async fn keep_list(&self, message: &Message, now: Timestamp) {
        if message.kind != Kind::Digest {
            return;
        }
        let mut alerts = Vec::new();
        for alert in &message.group.alerts {
            alerts
                .extend(Fingerprint::parse(&alert.fingerprint).filter(|one| !alerts.contains(one)));
        }
        let list = AlertList { created_at: now, alerts };
        let id = compose::list_of(&message.key);
        if let Err(error) = self.common.db.messages().keep_list(id, &list).await {
            self.common.metrics.store_failures.inc();
            let error = daemon::error_chain(&error);
            tracing::error!(error, "cannot store which alerts a message is about");
        }
    }
}

#[cfg(test)]
mod tests {
    use channels::Urgency;

    use super::*;
    use crate::directory::tests::user;
    use crate::notify::desk::tests::item;
    use crate::quiet::QuietConfig;

    const NOW: Timestamp = Timestamp(1_767_650_400_000); // 2026-01-05T22:00:00Z

    fn directory(line: &str) -> Directory {
        let mut ann = user("ann", &[]);
        ann.quiet.extend(QuietConfig::from_line(line));
        Directory::of((&[ann], &[]), Vec::new(), &TimeZone::UTC)
    }

    fn clerk(directory: &Directory, now: Timestamp) -> Clerk<'_> {
        static ZONE: TimeZone = TimeZone::UTC;
        Clerk { directory, zone: &ZONE, now }
    }

    fn row(priority: u8, kind: &str) -> MessageRow {
        let row = item("m", Urgency::Normal, "ann", NOW).row;
        MessageRow { urgency: priority, kind: kind.to_owned(), ..row }
    }

    const FIVE: Duration = Duration::from_secs(300);

    #[test]
    fn low_priority_waits_for_its_turn_and_goes_with_its_like() {
        let (nobody, disk) = (Directory::default(), Labels::from_pairs([("alertname", "disk")]));
        let wait = |priority, kind: &str, low_for| {
            clerk(&nobody, NOW).new_message(&row(priority, kind), "ann", &disk, low_for)
        };
        for urgent in 0..=2 {
            assert_eq!(wait(urgent, "firing", FIVE), None, "P{urgent} never gathers");
        }
        let low = wait(3, "firing", FIVE).unwrap();
        assert!(low.until > NOW && low.until.since(NOW) <= FIVE, "{low:?}");
        assert_eq!(low.together, "P3|firing|disk");
        assert_eq!(wait(6, "resolved", FIVE).unwrap().together, "P6|resolved|disk");
        assert_eq!(wait(6, "reminder", FIVE), None);
        assert_eq!(wait(6, "test", FIVE), None);
        assert_eq!(wait(6, "firing", Duration::ZERO), None, "the receiver gathers nothing");
        let mut held = row(3, "firing");
        low.hold(&mut held);
        let progress: Progress = serde_json::from_str(&held.progress).unwrap();
        assert_eq!(progress.together, "P3|firing|disk");
        assert_eq!(held.code, GATHERED);
    }

    #[test]
    fn every_turn_ends_once_in_its_time_and_not_for_all_at_one_moment() {
        let first = next_turn("ann", FIVE, NOW);
        assert_eq!(next_turn("ann", FIVE, Timestamp(first.0 - 1)), first);
        assert_eq!(next_turn("ann", FIVE, first), first.plus(FIVE), "who comes later waits anew");
        let others: std::collections::HashSet<i64> =
            (0..20).map(|n| next_turn(&format!("user{n}"), FIVE, NOW).0).collect();
        assert!(others.len() > 10);
    }

    #[test]
    fn quiet_hours_hold_what_is_below_their_priority_for_persons_and_not_for_chats() {
        let directory = directory("22:00-08:00");
        let labels = Labels::empty();
        let clerk = clerk(&directory, NOW);
        let wait = |priority, kind: &str, address: &str| {
            clerk.new_message(&row(priority, kind), address, &labels, FIVE)
        };
        let held = wait(2, "firing", "user:ann").unwrap();
        assert_eq!(held.until.rfc3339(), "2026-01-06T08:00:00.000Z");
        assert_eq!((held.together.as_str(), held.code), (QUIET, QUIET_HOURS));
        assert_eq!(held.detail, "ann has quiet hours until 2026-01-06 08:00 +00:00");
        assert_eq!(wait(3, "firing", "user:ann").unwrap().code, QUIET_HOURS, "before gathering");
        assert_eq!(wait(1, "firing", "user:ann"), None);
        assert_eq!(wait(2, "firing", ""), None, "a chat of this name");
        assert_eq!(wait(2, "test", "user:ann"), None);
    }

    #[test]
    fn what_is_due_in_quiet_hours_waits_and_what_they_held_goes_when_they_are_taken_back() {
        let mut desk = Desk::default();
        for (id, priority) in [("urgent", 1), ("other", 2)] {
            let mut message = item(id, Urgency::Normal, "ann", NOW);
            message.row.urgency = priority;
            desk.add(message);
        }
        let quiet = directory("22:00-08:00");
        let changes = clerk(&quiet, NOW).changes(&desk);
        assert_eq!(changes.len(), 1, "{changes:?}");
        let (id, wait) = changes.into_iter().next().unwrap();
        assert_eq!(id, "other");
        let mut other = desk.take(&id).unwrap();
        other.wait(wait, NOW);
        desk.add(other);
        assert!(clerk(&quiet, NOW).changes(&desk).is_empty(), "it waits already");
        let longer = directory("22:00-09:00");
        let changes = clerk(&longer, NOW).changes(&desk);
        assert_eq!(changes[0].1.as_ref().unwrap().until.rfc3339(), "2026-01-06T09:00:00.000Z");
        let changes = clerk(&Directory::default(), NOW).changes(&desk);
        assert_eq!(changes, [("other".to_owned(), None)]);
        let mut other = desk.take("other").unwrap();
        other.wait(None, NOW);
        assert_eq!((other.row.next_at, other.row.code.as_str()), (NOW, ""));
        assert_eq!(other.progress.together, QUIET, "what was held goes as one all the same");
    }

    #[test]
    fn only_messages_with_the_same_word_go_together() {
        let mut items: Vec<Item> =
            (0..5).map(|n| item(&format!("m{n}"), Urgency::Normal, "ann", NOW)).collect();
        for (item, word) in items.iter_mut().zip(["a", "b", "a", "", "a"]) {
            word.clone_into(&mut item.progress.together);
        }
        items[4].progress.gone.push(0);
        let due: Vec<&Item> = items.iter().collect();
        assert_eq!(
            together(due[0], &due, 0).unwrap(),
            ["m0", "m2"],
            "the last is not for this bot"
        );
        assert_eq!(together(due[1], &due, 0).unwrap(), ["m1"]);
        assert_eq!(together(due[3], &due, 0), None);
    }
}
