//! Messages that are drawn anew after somebody pressed one of their buttons, where the platform wants a request of
//! its own for that.

use std::time::Duration;

use channels::handle::HANDLE_CHARS;
use channels::next::unreachable;
use channels::redraw::Held;
use channels::{Answer, Language, Message, Request};
use daemon::error_chain;
use db::DbError;
use db::messages::Stage;
use tokio::sync::mpsc;

use super::buttons::Handled;
use super::desk::Body;
use super::messages::{Metrics, Redraw};
use super::office::{Bot, Office};
use super::transport::exchange;

const TIMEOUT: Duration = Duration::from_secs(5);
/// Strokes that wait at most. What does not fit is left as it is, and counted: whoever pressed has got an answer.
const WAITING_MAX: usize = 256;
/// Messages about an alert among which the pressed one is looked for.
const MESSAGES_MAX: u32 = 100;

/// A message as it looks now, and the bot that sent it.
#[derive(Debug)]
pub(crate) struct Drawn {
    pub(crate) message: Message,
    pub(crate) bot: Bot,
}

/// What is to be sent after a press.
#[derive(Debug)]
pub(crate) enum Stroke {
    /// This request.
    Ready(Request),
    /// The new form of a message, to the place that came with the press.
    Message(Box<Drawn>, String),
}

/// Where strokes are put.
#[derive(Debug, Clone)]
pub(crate) struct Easel {
    strokes: mpsc::Sender<Stroke>,
    metrics: Metrics,
}

impl Easel {
    /// Puts a stroke behind the others; too many are counted and left out.
    pub(crate) fn put(&self, stroke: Stroke) {
        if self.strokes.try_send(stroke).is_err() {
            self.metrics.redrawn(Redraw::Dropped);
            tracing::warn!("too many messages are to be drawn anew; one stays as it is");
        }
    }
}

/// The way in and the way out.
pub(crate) fn open(metrics: &Metrics) -> (Easel, mpsc::Receiver<Stroke>) {
    let (strokes, waiting) = mpsc::channel(WAITING_MAX);
    (Easel { strokes, metrics: metrics.clone() }, waiting)
}

/// Makes the requests, one after the other, as long as the process runs.
pub(crate) async fn run(office: Office, mut strokes: mpsc::Receiver<Stroke>) {
    while let Some(stroke) = strokes.recv().await {
        let result = match stroke {
            Stroke::Ready(request) => office.answer_press(request).await,
            Stroke::Message(drawn, place) => office.redraw(&drawn, &place).await,
        };
        match result {
            Ok(true) => office.metrics.redrawn(Redraw::Drawn),
            // Its platform took the new form with the answer, or takes none.
            Ok(false) => {}
            // The answer of a platform has no secret in it.
            Err(answer) => {
                office.metrics.redrawn(Redraw::Failed);
                tracing::warn!(?answer, "a message was not drawn anew");
            }
        }
    }
}

impl Office {
    async fn answer_press(&self, request: Request) -> Result<bool, Answer> {
        let returned = exchange(&self.http, request, TIMEOUT).await?;
        match returned.reply().status {
            200..=299 => Ok(true),
            status => Err(unreachable(false, &format!("status {status}"))),
        }
    }

    /// Draws a message anew where its platform wants a request for that; answers whether it does.
    async fn redraw(&self, drawn: &Drawn, place: &str) -> Result<bool, Answer> {
        let Drawn { message, bot } = drawn;
        let channel = bot.spec.channel();
        let mut answer = None;
        // A token that the platform forgot is asked for once more.
        for _ in 0..2 {
            let token = self.access(bot, TIMEOUT).await?;
            let Some(request) = channel.redraw(message, place, &token) else { return Ok(false) };
            let returned = exchange(&self.http, request, TIMEOUT).await?;
            match channel.read(&returned.reply()) {
                Answer::Sent { .. } => return Ok(true),
                login @ Answer::Login { .. } => {
                    self.keep_token(&bot.account, None, self.common.clock.now());
                    answer = Some(login);
                }
                other => return Err(other),
            }
        }
        Err(answer.unwrap_or_else(|| unreachable(false, "no access token")))
    }

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

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    #[tokio::test]
    async fn what_there_is_no_room_for_is_counted_and_the_rest_goes_on() {
        let mut registry = Registry::default();
        let (easel, mut waiting) = open(&Metrics::register(&mut registry));
        for n in 0..WAITING_MAX + 3 {
            easel.put(Stroke::Ready(Request::get(format!("http://x/{n}"))));
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let line = "alarm_redrawn_messages_total{result=\"dropped\"} 3";
        assert!(text.contains(line), "{text}");
        let mut left = 0;
        while let Ok(Stroke::Ready(_)) = waiting.try_recv() {
            left += 1;
        }
        assert_eq!(left, WAITING_MAX);
    }
}
