//! Which messages go out now, by which bot, one by one or as a digest. Pure.

#[cfg(test)]
mod storms;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use channels::mute::Subject;
use channels::next::{Choice, Plan, Progress, Step};
use channels::pace::Pace;
use channels::window::Window;
use channels::{Answer, Fault, Limits, Message, Spec, Urgency, Whose};
use db::messages::{MessageRow, Stage};
use model::Timestamp;
use serde::{Deserialize, Serialize};

use super::gather;
use crate::texts::Written;

/// Messages in one digest.
pub(super) const DIGEST_MAX: usize = 500;
/// An urgent message that waited so long takes its like along.
const URGENT_PATIENCE: Duration = Duration::from_secs(10);

/// What is stored of a message besides its state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Body {
    pub(crate) message: Message,
    /// The recipient's address; empty for the chat that the bot's settings name.
    pub(crate) address: String,
    /// The addresses of a person of the directory by family; then `address` only tells persons apart.
    #[serde(default)]
    pub(crate) addresses: Option<BTreeMap<String, String>>,
    /// What a mute of it would be about.
    pub(crate) subject: Option<Subject>,
    /// What operators' templates make of it, by kind of channel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) written: Vec<Written>,
}

/// A message under way.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) row: MessageRow,
    pub(crate) body: Body,
    pub(crate) progress: Progress,
}

impl Body {
    /// The message in the words for a kind of channel.
    pub(crate) fn message_for(&self, kind: &str) -> Message {
        let mut message = self.message.clone();
        if let Some(written) = self.written.iter().find(|written| written.kind == kind) {
            written.apply(&mut message);
        }
        message
    }

    /// Where a bot sends it. A person of the directory may have no address that the bot can use; another may do.
    pub(crate) fn address_for(&self, spec: &Spec, recipient: &str) -> Result<String, Answer> {
        let Some(addresses) = &self.addresses else { return Ok(self.address.clone()) };
        if !spec.reaches_persons() {
            return Ok(String::new());
        }
        addresses.get(spec.family()).cloned().ok_or_else(|| {
            let text = format!("{recipient} has no address for {}", spec.family());
            Answer::Refused { fault: Fault::new("no_address", &text), whose: Whose::Bot }
        })
    }
}

impl Item {
    /// Reads a stored message; `None` for one that a newer version wrote.
    pub(crate) fn read(row: MessageRow) -> Option<Self> {
        let body: Body = serde_json::from_str(&row.body).ok()?;
        let progress = serde_json::from_str(&row.progress).ok()?;
        Some(Self { row, body, progress })
    }

    /// Whether this bot may try it in this round.
    pub(super) fn takes(&self, bot: usize) -> bool {
        !self.progress.gone.contains(&bot) && !self.progress.tried.contains(&bot)
    }

    fn urgency(&self) -> Urgency {
        self.body.message.urgency
    }

    /// Takes note of a step.
    pub(crate) fn apply(&mut self, step: &Step, is_digest: bool, now: Timestamp) {
        let (stage, next_at) = match step {
            Step::Done if is_digest => (Stage::Digested, now),
            Step::Done => (Stage::Sent, now),
            Step::Again(at) if self.progress.parks == 0 => (Stage::Waiting, *at),
            Step::Again(at) | Step::Park(at) => (Stage::Parked, *at),
            Step::GiveUp => (Stage::Failed, now),
        };
        (self.row.stage, self.row.next_at) = (stage, next_at);
        let is_open = matches!(stage, Stage::Waiting | Stage::Parked);
        self.row.done_at = if is_open { Timestamp(0) } else { now };
        self.row.progress = serde_json::to_string(&self.progress).unwrap_or_default();
    }

    /// Takes note of an answer; says what comes next.
    pub(crate) fn answered(
        &mut self,
        bot: usize,
        bots: usize,
        answer: &Answer,
        is_digest: bool,
        now: Timestamp,
    ) -> Step {
        let step = self.progress.after(bot, bots, answer, &Plan::default(), now);
        let (code, detail) = match answer.fault() {
            Some(fault) => (fault.code.clone(), fault.text.clone()),
            None => (String::new(), String::new()),
        };
        (self.row.code, self.row.detail) = (code, detail);
        self.apply(&step, is_digest, now);
        step
    }
}

/// What is known of a bot when a choice is made.
#[derive(Debug, Clone)]
pub(crate) struct BotView {
    pub(crate) account: String,
    pub(crate) limits: Limits,
    /// Whether it makes phones ring: those of one person only so often, and then for all there is.
    pub(crate) rings: bool,
}

/// The name of the window of a person whose phone rings. No account has such a name.
pub(crate) fn phone_of(recipient: &str) -> String {
    format!("phone/{recipient}")
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// This bot sends these messages: one as it is, several as a digest.
    Send { bot: usize, ids: Vec<String> },
    /// Every bot that may send failed for this message in this round.
    EndRound(String),
    /// Nothing before this moment.
    Wait(Timestamp),
}

/// The open messages of a receiver.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    items: BTreeMap<(u8, Timestamp, String), Item>,
    keys: HashMap<String, (u8, Timestamp, String)>,
    busy: HashSet<String>,
}

impl Desk {
    /// Whether it has this message already.
    pub(crate) fn knows(&self, id: &str) -> bool {
        self.keys.contains_key(id)
    }

    pub(crate) fn add(&mut self, item: Item) {
        let key = (item.row.urgency, item.row.created_at, item.row.id.clone());
        self.keys.insert(item.row.id.clone(), key.clone());
        self.items.insert(key, item);
    }

    /// Takes a message out to work on it; [`Desk::add`] puts it back.
    pub(crate) fn take(&mut self, id: &str) -> Option<Item> {
        let key = self.keys.get(id)?;
        self.busy.remove(id);
        let item = self.items.remove(key);
        self.keys.remove(id);
        item
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Item> {
        self.items.get(self.keys.get(id)?)
    }

    /// These are under way.
    pub(crate) fn mark_busy(&mut self, ids: &[String]) {
        self.busy.extend(ids.iter().cloned());
    }

    /// Messages that are due and not under way.
    pub(crate) fn due(&self, now: Timestamp) -> impl Iterator<Item = &Item> {
        let is_due =
            move |item: &&Item| item.row.next_at <= now && !self.busy.contains(&item.row.id);
        self.items.values().filter(is_due)
    }

    /// Messages whose time has not come.
    pub(super) fn waiting(&self, now: Timestamp) -> impl Iterator<Item = &Item> {
        self.items.values().filter(move |item| item.row.next_at > now)
    }

    /// The next thing to do. Urgent messages come first, and one recipient never waits for another.
    pub(crate) fn next(
        &self,
        bots: &[BotView],
        windows: &HashMap<String, Window>,
        now: Timestamp,
    ) -> Action {
        let mut soonest = Timestamp::MAX;
        for item in self.items.values() {
            if item.row.next_at > now && !self.busy.contains(&item.row.id) {
                soonest = soonest.min(item.row.next_at);
            }
        }
        for due in self.groups(now) {
            let urgency = due[0].urgency();
            let ready = ready(bots, windows, urgency, &due);
            let mut paces = Paces { bots, windows, now, known: None };
            // One that waits for the end of its round must not hold up those behind it.
            for (position, head) in due.iter().enumerate() {
                match head.progress.choose(&ready, &Plan::default(), now) {
                    Choice::Try(bot) => {
                        let pace = paces.of(head, bot);
                        if pace.at_once == 0 {
                            soonest = soonest.min(pace.next_at);
                            continue;
                        }
                        let behind = &due[position..];
                        let ids = if let Some(ids) = gather::together(head, behind, bot) {
                            ids
                        } else if bots[bot].rings || merges(behind, bots, windows, pace, now) {
                            digest(behind, bot)
                        } else {
                            vec![head.row.id.clone()]
                        };
                        return Action::Send { bot, ids };
                    }
                    Choice::EndRound => return Action::EndRound(head.row.id.clone()),
                    Choice::Wait(at) => soonest = soonest.min(at),
                }
            }
        }
        Action::Wait(soonest)
    }

    /// What is due to each recipient, urgent messages apart; who waits for the most important one, and for the
    /// longest, is first.
    fn groups(&self, now: Timestamp) -> Vec<Vec<&Item>> {
        let mut places: HashMap<(Urgency, &str), usize> = HashMap::new();
        let mut groups: Vec<Vec<&Item>> = Vec::new();
        for item in self.due(now) {
            let key = (item.urgency(), item.body.address.as_str());
            let place = *places.entry(key).or_insert(groups.len());
            match groups.get_mut(place) {
                Some(group) => group.push(item),
                None => groups.push(vec![item]),
            }
        }
        groups.sort_by_key(|group| group[0].urgency());
        groups
    }
}

/// At what pace urgent messages go. Asked for each, found once for those to whom the same bots are open.
struct Paces<'a> {
    bots: &'a [BotView],
    windows: &'a HashMap<String, Window>,
    now: Timestamp,
    known: Option<(&'a [usize], Pace)>,
}

impl<'a> Paces<'a> {
    fn of(&mut self, item: &'a Item, bot: usize) -> Pace {
        let progress = &item.progress;
        // One that a bot did not take goes to the next at once, and a phone rings at the pace of its person.
        if item.urgency() == Urgency::Normal || progress.attempts > 0 || self.bots[bot].rings {
            return Pace::FREE;
        }
        if let Some((gone, pace)) = self.known
            && gone == progress.gone
        {
            return pace;
        }
        let none = Window::default();
        let open = |(at, bot): &(usize, &BotView)| !bot.rings && !progress.gone.contains(at);
        let open = self.bots.iter().enumerate().filter(open);
        let windows =
            open.map(|(_, bot)| (self.windows.get(&bot.account).unwrap_or(&none), bot.limits));
        let pace = Pace::of(windows, self.now);
        self.known = Some((&progress.gone, pace));
        pace
    }
}

/// When each bot may send the first of these.
fn ready(
    bots: &[BotView],
    windows: &HashMap<String, Window>,
    urgency: Urgency,
    due: &[&Item],
) -> Vec<Timestamp> {
    let phone = due.first().and_then(|item| windows.get(&phone_of(&item.row.recipient)));
    let may_ring = phone.map_or(Timestamp::MIN, |window| window.calls.ready_at());
    let ready = |bot: &BotView| {
        let window = windows.get(&bot.account);
        let at = window.map_or(Timestamp::MIN, |window| window.ready_at(bot.limits, urgency));
        if bot.rings { at.max(may_ring) } else { at }
    };
    bots.iter().map(ready).collect()
}

/// Whether messages go as one: when the bots cannot take them one by one within a minute, and urgent ones when
/// the next would have to wait or the first has waited for long.
fn merges(
    due: &[&Item],
    bots: &[BotView],
    windows: &HashMap<String, Window>,
    pace: Pace,
    now: Timestamp,
) -> bool {
    let Some(first) = due.first().filter(|_| due.len() > 1) else { return false };
    let urgency = first.urgency();
    let none = Window::default();
    let room = bots
        .iter()
        .map(|bot| windows.get(&bot.account).unwrap_or(&none).room(bot.limits, urgency, now));
    let room = room.fold(0_usize, usize::saturating_add);
    match urgency {
        Urgency::Normal => due.len() > room,
        Urgency::Urgent if room == usize::MAX => false,
        Urgency::Urgent => pace.at_once == 1 || now.since(first.row.created_at) >= URGENT_PATIENCE,
    }
}

fn digest(due: &[&Item], bot: usize) -> Vec<String> {
    due.iter()
        .filter(|item| item.takes(bot))
        .take(DIGEST_MAX)
        .map(|item| item.row.id.clone())
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use channels::Language;
    use channels::compose::{Frame, message};
    use model::Labels;
    use wire::alert::WebhookMessage;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);
    const ROBOT: Limits =
        Limits { per_minute: 18, per_second: 0, reserved_per_minute: 6, text_bytes_max: 1000 };

    pub(crate) fn item(id: &str, urgency: Urgency, address: &str, created_at: Timestamp) -> Item {
        let group = WebhookMessage::new("ops", "{}", Labels::empty(), "", &[], NOW);
        let frame = Frame {
            key: id,
            thread: "t",
            envelope: "",
            urgency,
            language: Language::English,
            zone: &jiff::tz::TimeZone::UTC,
            recipient: address,
        };
        let address = address.to_owned();
        let message = message(frame, group, Vec::new());
        let (addresses, subject, written) = (None, None, Vec::new());
        let body = Body { message, address, addresses, subject, written };
        let row = MessageRow {
            id: id.to_owned(),
            receiver: "ops".to_owned(),
            recipient: body.address.clone(),
            thread: "t".to_owned(),
            kind: "firing".to_owned(),
            urgency: u8::from(urgency == Urgency::Normal),
            stage: Stage::Waiting,
            next_at: created_at,
            created_at,
            done_at: Timestamp(0),
            code: String::new(),
            detail: String::new(),
            progress: "{}".to_owned(),
            body: serde_json::to_string(&body).unwrap(),
        };
        Item::read(row).expect("it was written")
    }

    fn bots(limits: Limits) -> Vec<BotView> {
        let view = |account: &str| BotView { account: account.to_owned(), limits, rings: false };
        ["a", "b"].map(view).to_vec()
    }

    fn desk(count: usize, urgency: Urgency) -> Desk {
        let mut desk = Desk::default();
        for number in 0..count {
            desk.add(item(&format!("{number:04}"), urgency, "", NOW));
        }
        desk
    }

    #[test]
    fn an_urgent_message_overtakes_a_backlog() {
        let mut desk = desk(5, Urgency::Normal);
        desk.add(item("p0", Urgency::Urgent, "", NOW.plus(Duration::from_secs(1))));
        let now = NOW.plus(Duration::from_secs(1));
        let action = desk.next(&bots(Limits::none(1)), &HashMap::new(), now);
        assert_eq!(action, Action::Send { bot: 0, ids: vec!["p0".to_owned()] });
    }

    #[test]
    fn of_messages_that_are_not_urgent_the_higher_priority_goes_first_whoever_came_first() {
        let mut desk = Desk::default();
        let bots = bots(Limits::none(1));
        for priority in (1..=6).rev() {
            let at = NOW.plus(Duration::from_secs(6 - u64::from(priority)));
            let mut item = item(&format!("p{priority}"), Urgency::Normal, "", at);
            item.row.urgency = priority;
            desk.add(item);
        }
        let now = NOW.plus(Duration::from_secs(9));
        let mut order = Vec::new();
        while let Action::Send { ids, .. } = desk.next(&bots, &HashMap::new(), now) {
            desk.mark_busy(&ids);
            order.extend(ids);
        }
        assert_eq!(order, ["p1", "p2", "p3", "p4", "p5", "p6"]);
    }

    #[test]
    fn a_phone_rings_every_three_minutes_at_most_and_then_for_all_there_is() {
        let rings = [BotView { rings: true, ..bots(Limits::none(1)).remove(0) }];
        let mut desk = Desk::default();
        for (id, person) in [("1", "ann"), ("2", "ann"), ("3", "ann"), ("4", "bob")] {
            desk.add(item(id, Urgency::Urgent, person, NOW));
        }
        let mut windows: HashMap<String, Window> = HashMap::new();
        windows.entry(phone_of("ann")).or_default().calls.note(NOW);
        let send = |ids: &[&str]| Action::Send {
            bot: 0,
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        };
        assert_eq!(desk.next(&rings, &windows, NOW), send(&["4"]), "nobody waits for another");
        desk.mark_busy(&["4".to_owned()]);
        let free = NOW.plus(Duration::from_secs(180));
        assert_eq!(desk.next(&rings, &windows, NOW), Action::Wait(free));
        assert_eq!(desk.next(&rings, &windows, free), send(&["1", "2", "3"]));
        // A bot that does not ring steps in meanwhile.
        let both = [rings[0].clone(), bots(Limits::none(1)).remove(1)];
        let stepped_in = Action::Send { bot: 1, ids: vec!["1".to_owned()] };
        assert_eq!(desk.next(&both, &windows, NOW), stepped_in);
    }

    #[test]
    fn what_the_bots_can_take_goes_one_by_one_and_more_goes_as_a_digest() {
        let few = desk(24, Urgency::Normal).next(&bots(ROBOT), &HashMap::new(), NOW);
        assert!(matches!(few, Action::Send { ids, .. } if ids.len() == 1));
        let many = desk(25, Urgency::Normal).next(&bots(ROBOT), &HashMap::new(), NOW);
        assert!(matches!(many, Action::Send { bot: 0, ids } if ids.len() == 25));
        let endless = desk(2_000, Urgency::Normal).next(&bots(ROBOT), &HashMap::new(), NOW);
        assert!(matches!(endless, Action::Send { ids, .. } if ids.len() == DIGEST_MAX));
        let free = desk(2_000, Urgency::Normal).next(&bots(Limits::none(1)), &HashMap::new(), NOW);
        assert!(matches!(free, Action::Send { ids, .. } if ids.len() == 1), "no limit, no digest");
    }

    #[test]
    fn urgent_messages_go_one_by_one_until_they_waited_too_long() {
        let desk = desk(100, Urgency::Urgent);
        let first = desk.next(&bots(ROBOT), &HashMap::new(), NOW);
        assert!(matches!(first, Action::Send { ids, .. } if ids.len() == 1));
        let later = desk.next(&bots(ROBOT), &HashMap::new(), NOW.plus(URGENT_PATIENCE));
        assert!(matches!(later, Action::Send { ids, .. } if ids.len() == 100));
    }

    #[test]
    fn an_urgent_message_that_the_next_would_have_to_wait_behind_takes_it_along() {
        let (mut desk, bots, mut windows) =
            (desk(100, Urgency::Urgent), bots(ROBOT), HashMap::new());
        let mut sizes = Vec::new();
        while let Action::Send { bot, ids } = desk.next(&bots, &windows, NOW) {
            desk.mark_busy(&ids);
            let window: &mut Window = windows.entry(bots[bot].account.clone()).or_default();
            window.take(ROBOT, NOW);
            sizes.push(ids.len());
        }
        assert_eq!(sizes, [vec![1; 30], vec![70]].concat());
        desk.add(item("late", Urgency::Urgent, "", NOW));
        let next_at = NOW.plus(Duration::from_millis(10_167));
        assert_eq!(desk.next(&bots, &windows, NOW), Action::Wait(next_at));
        let late = Action::Send { bot: 1, ids: vec!["late".to_owned()] };
        assert_eq!(desk.next(&bots, &windows, next_at), late);
        // What a bot failed to send goes to the next one at once.
        let mut failed = desk.take("late").unwrap();
        failed.progress.attempts = 1;
        failed.progress.tried.push(0);
        desk.add(failed);
        assert_eq!(desk.next(&bots, &windows, NOW), late);
    }

    #[test]
    fn of_urgent_messages_to_several_whoever_waits_for_the_longest_is_first() {
        let mut desk = Desk::default();
        for (id, address, after) in [("1", "zoe", 0), ("2", "ann", 1), ("3", "ann", 2)] {
            desk.add(item(id, Urgency::Urgent, address, NOW.plus(Duration::from_secs(after))));
        }
        let now = NOW.plus(Duration::from_secs(2));
        let action = desk.next(&bots(ROBOT), &HashMap::new(), now);
        assert_eq!(action, Action::Send { bot: 0, ids: vec!["1".to_owned()] });
    }

    #[test]
    fn the_backup_takes_over_when_the_main_bot_is_full_and_both_full_means_waiting() {
        let (desk, bots) = (desk(1, Urgency::Normal), bots(ROBOT));
        let mut windows = HashMap::from([("a".to_owned(), Window::default())]);
        for _ in 0..12 {
            windows.get_mut("a").unwrap().take(ROBOT, NOW);
        }
        assert!(matches!(desk.next(&bots, &windows, NOW), Action::Send { bot: 1, .. }));
        windows.insert("b".to_owned(), windows["a"].clone());
        let free = NOW.plus(Duration::from_secs(61));
        assert_eq!(desk.next(&bots, &windows, NOW), Action::Wait(free));
    }

    #[test]
    fn a_message_under_way_is_not_sent_twice_and_one_that_waits_holds_nobody_up() {
        let mut desk = desk(2, Urgency::Normal);
        desk.mark_busy(&["0000".to_owned()]);
        let bots = bots(Limits::none(1));
        let action = desk.next(&bots, &HashMap::new(), NOW);
        assert_eq!(action, Action::Send { bot: 0, ids: vec!["0001".to_owned()] });
        desk.mark_busy(&["0001".to_owned()]);
        assert_eq!(desk.next(&bots, &HashMap::new(), NOW), Action::Wait(Timestamp::MAX));
        let mut later = desk.take("0000").unwrap();
        later.apply(&Step::Park(NOW.plus(Duration::from_secs(600))), false, NOW);
        desk.add(later);
        let parked = NOW.plus(Duration::from_secs(600));
        assert_eq!(desk.next(&bots, &HashMap::new(), NOW), Action::Wait(parked));
    }

    #[test]
    fn each_step_has_its_stage() {
        let at = NOW.plus(Duration::from_secs(5));
        for (step, is_digest, stage, is_done) in [
            (Step::Done, false, Stage::Sent, true),
            (Step::Done, true, Stage::Digested, true),
            (Step::Again(at), false, Stage::Waiting, false),
            (Step::Park(at), false, Stage::Parked, false),
            (Step::GiveUp, false, Stage::Failed, true),
        ] {
            let mut item = item("x", Urgency::Normal, "", NOW);
            item.apply(&step, is_digest, NOW);
            assert_eq!(item.row.stage, stage);
            assert_eq!(item.row.done_at.0 > 0, is_done, "{stage:?}");
        }
    }

    #[test]
    fn the_state_of_a_message_survives_the_store() {
        let mut before = item("x", Urgency::Normal, "", NOW);
        let fault = Fault::new("503", "busy");
        let answer = Answer::Later { fault, wait: None };
        before.answered(0, 2, &answer, false, NOW);
        let after = Item::read(before.row.clone()).unwrap();
        assert_eq!(after.progress, before.progress);
        assert_eq!((after.row.code.as_str(), after.row.detail.as_str()), ("503", "busy"));
    }
}
