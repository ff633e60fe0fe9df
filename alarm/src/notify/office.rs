//! Where notifications become messages to recipients. A message is in the store before [`Office::submit`]
//! answers; the senders do the rest.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use channels::handle::{self, Act};
use channels::link::{LinkKeys, MuteLink};
use channels::mute::Subject;
use channels::window::Window;
use channels::{Access, Button, Language, Message, Spec, Urgency, compose, sign};
use db::messages::{MessageRow, Stage};
use jiff::tz::TimeZone;
use model::{Fingerprint, Timestamp};
use reqwest::Client;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc};
use wire::alert::WebhookMessage;

use super::desk::Body;
use super::messages::Metrics;
use crate::app::Common;
use crate::config::ReceiverConfig;
use crate::mutes::MuteBook;
use crate::notification::Notification;

/// How long a mute link works.
const LINK_LIFE: Duration = Duration::from_secs(24 * 3600);
/// How long a button works.
pub(crate) const HANDLE_LIFE: Duration = Duration::from_secs(7 * 86_400);
const COUNT_INTERVAL: Duration = Duration::from_secs(10);
const ROUNDS_PER_CLEANING: u32 = 60;
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
    /// None: the chat that the settings of the bots name.
    pub(crate) people: Vec<Person>,
    pub(crate) language: Language,
    pub(crate) envelope: String,
    pub(crate) timeout: Duration,
    pub(crate) concurrency: usize,
}

impl Team {
    /// Reads the secrets that lie in files. Fails with the name of the bot.
    pub(crate) fn from_config(config: &ReceiverConfig) -> anyhow::Result<Self> {
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
        Ok(Self {
            receiver: config.name.clone(),
            bots: bots.collect::<anyhow::Result<_>>()?,
            people: people.collect(),
            language: config.language,
            envelope: config.envelope.clone(),
            timeout: config.timeout,
            concurrency: config.concurrency,
        })
    }
}

/// What a button's handle stands for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Handled {
    /// Who would be muted.
    pub(crate) user: String,
    pub(crate) subject: Subject,
    pub(crate) thread: String,
    /// Whether the message went to a chat, where anybody who is linked may press.
    pub(crate) is_chat: bool,
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
    pub(crate) mutes: MuteBook,
    pub(crate) links: LinkKeys,
    pub(crate) metrics: Metrics,
    pub(crate) zone: TimeZone,
}

impl Office {
    /// The office, and the teams that are to be given a sender.
    pub(crate) fn open(opening: Opening) -> (Self, mpsc::Receiver<Desked>) {
        let (hire, hired) = mpsc::channel(TEAMS_MAX);
        let Opening { common, http, mutes, links, metrics, zone } = opening;
        let links = Arc::new(links);
        let office = Self {
            common,
            http,
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
            return known.bell.clone();
        }
        let desked = Desked { team: team.clone(), bell: Arc::default() };
        if let Some(former) = teams.insert(team.receiver.clone(), desked.clone()) {
            // It looks up who works for the receiver now, and leaves.
            former.bell.notify_one();
        }
        self.metrics.touch(team);
        let bell = desked.bell.clone();
        if self.hire.try_send(desked).is_err() {
            tracing::error!(receiver.name = team.receiver, "too many receivers; none sends for it");
        }
        bell
    }

    /// The team that works for a receiver.
    pub(crate) fn team(&self, receiver: &str) -> Option<Arc<Team>> {
        let teams = self.teams.lock().unwrap_or_else(PoisonError::into_inner);
        teams.get(receiver).map(|desked| desked.team.clone())
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

    /// Stores the messages that a notification becomes. When it answers they are in the store, and submitting the
    /// same notification again changes nothing.
    pub(crate) async fn submit(
        &self,
        team: &Arc<Team>,
        notification: &Notification,
    ) -> anyhow::Result<()> {
        let group = group(notification);
        let alerts: Vec<Fingerprint> =
            notification.alerts.iter().map(model::Alert::fingerprint).collect();
        let mut rows = Vec::new();
        for person in self.recipients(team) {
            // A phone rings for problems only.
            let is_end = group.status == wire::alert::FiringStatus::Resolved;
            if is_end && team.bots.iter().all(|bot| bot.spec.is_phone()) {
                continue;
            }
            let thread = short_hash(&notification.group_key, &team.receiver);
            let subject = compose::subject(&group);
            let buttons = self.buttons(team, &person, &thread, subject.as_ref()).await?;
            let key = short_hash(&notification.key, &format!("{}|{}", team.receiver, person.user));
            let urgency =
                if notification.priority == 0 { Urgency::Urgent } else { Urgency::Normal };
            let frame = compose::Frame {
                key: &key,
                thread: &thread,
                envelope: &team.envelope,
                urgency,
                language: person.language,
                zone: &self.zone,
                recipient: &person.user,
            };
            let message = compose::message(frame, group.clone(), buttons);
            rows.push(row(team, &person, message, subject, notification.at)?);
        }
        self.common.db.messages().add(&rows, &alerts).await?;
        self.employ(team).notify_one();
        Ok(())
    }

    /// Stores a test of a receiver; answers with the ids of the messages.
    pub(crate) async fn test(&self, team: &Arc<Team>) -> anyhow::Result<Vec<String>> {
        let now = self.common.clock.now();
        let mut rows = Vec::new();
        for person in self.recipients(team) {
            let key = short_hash(&uuid::Uuid::new_v4().to_string(), "test");
            let frame = compose::Frame {
                key: &key,
                thread: &key,
                envelope: &team.envelope,
                urgency: Urgency::Urgent,
                language: person.language,
                zone: &self.zone,
                recipient: &person.user,
            };
            let message =
                compose::test(frame, &team.receiver, &self.common.config.external_url, now);
            rows.push(row(team, &person, message, None, now)?);
        }
        self.common.db.messages().add(&rows, &[]).await?;
        self.employ(team).notify_one();
        Ok(rows.into_iter().map(|row| row.id).collect())
    }

    fn recipients(&self, team: &Team) -> Vec<Person> {
        if !team.people.is_empty() {
            return team.people.clone();
        }
        let (user, language) = (team.receiver.clone(), team.language);
        vec![Person { user, address: String::new(), language }]
    }

    async fn buttons(
        &self,
        team: &Team,
        person: &Person,
        thread: &str,
        subject: Option<&Subject>,
    ) -> anyhow::Result<Vec<Button>> {
        let language = person.language;
        let mut buttons = Vec::new();
        if let Some(subject) = subject {
            let hears = team.bots.iter().any(|bot| bot.spec.hears());
            let handle = match hears {
                true => Some(self.new_handle(team, person, thread, subject).await?),
                false => None,
            };
            for act in Act::MUTES {
                let url = self.link(person, thread, subject, act);
                if url.is_empty() && !hears {
                    continue;
                }
                let label = match act.seconds() {
                    Some(seconds) => language.mute_for(seconds / 3600),
                    None => language.unmute().to_owned(),
                };
                let action = handle.as_deref().map(|handle| handle::value(handle, act));
                buttons.push(Button { label, url, action });
            }
        }
        let url = format!("{}/alerts", self.common.config.external_url);
        buttons.push(Button { label: language.open().to_owned(), url, action: None });
        Ok(buttons)
    }

    async fn new_handle(
        &self,
        team: &Team,
        person: &Person,
        thread: &str,
        subject: &Subject,
    ) -> anyhow::Result<String> {
        let random = sign::sha256(uuid::Uuid::new_v4().as_bytes());
        let mut bytes = [0; 9];
        bytes.copy_from_slice(&random.as_ref()[..9]);
        let handle = handle::handle(bytes);
        let handled = Handled {
            user: person.user.clone(),
            subject: subject.clone(),
            thread: thread.to_owned(),
            is_chat: team.people.is_empty(),
        };
        let body = serde_json::to_string(&handled)?;
        let until = self.common.clock.now().plus(HANDLE_LIFE);
        self.common.db.mutes().claim(&format!("handle:{handle}"), until, &body).await?;
        Ok(handle)
    }

    /// A signed link; empty without a key. The page behind one link can mute for another length and unmute.
    fn link(&self, person: &Person, thread: &str, subject: &Subject, act: Act) -> String {
        let now = self.common.clock.now();
        let link = MuteLink {
            counter: subject.joined(),
            seconds: act.seconds().unwrap_or(0),
            thread: thread.to_owned(),
            expires: now.plus(LINK_LIFE).seconds(),
            id: uuid::Uuid::new_v4().simple().to_string(),
            key: 0,
            scope: subject.scope().to_owned(),
            user: person.user.clone(),
            version: 1,
        };
        let token = self.links.sign(link);
        token.map_or_else(String::new, |token| {
            format!("{}/m/{token}", self.common.config.external_url)
        })
    }
}

fn group(notification: &Notification) -> WebhookMessage {
    let mut group = WebhookMessage::new(
        &notification.receiver,
        &notification.group_key,
        notification.group_labels.clone(),
        &notification.external_url,
        &notification.alerts,
        notification.at,
    );
    group.truncated_alerts = notification.left_out;
    // What is told counts here: a message with ends only is an end, also while others of the group fire.
    group
}

fn row(
    team: &Team,
    person: &Person,
    message: Message,
    subject: Option<Subject>,
    now: Timestamp,
) -> anyhow::Result<MessageRow> {
    let kind = serde_json::to_value(message.kind)?;
    Ok(MessageRow {
        id: message.key.clone(),
        receiver: team.receiver.clone(),
        recipient: person.user.clone(),
        thread: message.thread.clone(),
        kind: kind.as_str().unwrap_or("").to_owned(),
        urgency: u8::from(message.urgency == Urgency::Normal),
        stage: Stage::Waiting,
        next_at: now,
        created_at: now,
        done_at: Timestamp(0),
        code: String::new(),
        detail: String::new(),
        progress: "{}".to_owned(),
        body: serde_json::to_string(&Body { message, address: person.address.clone(), subject })?,
    })
}

fn short_hash(one: &str, other: &str) -> String {
    sign::hex(sign::sha256(format!("{}|{one}|{other}", one.len()).as_bytes()))
        .chars()
        .take(40)
        .collect()
}
