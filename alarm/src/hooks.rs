//! What platforms report when somebody presses a button. What is refused is counted and answered alike, so that
//! it tells an attacker nothing.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{OriginalUri, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use channels::callback::{Callback, CallbackSpec, Click, Incoming, Unanswered};
use channels::handle::{self, Act};
use channels::redraw::Held;
use channels::{Language, slack};
use daemon::page::Words;
use db::DbError;
use db::claims::ClaimKind;
use serde_json::json;

use crate::claim_page::words;
use crate::claiming::Wanted;
use crate::mutes::Wish;
use crate::notify::buttons::{HANDLE_LIFE, Handled};
use crate::notify::redraw::{Drawn, Stroke};
use crate::people::People;

/// A repeated event is noticed for so long: as long as its button works, since some platforms sign no time.
const EVENT_LIFE: Duration = HANDLE_LIFE;

/// The routes.
pub(crate) fn routes() -> Router<Arc<People>> {
    Router::new().route("/hooks/{kind}", get(take).post(take))
}

async fn take(
    State(people): State<Arc<People>>,
    Path(kind): Path<String>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(spec) = people.config.callbacks.iter().find(|spec| spec.kind() == kind) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let headers: Vec<(String, String)> = headers
        .iter()
        .map(|(name, value)| {
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect();
    let query = uri.query().unwrap_or("");
    let query: Vec<(String, String)> =
        form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let url = format!("{}{}", people.office.common.config.external_url, uri);
    let incoming = Incoming { headers: &headers, query: &query, body: &body, url: &url };
    match spec.read(incoming, people.now()) {
        Ok(Callback::Challenge(text)) => challenge(spec, text),
        Ok(Callback::Other) => StatusCode::OK.into_response(),
        Ok(Callback::Unanswered(call)) => match people.rang_in_vain(&call).await {
            Ok(()) => StatusCode::OK.into_response(),
            Err(fault) => {
                tracing::error!(
                    error = format!("{fault:#}"),
                    "cannot note that nobody took a call"
                );
                StatusCode::SERVICE_UNAVAILABLE.into_response()
            }
        },
        Ok(Callback::Click(click)) => {
            let said = match people.pressed(&click).await {
                Ok(said) => said,
                Err(fault) => {
                    tracing::error!(error = format!("{fault:#}"), "a pressed button did nothing");
                    Said::only("It could not be stored; press again. / 未能保存,请重试。")
                }
            };
            let answer = answer(spec, &click, &said);
            if let Some(stroke) = said.stroke(spec, click) {
                people.easel.put(stroke);
            }
            answer
        }
        Err(_) => {
            people.office.metrics.refused_callback(spec.kind());
            StatusCode::UNAUTHORIZED.into_response()
        }
    }
}

fn challenge(spec: &CallbackSpec, text: String) -> Response {
    match spec {
        CallbackSpec::Feishu { .. } => Json(json!({ "challenge": text })).into_response(),
        _ => text.into_response(),
    }
}

/// What a press is answered with.
#[derive(Debug)]
struct Said {
    /// For who pressed.
    text: String,
    /// The message with what holds now, for all who see it.
    drawn: Option<Drawn>,
}

impl Said {
    fn only(text: impl Into<String>) -> Self {
        Self { text: text.into(), drawn: None }
    }

    /// What is to be sent besides the answer.
    fn stroke(self, spec: &CallbackSpec, click: Click) -> Option<Stroke> {
        // A bot of another platform has sent its own copy.
        let drawn = self.drawn.filter(|drawn| drawn.bot.spec.family() == spec.kind());
        match spec {
            CallbackSpec::Slack { .. } => {
                let redraw = |drawn: Drawn| {
                    drawn.bot.spec.channel().redraw(&drawn.message, &click.place, "")
                };
                let redrawn = drawn.and_then(redraw);
                redrawn.or_else(|| slack::whisper(&click.place, &self.text)).map(Stroke::Ready)
            }
            CallbackSpec::WeCom { .. } | CallbackSpec::Telegram { .. } => {
                drawn.map(|drawn| Stroke::Message(Box::new(drawn), click.place))
            }
            // The others take it with the answer, or have nothing to draw on.
            _ => None,
        }
    }
}

/// Each platform shows a text to who pressed in a form of its own, and some take the new message with it.
fn answer(spec: &CallbackSpec, click: &Click, said: &Said) -> Response {
    let text = said.text.as_str();
    let drawn = said.drawn.as_ref().and_then(|drawn| spec.redrawn(&drawn.message));
    match spec {
        CallbackSpec::Feishu { .. } => {
            let mut body = drawn.unwrap_or_else(|| json!({}));
            body["toast"] = json!({ "type": "info", "content": text });
            Json(body).into_response()
        }
        // It shows nothing of this: the text goes to the address that the press came with.
        CallbackSpec::Slack { .. } => StatusCode::OK.into_response(),
        CallbackSpec::Telegram { .. } => {
            let id = click.event.strip_prefix("telegram:").unwrap_or("");
            let body = json!({
                "method": "answerCallbackQuery", "callback_query_id": id, "text": text,
                "show_alert": true,
            });
            Json(body).into_response()
        }
        CallbackSpec::Twilio { .. } => {
            let safe: String = text.chars().filter(|c| !"<>&".contains(*c)).collect();
            let body = format!("<Response><Say>{safe}</Say></Response>");
            ([("content-type", "text/xml")], body).into_response()
        }
        CallbackSpec::WeCom { .. } => StatusCode::OK.into_response(),
        CallbackSpec::DingTalk { .. } | CallbackSpec::Signed { .. } => {
            let mut body = drawn.unwrap_or_else(|| json!({}));
            (body["ok"], body["text"]) = (json!(true), json!(text));
            Json(body).into_response()
        }
    }
}

impl People {
    /// Does what a button says; answers with what to show.
    async fn pressed(&self, click: &Click) -> anyhow::Result<Said> {
        let Some((handle, act)) = handle::parse(&click.action) else {
            return Ok(Said::only("This button is not one of Saker's. / 未知按钮。"));
        };
        let Some(actor) = self.owner(&click.user) else {
            return Ok(Said::only(format!(
                "{} is nobody here: ask for an address in alarm's users. / 账号未关联。",
                click.user
            )));
        };
        let Some(handled) = self.office.handled(handle).await? else {
            return Ok(Said::only("This button is too old. / 按钮已过期。"));
        };
        if !handled.is_chat && actor != handled.user {
            let text = format!("Only {} can press here. / 只能操作自己的消息。", handled.user);
            return Ok(Said::only(text));
        }
        let pressed = Pressed { handled, act, actor };
        if !self.claim_event(click).await? {
            return Ok(self.said(handle, &pressed).await);
        }
        let done = self.act(&pressed, &click.event).await;
        if done.is_err() {
            // It did not happen, so the platform may report it again.
            self.office.common.db.mutes().release(&event_name(click)).await?;
        }
        done?;
        Ok(self.said(handle, &pressed).await)
    }

    /// Nobody took a call. What is reported twice counts once.
    async fn rang_in_vain(&self, call: &Unanswered) -> anyhow::Result<()> {
        let (name, until) = (named(&call.event), self.now().plus(EVENT_LIFE));
        let mutes = self.office.common.db.mutes();
        if !mutes.claim(&name, until, "").await? {
            return Ok(());
        }
        let done = self.office.rang_in_vain(&call.message, &call.status).await;
        if done.is_err() {
            mutes.release(&name).await?;
        }
        done
    }

    async fn said(&self, handle: &str, pressed: &Pressed) -> Said {
        let drawn = self
            .office
            .drawn(handle, &pressed.handled, |language| self.held(pressed, words(language)));
        let drawn = drawn.await;
        Said { text: self.state_of(pressed), drawn }
    }

    /// What holds for the message that was pressed, as it stands on it.
    fn held(&self, pressed: &Pressed, words: Words) -> Held {
        let (handled, now) = (&pressed.handled, self.now());
        let mut held = Held::default();
        let known = self.office.mutes.known();
        let whom = pressed.muted();
        let subject = handled.subject.as_ref();
        if let Some(mute) = subject.and_then(|subject| known.holding(whom, subject, now)) {
            let until = daemon::page::absolute(mute.until, &self.office.zone);
            let values = [("user", whom), ("until", &until), ("actor", &mute.actor)];
            held.facts.push((words.text("im.now").to_owned(), words.fill("im.muted", &values)));
            // In a chat, whoever is called by name mutes themselves: the others may still want to.
            held.is_muted = whom == handled.user;
        }
        for kind in [ClaimKind::Acknowledged, ClaimKind::Snoozed] {
            let Some(claim) = self.holding(handled, kind) else { continue };
            held.facts.push((words.text("im.now").to_owned(), self.sentence(&claim, words)));
            match kind {
                ClaimKind::Acknowledged => held.is_taken = true,
                ClaimKind::Snoozed => held.is_put_off = true,
            }
        }
        held
    }

    /// Who pressed, by the settings or by the addresses of users.
    fn owner(&self, account: &str) -> Option<String> {
        let named = self.config.accounts.get(account).cloned();
        named.or_else(|| self.office.common.directory.known().owner(account).map(str::to_owned))
    }

    async fn act(&self, pressed: &Pressed, event: &str) -> anyhow::Result<()> {
        let Pressed { handled, act, actor } = pressed;
        let platform = event.split(':').next().unwrap_or("");
        let kind = match act {
            Act::Ack => Some(ClaimKind::Acknowledged),
            Act::Snooze => Some(ClaimKind::Snoozed),
            _ => None,
        };
        if let Some(kind) = kind {
            let wanted = Wanted::by(kind, actor, platform);
            self.claimer.claim(&handled.fingerprints(), &wanted).await?;
            return Ok(());
        }
        let Some(subject) = &handled.subject else { return Ok(()) };
        let (whom, by) = (pressed.muted(), format!("{actor} via {platform}"));
        let mutes = &self.office.mutes;
        let Some(seconds) = act.seconds() else {
            mutes.unmute(Wish::about(whom, subject, 0, by), self.now()).await?;
            return Ok(());
        };
        let most = if handled.is_chat {
            self.config.group_mute_max.as_secs().max(channels::mute::SECONDS_MIN)
        } else {
            seconds
        };
        mutes.mute(Wish::about(whom, subject, seconds.min(most), by), self.now()).await?;
        Ok(())
    }

    async fn claim_event(&self, click: &Click) -> Result<bool, DbError> {
        let until = self.now().plus(EVENT_LIFE);
        self.office.common.db.mutes().claim(&event_name(click), until, "").await
    }

    /// What holds now, in words.
    fn state_of(&self, pressed: &Pressed) -> String {
        let handled = &pressed.handled;
        let kind = match pressed.act {
            Act::Ack => Some(ClaimKind::Acknowledged),
            Act::Snooze => Some(ClaimKind::Snoozed),
            _ => None,
        };
        if let Some(kind) = kind {
            return match self.holding(handled, kind) {
                Some(claim) => {
                    let said = [Language::English, Language::Chinese];
                    said.map(|language| self.sentence(&claim, words(language))).join(" / ")
                }
                None => "It is over already. / 告警已恢复。".to_owned(),
            };
        }
        let (now, known) = (self.now(), self.office.mutes.known());
        let subject = handled.subject.as_ref();
        match subject.and_then(|subject| known.holding(pressed.muted(), subject, now)) {
            Some(mute) => {
                let until = daemon::page::absolute(mute.until, &self.office.zone);
                format!("Muted by {} until {until}. / 已屏蔽至 {until}。", mute.actor)
            }
            None => "Not muted. / 未屏蔽。".to_owned(),
        }
    }
}

/// A button that somebody pressed who may.
struct Pressed {
    handled: Handled,
    act: Act,
    actor: String,
}

impl Pressed {
    /// Who is muted: whoever is called by name in a chat is not called any more, others mute the chat.
    fn muted(&self) -> &str {
        let is_called = self.handled.people.contains(&self.actor);
        if is_called { &self.actor } else { &self.handled.user }
    }
}

/// Names of events come from outside and may be long.
fn event_name(click: &Click) -> String {
    named(&click.event)
}

fn named(event: &str) -> String {
    let hash = channels::sign::hex(channels::sign::sha256(event.as_bytes()));
    format!("event:{hash}")
}
