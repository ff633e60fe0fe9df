//! Messages that are drawn anew after somebody pressed one of their buttons, where the platform wants a request of
//! its own for that.

use std::time::Duration;

use channels::handle::HANDLE_CHARS;
use channels::redraw::Held;
use channels::{Language, Message, Request};
use daemon::error_chain;
use db::DbError;
use db::messages::Stage;
use reqwest::Client;
use tokio::sync::mpsc;

use super::buttons::Handled;
use super::desk::Body;
use super::office::{Bot, Office};
use super::transport::exchange;

const TIMEOUT: Duration = Duration::from_secs(5);
/// Requests that wait at most. What does not fit is left as it is: whoever pressed has got an answer.
const WAITING_MAX: usize = 256;
/// Messages about an alert among which the pressed one is looked for.
const MESSAGES_MAX: u32 = 100;

/// A message as it looks now, and the bot that sent it.
#[derive(Debug)]
pub(crate) struct Drawn {
    pub(crate) message: Message,
    pub(crate) bot: Bot,
}

/// Where requests are put.
pub(crate) type Easel = mpsc::Sender<Request>;

/// The way in and the way out.
pub(crate) fn open() -> (Easel, mpsc::Receiver<Request>) {
    mpsc::channel(WAITING_MAX)
}

/// Makes the requests, one after the other, as long as the process runs.
pub(crate) async fn run(http: Client, mut requests: mpsc::Receiver<Request>) {
    while let Some(request) = requests.recv().await {
        match exchange(&http, request, TIMEOUT).await {
            Ok(returned) if returned.reply().status < 300 => {}
            Ok(returned) => {
                let status = returned.reply().status;
                tracing::warn!(status, "a message was not drawn anew");
            }
            // The answer of a platform that gave none has no secret in it.
            Err(answer) => tracing::warn!(?answer, "a message was not drawn anew"),
        }
    }
}

impl Office {
    /// The message whose button was pressed, with what holds now; none if it is not there any more, or went out in
    /// another form. Failures are logged: what was pressed is done all the same.
    pub(crate) async fn drawn(
        &self,
        handle: &str,
        handled: &Handled,
        held: impl FnOnce(Language) -> Held + Send,
    ) -> Option<Drawn> {
        match self.pressed_message(handle, handled).await {
            Ok(found) => {
                let Drawn { message, bot } = found?;
                let held = held(message.language);
                Some(Drawn { message: message.redrawn(&held), bot })
            }
            Err(error) => {
                tracing::warn!(error = error_chain(&error), "cannot find the message to draw anew");
                None
            }
        }
    }

    async fn pressed_message(
        &self,
        handle: &str,
        handled: &Handled,
    ) -> Result<Option<Drawn>, DbError> {
        let Some(alert) = handled.fingerprints().first().copied() else { return Ok(None) };
        debug_assert_eq!(handle.len(), HANDLE_CHARS, "parsed");
        let messages = self.common.db.messages();
        let rows = messages.about(alert, MESSAGES_MAX).await?;
        let is_it = |stage: Stage, body: &str| stage == Stage::Sent && body.contains(handle);
        let Some(row) = rows.into_iter().find(|row| is_it(row.stage, &row.body)) else {
            return Ok(None);
        };
        let attempts = messages.attempts(std::slice::from_ref(&row.id)).await?;
        let sent = attempts.iter().rev().find(|attempt| attempt.result == "sent");
        let Some(team) = self.team(&row.receiver) else { return Ok(None) };
        let bot = team.bots.iter().find(|bot| sent.is_some_and(|sent| sent.bot == bot.name));
        let body: Option<Body> = serde_json::from_str(&row.body).ok();
        let drawn = |(bot, body): (&Bot, Body)| Drawn {
            message: body.message_for(bot.spec.kind()),
            bot: bot.clone(),
        };
        Ok(bot.zip(body).map(drawn))
    }
}
