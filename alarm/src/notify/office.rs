//! What the senders of all receivers share: who works for which receiver, what each bot sent of late, and how a
//! notification becomes messages. A message is in the store before [`Office::submit`] answers; the senders do the rest.

pub(crate) mod drafts;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use channels::link::LinkKeys;
use channels::window::Window;
use channels::{Access, Answer, Language, Spec};
use daemon::Poster;
use jiff::tz::TimeZone;
use model::Timestamp;
use reqwest::Client;
use template::Library;
use tokio::sync::{Notify, mpsc};

use super::messages::Metrics;
use super::transport;
use crate::app::Common;
use crate::config::{BotConfig, ReceiverConfig};
use crate::mutes::MuteBook;
use crate::recipients::Recipient;
use crate::texts::Texts;

const COUNT_INTERVAL: Duration = Duration::from_secs(10);
const ROUNDS_PER_CLEANING: u32 = 60;
/// What takes no more messages a minute is told one after the other: a kill then repeats one at most.
const SLOW_PER_MINUTE: u32 = 60;
/// Receivers with bots at most.
const TEAMS_MAX: usize = 1024;

/// A person of a receiver.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Person {
    pub(crate) user: String,
    /// On the channel of the bots.
    pub(crate) address: String,
    pub(crate) language: Language,
}

/// A bot: a name and a channel.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bot {
    pub(crate) name: String,
    pub(crate) account: String,
    pub(crate) spec: Spec,
}

/// The bots of a receiver, the main one first, and whom they tell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Team {
    pub(crate) receiver: String,
    pub(crate) bots: Vec<Bot>,
    /// None: the recipients.
    pub(crate) people: Vec<Person>,
    /// None: the chat that the settings of the bots name.
    pub(crate) recipients: Vec<Recipient>,
    /// Whether the recipients are called by name in that chat.
    pub(crate) mentions: bool,
    pub(crate) language: Language,
    pub(crate) envelope: String,
    pub(crate) timeout: Duration,
    pub(crate) concurrency: usize,
    /// How long what is of low priority gathers; nothing for not at all.
    pub(crate) merge_low_for: Duration,
    /// Operators' templates.
    pub(crate) texts: Texts,
}

impl Team {
    /// Reads the secrets that lie in files. Fails with the name of the bot.
    pub(crate) fn from_config(
        config: &ReceiverConfig,
        library: &Arc<Library>,
    ) -> anyhow::Result<Self> {
        let texts = Texts::from_config(&config.name, &config.texts, library);
        let texts = texts.map_err(|faults| anyhow::anyhow!("{}", faults.join("; ")))?;
        let bots = config.bots.iter().map(|bot| {
            let mut spec = bot.spec.clone();
            spec.read_secrets().with_context(|| format!("read the secrets of bot {}", bot.name))?;
            Ok(Bot { name: bot.name.clone(), account: spec.account(), spec })
        });
        let people = config.people.iter().map(|person| Person {
            user: person.user.clone(),
            address: person.address.clone(),
            language: person.language.unwrap_or(config.language),
        });
        let recipients = Recipient::parse_all(&config.recipients).map_err(anyhow::Error::msg);
        Ok(Self {
            receiver: config.name.clone(),
            bots: bots.collect::<anyhow::Result<_>>()?,
            people: people.collect(),
            recipients: recipients.with_context(|| format!("recipients of {}", config.name))?,
            mentions: config.mention,
            language: config.language,
            envelope: config.envelope.clone(),
            timeout: config.timeout,
            concurrency: at_once(config),
            merge_low_for: config.merge_low_for(),
            texts,
        })
    }

    /// Whether the recipients are called by name in a chat: so it is asked for, or the bots can do no better.
    pub(super) fn is_told_in_chat(&self) -> bool {
        self.mentions || !self.bots.iter().any(|bot| bot.spec.reaches_persons())
    }
}

/// A team at work, and the bell that says that there is something to send.
#[derive(Debug, Clone)]
pub(crate) struct Desked {
    pub(crate) team: Arc<Team>,
    pub(crate) bell: Arc<Notify>,
}

/// What senders share; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Office {
    pub(crate) common: Common,
    pub(crate) http: Client,
    /// For webhooks.
    pub(crate) poster: Poster,
    pub(crate) mutes: MuteBook,
    pub(crate) links: Arc<LinkKeys>,
    pub(crate) metrics: Metrics,
    pub(crate) zone: TimeZone,
    teams: Arc<Mutex<HashMap<String, Desked>>>,
    hire: mpsc::Sender<Desked>,
    windows: Arc<Mutex<HashMap<String, Window>>>,
    tokens: Arc<Mutex<HashMap<String, (Access, Timestamp)>>>,
}

/// What an office is opened with.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) common: Common,
    pub(crate) http: Client,
    pub(crate) poster: Poster,
    pub(crate) mutes: MuteBook,
    pub(crate) links: LinkKeys,
    pub(crate) metrics: Metrics,
    pub(crate) zone: TimeZone,
}

impl Office {
    /// The office, and the teams that are to be given a sender.
    pub(crate) fn open(opening: Opening) -> (Self, mpsc::Receiver<Desked>) {
        let (hire, hired) = mpsc::channel(TEAMS_MAX);
        let Opening { common, http, poster, mutes, links, metrics, zone } = opening;
        let links = Arc::new(links);
        let office = Self {
            common,
            http,
            poster,
            mutes,
            links,
            metrics,
            zone,
            teams: Arc::default(),
            hire,
            windows: Arc::default(),
            tokens: Arc::default(),
        };
        (office, hired)
    }

    /// Counts what is open and forgets what is old, as long as the process runs.
    pub(crate) async fn look_after(self, retention: Duration) {
        let (mut rounds, db) = (0_u32, self.common.db.clone());
        loop {
            let now = self.common.clock.now();
            let counted = db.messages().counts().await;
            match counted {
                Ok(counts) => {
                    let receivers: Vec<String> = {
                        let teams = self.teams.lock().unwrap_or_else(PoisonError::into_inner);
                        teams.keys().cloned().collect()
                    };
                    self.metrics.show_open(&receivers, &counts);
                }
                Err(error) => {
                    self.common.metrics.store_failures.inc();
                    tracing::error!(error = daemon::error_chain(&error), "cannot count messages");
                }
            }
            let live = self.mutes.known().live(now).len();
            self.metrics.mutes.set(i64::try_from(live).unwrap_or(i64::MAX));
            if rounds.is_multiple_of(ROUNDS_PER_CLEANING) {
                self.forget(now, retention).await;
            }
            rounds = rounds.wrapping_add(1);
            self.common.clock.sleep(COUNT_INTERVAL).await;
        }
    }

    async fn forget(&self, now: Timestamp, retention: Duration) {
        let db = &self.common.db;
        let done = async {
            db.messages().prune(now.minus(retention)).await?;
            db.mutes().prune(now).await
        };
        if let Err(error) = done.await {
            self.common.metrics.store_failures.inc();
            tracing::error!(error = daemon::error_chain(&error), "cannot forget old messages");
        }
    }

    /// Makes sure that the messages of a team are sent, also those of an earlier run. A team with other settings
    /// takes the place of the one it had.
    pub(crate) fn employ(&self, team: &Arc<Team>) -> Arc<Notify> {
        let mut teams = self.teams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = teams.get(&team.receiver).filter(|known| known.team == *team) {
            return Arc::clone(&known.bell);
        }
        let desked = Desked { team: Arc::clone(team), bell: Arc::default() };
        if let Some(former) = teams.insert(team.receiver.clone(), desked.clone()) {
            // It looks up who works for the receiver now, and leaves.
            former.bell.notify_one();
        }
        self.metrics.touch(team);
        let bell = Arc::clone(&desked.bell);
        if self.hire.try_send(desked).is_err() {
            tracing::error!(receiver.name = team.receiver, "too many receivers; none sends for it");
        }
        bell
    }

    /// The team that works for a receiver.
    pub(crate) fn team(&self, receiver: &str) -> Option<Arc<Team>> {
        let teams = self.teams.lock().unwrap_or_else(PoisonError::into_inner);
        teams.get(receiver).map(|desked| Arc::clone(&desked.team))
    }

    /// Rings for a receiver.
    pub(crate) fn ring(&self, receiver: &str) {
        let teams = self.teams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(desked) = teams.get(receiver) {
            desked.bell.notify_one();
        }
    }

    /// Whether a team still is the one that works for its receiver.
    pub(crate) fn employs(&self, team: &Arc<Team>) -> bool {
        self.team(&team.receiver).is_some_and(|current| Arc::ptr_eq(&current, team))
    }

    /// Works on the windows of the bots.
    pub(crate) fn with_windows<T>(
        &self,
        work: impl FnOnce(&mut HashMap<String, Window>) -> T,
    ) -> T {
        work(&mut self.windows.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// An access token that still holds.
    pub(crate) fn token(&self, account: &str, now: Timestamp) -> Option<String> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let (access, until) = tokens.get(account)?;
        (*until > now).then(|| access.token.clone())
    }

    /// Keeps an access token, or forgets it.
    pub(crate) fn keep_token(&self, account: &str, access: Option<Access>, now: Timestamp) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        match access {
            Some(access) => {
                let until = now.plus(access.holds);
                tokens.insert(account.to_owned(), (access, until));
            }
            None => {
                tokens.remove(account);
            }
        }
    }

    /// The access token of a bot; empty where none is needed.
    pub(super) async fn access(&self, bot: &Bot, timeout: Duration) -> Result<String, Answer> {
        let channel = bot.spec.channel();
        let Some(request) = channel.login() else { return Ok(String::new()) };
        let now = self.common.clock.now();
        if let Some(token) = self.token(&bot.account, now) {
            return Ok(token);
        }
        let returned = transport::exchange(&self.http, request, timeout).await?;
        let access = channel
            .read_login(&returned.reply())
            .map_err(|fault| Answer::Later { fault, wait: None })?;
        let token = access.token.clone();
        self.keep_token(&bot.account, Some(access), now);
        Ok(token)
    }
}

/// Messages of a receiver that may be under way at a time. Slow bots take turns, so that a kill in the midst repeats one
/// message at most; they could not tell more if they spoke all at once.
fn at_once(config: &ReceiverConfig) -> usize {
    let is_slow = |per_minute: u32| (1..=SLOW_PER_MINUTE).contains(&per_minute);
    let are_slow = |bot: &BotConfig| is_slow(bot.spec.channel().limits().per_minute);
    match config.bots.iter().all(are_slow) {
        true => 1,
        false => config.concurrency,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receiver(kinds: &[&str]) -> ReceiverConfig {
        let bot = |(at, kind): (usize, &&str)| {
            format!(
                "[[bots]]\nname = \"b{at}\"\nkind = \"{kind}\"\nurl = \"http://127.0.0.1/{at}\"\n"
            )
        };
        let bots: String = kinds.iter().enumerate().map(bot).collect();
        toml::from_str(&format!("name = \"ops\"\n{bots}")).unwrap()
    }

    #[test]
    fn slow_bots_tell_one_message_after_the_other_and_others_many() {
        assert_eq!(at_once(&receiver(&["dingtalk_robot"])), 1);
        assert_eq!(at_once(&receiver(&["dingtalk_robot", "wecom_webhook"])), 1);
        assert_eq!(at_once(&receiver(&["dingtalk_robot", "feishu_bot"])), 8, "one is quick");
        let one = ReceiverConfig { concurrency: 1, ..receiver(&["dingtalk_robot", "slack"]) };
        assert_eq!(at_once(&one), 1, "as it is set");
    }
}
