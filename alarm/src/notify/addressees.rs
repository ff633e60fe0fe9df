//! To whom the messages of a notification go: the people of the settings, those of the directory, or a chat.

use std::collections::BTreeMap;

use channels::{Language, Mention};
use jiff::tz::TimeZone;
use model::Timestamp;

use super::office::{Office, Person, Team};
use crate::directory::Directory;
use crate::notification::Notification;
use crate::recipients;

/// One recipient of messages.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Addressee {
    /// Name of the person, or of the receiver for its chat.
    pub(super) user: String,
    /// The address on the channel of the bots; empty for a chat. Of people of the directory it only tells their
    /// messages from those of others.
    pub(super) address: String,
    /// Addresses by family, of people of the directory.
    pub(super) addresses: Option<BTreeMap<String, String>>,
    pub(super) language: Language,
    pub(super) zone: TimeZone,
    /// Who is called by name in a chat.
    pub(super) mentions: Vec<Mention>,
    /// Whether the message goes to a chat, where anybody who is linked may press.
    pub(super) is_chat: bool,
}

impl Office {
    /// To whom a notification goes; without one, to whom one of this moment would go.
    pub(super) async fn addressees(
        &self,
        team: &Team,
        about: Option<(&Notification, &str)>,
        at: Timestamp,
    ) -> anyhow::Result<Vec<Addressee>> {
        if !team.people.is_empty() {
            return Ok(team.people.iter().map(|person| self.named(person)).collect());
        }
        let chat = |mentions| Addressee {
            user: team.receiver.clone(),
            address: String::new(),
            addresses: None,
            language: team.language,
            zone: self.zone.clone(),
            mentions,
            is_chat: true,
        };
        if team.recipients.is_empty() {
            return Ok(vec![chat(Vec::new())]);
        }
        let ended = about.filter(|(notification, _)| notification.firing().next().is_none());
        if team.is_told_in_chat() {
            // Whoever was called for the beginning need not come for the end.
            let people = if ended.is_some() { Vec::new() } else { self.people_of(team, at) };
            let directory = self.common.directory.known();
            let mentions = people.into_iter().map(|name| mention(name, &directory));
            return Ok(vec![chat(mentions.collect())]);
        }
        let mut people = Vec::new();
        if let Some((notification, thread)) = ended {
            // Who heard of the beginning hears of the end, whoever is on call by then.
            let begun = notification.alerts.iter().map(|alert| alert.starts_at).min();
            let messages = self.common.db.messages();
            people = messages.told_of_beginning(thread, begun.unwrap_or(at)).await?;
        }
        if people.is_empty() {
            people = self.people_of(team, at);
        }
        if people.is_empty() {
            // An alert must not be lost for a mistake in the directory.
            return Ok(vec![chat(Vec::new())]);
        }
        let directory = self.common.directory.known();
        Ok(people.into_iter().map(|name| self.person(team, name, &directory)).collect())
    }

    fn people_of(&self, team: &Team, at: Timestamp) -> Vec<String> {
        let found = recipients::find(&team.recipients, &self.common.directory.known(), at);
        for sentence in &found.amiss {
            self.metrics.amiss_recipients.inc();
            tracing::warn!(receiver.name = team.receiver, "{sentence}");
        }
        found.people
    }

    /// A person of the settings.
    pub(super) fn named(&self, person: &Person) -> Addressee {
        Addressee {
            user: person.user.clone(),
            address: person.address.clone(),
            addresses: None,
            language: person.language,
            zone: self.zone.clone(),
            mentions: Vec::new(),
            is_chat: false,
        }
    }

    /// A person of the directory.
    pub(super) fn person(&self, team: &Team, name: String, directory: &Directory) -> Addressee {
        let known = directory.users.get(&name).map(|user| &user.config);
        let zone = known.filter(|user| !user.time_zone.is_empty());
        let zone = zone.and_then(|user| TimeZone::get(&user.time_zone).ok());
        Addressee {
            address: format!("user:{name}"),
            addresses: Some(known.map(|user| user.addresses.clone()).unwrap_or_default()),
            language: known.and_then(|user| user.language).unwrap_or(team.language),
            zone: zone.unwrap_or_else(|| self.zone.clone()),
            mentions: Vec::new(),
            is_chat: false,
            user: name,
        }
    }
}

fn mention(name: String, directory: &Directory) -> Mention {
    let addresses = directory.users.get(&name).map(|user| user.config.addresses.clone());
    Mention { user: name, addresses: addresses.unwrap_or_default() }
}
