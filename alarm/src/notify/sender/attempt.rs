//! One attempt of a bot: what it sends, what came back, and what is recorded of it.

use std::time::Duration;

use channels::{Answer, How, Message, Whose};
use db::messages::AttemptRow;
use model::Timestamp;

use super::super::{gather, transport};
use super::{Bot, Item, Sender, Team};

/// The result of an attempt whose answer did not come yet, or never came because the process was killed.
const BEGUN: &str = "begun";

/// What came of an attempt.
pub(super) struct Tried {
    pub(super) ids: Vec<String>,
    pub(super) bot: usize,
    pub(super) answer: Answer,
    pub(super) began_at: Timestamp,
    pub(super) took: Duration,
}

impl Sender {
    /// The platform counts a message from the moment it has it. A process that is killed before the answer must
    /// count it too, or the next one sends too fast.
    pub(super) async fn note_beginning(&self, bot: usize, ids: &[String], now: Timestamp) {
        let is_limited = self.views[bot].limits.per_minute > 0;
        let Some(first) = ids.first().filter(|_| is_limited) else { return };
        let took = Duration::ZERO;
        let bot = &self.team().bots[bot];
        let attempt = AttemptRow { result: BEGUN.to_owned(), ..attempt_of(first, bot, now, took) };
        if let Err(error) = self.office.common.db.messages().settle(&[], &[attempt]).await {
            self.store_failed("note that a message is being sent", &daemon::error_chain(&error));
        }
    }

    pub(super) async fn attempt(
        &self,
        bot: usize,
        ids: Vec<String>,
        parcel: Result<Parceled, Answer>,
        began_at: Timestamp,
    ) -> Tried {
        let stopwatch = tokio::time::Instant::now();
        let answer = match parcel {
            Ok(parcel) => self.send(&self.team().bots[bot], parcel).await,
            Err(answer) => answer,
        };
        Tried { ids, bot, answer, began_at, took: stopwatch.elapsed() }
    }

    async fn send(&self, bot: &Bot, parcel: Parceled) -> Answer {
        let channel = bot.spec.channel();
        let token = match self.office.access(bot, self.team().timeout).await {
            Ok(token) => token,
            Err(answer) => return answer,
        };
        let how = How { now: self.now(), token: &token, is_plain: parcel.is_plain };
        let answer = match channel.parcel(&parcel.message, &parcel.address, how) {
            Ok(built) => {
                let timeout = self.team().timeout;
                transport::deliver(&self.office.http, &bot.spec, built, timeout).await
            }
            Err(fault) => Answer::Refused { fault, whose: Whose::Message },
        };
        match answer {
            // The next bot has another address of the same person.
            Answer::Refused { fault, whose: Whose::Recipient } if parcel.has_more_addresses => {
                Answer::Refused { fault, whose: Whose::Bot }
            }
            answer => answer,
        }
    }

    /// What a bot shall send; or what comes of it without an attempt.
    pub(super) fn parceled(
        &self,
        bot: &Bot,
        items: &[&Item],
        now: Timestamp,
    ) -> Result<Parceled, Answer> {
        let Some(first) = items.first() else { return Err(nothing()) };
        let mutes = self.office.mutes.known();
        let is_called = |item: &Item, user: &str| match &item.body.subject {
            Some(subject) => mutes.holding(user, subject, now).is_none(),
            None => true,
        };
        let mut messages: Vec<Message> =
            items.iter().map(|item| item.body.message_for(bot.spec.kind())).collect();
        for (message, item) in messages.iter_mut().zip(items) {
            // Who muted it after it was built is not called by name either.
            message.mentions.retain(|mention| is_called(item, &mention.user));
        }
        let message = match messages.len() {
            1 => messages.pop(),
            _ => {
                let messages: Vec<&Message> = messages.iter().collect();
                gather::digest(first, &messages, bot.spec.kind(), now)
            }
        };
        let address = match &first.progress.moved_to {
            Some(moved) => moved.clone(),
            None => first.body.address_for(&bot.spec, &first.row.recipient)?,
        };
        Ok(Parceled {
            message: message.ok_or_else(nothing)?,
            address,
            is_plain: first.progress.is_plain,
            has_more_addresses: first.body.addresses.is_some(),
        })
    }

    /// An answer may repeat the address it was asked at, and it is stored, logged and shown.
    pub(super) fn without_secrets(&self, bot: usize, answer: Answer, now: Timestamp) -> Answer {
        if answer.fault().is_none() {
            return answer;
        }
        let mut secrets = self.team().bots[bot].spec.exposed();
        secrets.extend(self.office.token(&self.views[bot].account, now));
        answer.without(&secrets.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// What an attempt needs of the messages it is about.
pub(super) struct Parceled {
    pub(super) message: Message,
    address: String,
    is_plain: bool,
    /// Whether another bot would reach the person under another address.
    has_more_addresses: bool,
}

fn nothing() -> Answer {
    channels::next::unreachable(false, "there is nothing to send")
}

pub(super) fn attempt_row(
    id: &str,
    team: &Team,
    bot: usize,
    answer: &Answer,
    began_at: Timestamp,
    took: Duration,
) -> AttemptRow {
    let fault = answer.fault();
    AttemptRow {
        result: answer.word().to_owned(),
        code: fault.map_or(String::new(), |fault| fault.code.clone()),
        detail: fault.map_or(String::new(), |fault| fault.text.clone()),
        ..attempt_of(id, &team.bots[bot], began_at, took)
    }
}

/// An attempt of which the answer is not known.
fn attempt_of(id: &str, bot: &Bot, began_at: Timestamp, took: Duration) -> AttemptRow {
    AttemptRow {
        message_id: id.to_owned(),
        channel: bot.spec.kind().to_owned(),
        bot: bot.name.clone(),
        account: bot.account.clone(),
        tried_at: began_at,
        duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        result: String::new(),
        code: String::new(),
        detail: String::new(),
    }
}
