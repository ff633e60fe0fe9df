//! The buttons of a message: handles where the platform calls back, signed links elsewhere.

use std::time::Duration;

use channels::handle::{self, Act};
use channels::link::{ClaimLink, MuteLink};
use channels::mute::Subject;
use channels::{Button, sign};
use model::Fingerprint;
use serde::{Deserialize, Serialize};

use super::addressees::Addressee;
use super::office::{Office, Team};

/// How long a link works.
const LINK_LIFE: Duration = Duration::from_secs(24 * 3600);
/// How long a button works.
pub(crate) const HANDLE_LIFE: Duration = Duration::from_secs(7 * 86_400);
/// Alerts that one press takes at most; the others of a larger group are taken on the page.
const ALERTS_MAX: usize = 1_000;

/// What a button's handle stands for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Handled {
    /// Who would be muted: a person, or the receiver for its chat.
    pub(crate) user: String,
    /// What a mute would be about; nothing for a group about many things.
    pub(crate) subject: Option<Subject>,
    pub(crate) thread: String,
    /// Whether the message went to a chat, where anybody who is linked may press.
    pub(crate) is_chat: bool,
    /// Who is called by name in the chat: they mute themselves there.
    #[serde(default)]
    pub(crate) people: Vec<String>,
    /// What is taken or put off, as fingerprints in hexadecimal digits.
    #[serde(default)]
    pub(crate) alerts: Vec<String>,
}

impl Handled {
    /// The alerts that a press takes or puts off.
    pub(crate) fn fingerprints(&self) -> Vec<Fingerprint> {
        self.alerts.iter().filter_map(|text| Fingerprint::parse(text)).collect()
    }
}

/// What the buttons of a message are about.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) thread: &'a str,
    pub(super) subject: Option<&'a Subject>,
    /// The alerts that fire: what ended cannot be taken.
    pub(super) firing: &'a [Fingerprint],
}

impl Office {
    pub(super) async fn buttons(
        &self,
        team: &Team,
        to: &Addressee,
        about: About<'_>,
    ) -> anyhow::Result<Vec<Button>> {
        let language = to.language;
        let hears = team.bots.iter().any(|bot| bot.spec.hears());
        let can_do = about.subject.is_some() || !about.firing.is_empty();
        let has_links = !self.links.keys.is_empty() && !about.firing.is_empty();
        let handle = match can_do && (hears || has_links) {
            true => Some(self.new_handle(to, about).await?),
            false => None,
        };
        let pressed = handle.as_deref().filter(|_| hears);
        let action = |act| pressed.map(|handle| handle::value(handle, act));
        let mut buttons = Vec::new();
        let mut add = |label: String, url: String, action: Option<String>| {
            if !url.is_empty() || action.is_some() {
                buttons.push(Button { label, url, action });
            }
        };
        if let Some(subject) = about.subject {
            for act in Act::MUTES {
                let label = match act.seconds() {
                    Some(seconds) => language.mute_for(seconds / 3600),
                    None => language.unmute().to_owned(),
                };
                add(label, self.mute_link(to, about.thread, subject, act), action(act));
            }
        }
        if let Some(handle) = handle.as_deref().filter(|_| !about.firing.is_empty()) {
            add(language.ack().to_owned(), self.claim_link(to, handle), action(Act::Ack));
            // The page behind the link to take it puts off as well.
            add(language.snooze().to_owned(), String::new(), action(Act::Snooze));
        }
        let url = format!("{}/alerts", self.common.config.external_url);
        add(language.open().to_owned(), url, None);
        Ok(buttons)
    }

    async fn new_handle(&self, to: &Addressee, about: About<'_>) -> anyhow::Result<String> {
        let random = sign::sha256(uuid::Uuid::new_v4().as_bytes());
        let mut bytes = [0; 9];
        bytes.copy_from_slice(&random.as_ref()[..9]);
        let handle = handle::handle(bytes);
        let alerts = about.firing.iter().take(ALERTS_MAX).map(Fingerprint::to_string);
        let handled = Handled {
            user: to.user.clone(),
            subject: about.subject.cloned(),
            thread: about.thread.to_owned(),
            is_chat: to.is_chat,
            people: to.mentions.iter().map(|mention| mention.user.clone()).collect(),
            alerts: alerts.collect(),
        };
        let body = serde_json::to_string(&handled)?;
        let until = self.common.clock.now().plus(HANDLE_LIFE);
        self.common.db.mutes().claim(&format!("handle:{handle}"), until, &body).await?;
        Ok(handle)
    }

    /// What a handle stands for; nothing for one that is too old or was never given.
    pub(crate) async fn handled(&self, handle: &str) -> Result<Option<Handled>, db::DbError> {
        let now = self.common.clock.now();
        let stored = self.common.db.mutes().claimed(&format!("handle:{handle}"), now).await?;
        Ok(stored.and_then(|body| serde_json::from_str(&body).ok()))
    }

    /// A signed link; empty without a key. The page behind one link can mute for another length and unmute.
    fn mute_link(&self, to: &Addressee, thread: &str, subject: &Subject, act: Act) -> String {
        let now = self.common.clock.now();
        let link = MuteLink {
            counter: subject.joined(),
            seconds: act.seconds().unwrap_or(0),
            thread: thread.to_owned(),
            expires: now.plus(LINK_LIFE).seconds(),
            id: uuid::Uuid::new_v4().simple().to_string(),
            key: 0,
            scope: subject.scope().to_owned(),
            user: to.user.clone(),
            version: 1,
        };
        self.address("m", self.links.sign(link))
    }

    /// A signed link to the page that takes and puts off; empty without a key.
    fn claim_link(&self, to: &Addressee, handle: &str) -> String {
        let link = ClaimLink {
            expires: self.common.clock.now().plus(LINK_LIFE).seconds(),
            handle: handle.to_owned(),
            id: uuid::Uuid::new_v4().simple().to_string(),
            key: 0,
            user: to.user.clone(),
            version: 1,
        };
        self.address("c", self.links.sign_claim(link))
    }

    fn address(&self, page: &str, token: Option<String>) -> String {
        let external_url = &self.common.config.external_url;
        token.map_or_else(String::new, |token| format!("{external_url}/{page}/{token}"))
    }
}
