//! Receivers: what they are and how one is told.

mod addressees;
mod alertmanager;
pub(crate) mod buttons;
mod desk;
pub(crate) mod failed;
pub(crate) mod gather;
pub(crate) mod messages;
pub(crate) mod office;
mod own_words;
mod recall;
pub(crate) mod redraw;
pub(crate) mod reminder;
pub(crate) mod sender;
mod transport;

pub(crate) mod webhook;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use daemon::Target;
use reqwest::Url;
use serde_json::Value;
use template::Library;

use crate::amconfig::Integration;
use crate::config::ReceiverConfig;
use crate::notification::Notification;
use office::{Office, Team};
pub(crate) use webhook::Answer;

/// "Accepted", as HTTP has it: the message is in the store and on its way.
const QUEUED: u16 = 202;

const FIRST_WAIT: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(60);
/// A receiver that asks for more patience than this is asked again sooner.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
const TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT_MAX: Duration = Duration::from_secs(300);
const RETRY_FOR: Duration = Duration::from_secs(3600);
const CONCURRENCY: usize = 8;

/// How a receiver is told.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    /// A webhook, which is told as part of the attempt.
    Webhook(Target),
    /// Bots: the message is stored and sent by their sender.
    Bots(Arc<Team>),
    /// Nobody: what would be told is noted.
    DryRun,
}

/// One way to tell somebody, ready for use.
#[derive(Debug, Clone)]
pub(crate) struct Receiver {
    /// Its key in the notification log, in metrics and for people.
    pub(crate) name: String,
    pub(crate) way: Way,
    pub(crate) send_resolved: bool,
    pub(crate) timeout: Duration,
    pub(crate) retry_for: Duration,
    pub(crate) concurrency: usize,
}

impl Receiver {
    /// Fails on what `Config::validate` reports.
    pub(crate) fn from_config(
        config: &ReceiverConfig,
        library: &Arc<Library>,
    ) -> anyhow::Result<Self> {
        let name = config.name.clone();
        let way = match config.bots.as_slice() {
            _ if config.dry_run => Way::DryRun,
            [] => {
                let what = || format!("webhook_url of receiver {name}");
                let url = Url::parse(&config.webhook_url.0).with_context(what)?;
                Way::Webhook(webhook::target(url).with_context(what)?)
            }
            _ => Way::Bots(Arc::new(Team::from_config(config, library)?)),
        };
        let ReceiverConfig { send_resolved, timeout, retry_for, concurrency, .. } = *config;
        Ok(Self { name, way, send_resolved, timeout, retry_for, concurrency })
    }

    /// From an integration of Alertmanager's file. Fails with what is wrong, or when nothing here can send so.
    pub(crate) fn from_alertmanager(
        key: &str,
        integration: &Integration,
        library: &Arc<Library>,
    ) -> Result<Self, String> {
        let timeout = match integration.settings.get("timeout").and_then(Value::as_str) {
            None => TIMEOUT,
            Some(text) => model::parse_duration(text).map_err(|fault| fault.to_string())?,
        };
        // Zero means the default, as in Alertmanager.
        let timeout = if timeout.is_zero() { TIMEOUT } else { timeout.min(TIMEOUT_MAX) };
        let way = alertmanager::way(key, integration, timeout, library)?;
        Ok(Self {
            name: key.to_owned(),
            way,
            send_resolved: integration.send_resolved,
            timeout,
            retry_for: RETRY_FOR,
            concurrency: CONCURRENCY,
        })
    }

    /// Makes one attempt. What goes to bots is accepted once it is in the store; its sender does the rest.
    pub(crate) async fn send(&self, office: &Office, notification: Notification) -> Answer {
        match &self.way {
            Way::Webhook(target) => {
                webhook::send(&office.poster, target, self.timeout, notification).await
            }
            // Its ten kilobytes would be moved about for every webhook as well.
            Way::Bots(team) => match Box::pin(office.submit(team, &notification)).await {
                Ok(()) => Answer::Accepted { code: QUEUED },
                Err(error) => {
                    let detail = format!("{error:#}");
                    Answer::Temporary { code: 0, detail, retry_after: None }
                }
            },
            Way::DryRun => Answer::Noted,
        }
    }

    /// How long to wait before the next attempt after so many; `None` gives up. `spread` differs from message to
    /// message, so that a receiver that comes back is not met by all of them at once.
    pub(crate) fn retry_after(
        &self,
        attempts: u32,
        answer: &Answer,
        spread: u64,
    ) -> Option<Duration> {
        let Answer::Temporary { retry_after, .. } = answer else { return None };
        if waited_before(attempts) >= self.retry_for {
            return None;
        }
        let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
        Some(wait_after(attempts, spread).max(asked))
    }
}

/// One second doubled with every attempt, at most a minute, and up to a quarter more.
fn wait_after(attempts: u32, spread: u64) -> Duration {
    let base = plain_wait(attempts);
    base + base / 1024 * u32::try_from(spread % 256).unwrap_or(0)
}

fn plain_wait(attempts: u32) -> Duration {
    let factor = 1 << attempts.saturating_sub(1).min(6);
    (FIRST_WAIT * factor).min(WAIT_MAX)
}

/// How long was waited between the first and this attempt. Counted in attempts and not by the clock: time in
/// which alarm itself was down is no time in which it tried.
fn waited_before(attempts: u32) -> Duration {
    let doubling: Duration = (1..attempts.min(7)).map(plain_wait).sum();
    doubling + WAIT_MAX * attempts.saturating_sub(7)
}
