//! Who was told what, through which bot, and why somebody was not; what finally failed, and "send again".

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use channels::next::Progress;
use db::DbError;
use db::alerts::{AlertStatus, StoredAlert};
use db::messages::{AttemptRow, MessageRow, Stage};
use model::{Fingerprint, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use wire::silence::GettableSilence;

use crate::incident;
use crate::mute_http::{Refusal, may};
use crate::notification::Notification;
use crate::notify::gather::{GATHERED, QUIET_HOURS};
use crate::notify::{Answer, Receiver, Way};
use crate::people::People;
use crate::plan::Plan;

/// Messages in one answer.
const LISTED_MAX: u32 = 500;

/// The routes.
pub(crate) fn routes() -> Router<Arc<People>> {
    Router::new()
        .route("/api/v1/alerts/{fingerprint}/delivery", get(delivery))
        .route("/api/v1/messages", get(list))
        .route("/api/v1/messages/{id}/send-again", post(send_again))
        .route("/api/v1/receivers/{name}/test", post(test))
}

#[derive(Debug, Deserialize)]
struct Wanted {
    /// Only what concerns this person or chat.
    user: Option<String>,
}

async fn delivery(
    State(people): State<Arc<People>>,
    Path(fingerprint): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Value>, Refusal> {
    let alert = Fingerprint::parse(&fingerprint).ok_or_else(|| {
        let advice = "not the fingerprint of an alert: sixteen hexadecimal digits";
        Refusal::new(StatusCode::BAD_REQUEST, advice)
    })?;
    Ok(Json(people.delivery(alert, wanted.user.as_deref()).await?))
}

impl From<DbError> for Refusal {
    fn from(error: DbError) -> Self {
        tracing::error!(error = daemon::error_chain(&error), "cannot read or change messages");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the store does not answer; ask again")
    }
}

impl People {
    async fn delivery(&self, alert: Fingerprint, user: Option<&str>) -> Result<Value, DbError> {
        let db = &self.office.common.db;
        let is_wanted = |row: &MessageRow| user.is_none_or(|user| row.recipient == user);
        let mut rows = db.messages().about(alert, LISTED_MAX).await?;
        rows.retain(is_wanted);
        let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
        let attempts = db.messages().attempts(&ids).await?;
        let messages: Vec<Value> = rows
            .iter()
            .map(|row| shown(row, attempts.iter().filter(|attempt| attempt.message_id == row.id)))
            .collect();
        // What the pipeline decided before there was a message.
        let told = db.alerts().told(&[alert]).await?;
        let decided: Vec<Value> = told
            .iter()
            .map(|told| {
                json!({
                    "receiver": told.receiver, "result": told.result.as_str(),
                    "reason": told.detail, "at": told.tried_at.rfc3339(),
                })
            })
            .collect();
        let now = self.now();
        let stored = db.alerts().load(&[alert]).await?.pop();
        let is_over = |stored: &&StoredAlert| stored.status == AlertStatus::Resolved;
        let over_at = stored.as_ref().filter(is_over).map(|stored| stored.alert.ends_at);
        let steps = db.claims().steps(alert, LISTED_MAX).await?;
        let claims: Vec<Value> =
            incident::steps(&steps, now, over_at).iter().map(incident::step_json).collect();
        let known = self.office.common.silences.known();
        let silences = stored.iter().flat_map(|stored| {
            incident::silences(&known, &stored.alert.labels, now).map(|held| held.listed(now))
        });
        let silences: Vec<GettableSilence> = silences.collect();
        let answer = json!({
            "fingerprint": alert.to_string(), "messages": messages, "receivers": decided,
            "claims": claims, "silences": silences,
        });
        let Some(user) = user else { return Ok(answer) };
        let why = match rows.first() {
            Some(row) => why(row),
            None => format!(
                "no message about this alert was addressed to {user}; \"receivers\" says what was \
                 decided for each receiver"
            ),
        };
        let mut answer = answer;
        answer["why"] = json!(why);
        Ok(answer)
    }
}

/// Why somebody was told or not, as a sentence.
fn why(row: &MessageRow) -> String {
    let (who, when) = (&row.recipient, row.done_at.rfc3339());
    let reason = match (row.code.is_empty(), row.detail.is_empty()) {
        (true, true) => "no answer yet".to_owned(),
        (true, false) => row.detail.clone(),
        (false, true) => row.code.clone(),
        (false, false) => format!("{}: {}", row.code, row.detail),
    };
    match row.stage {
        Stage::Sent => format!("{who} was told at {when}"),
        Stage::Digested => format!("{who} was told at {when}, as a part of a digest"),
        Stage::Muted => format!("{who} was not told: {}", row.detail),
        Stage::Failed => format!("{who} was not told, it has finally failed at {when} ({reason})"),
        Stage::Waiting if [QUIET_HOURS, GATHERED].contains(&row.code.as_str()) => {
            let next = row.next_at.rfc3339();
            format!("{who} was not told yet: {}; all of it goes as one at {next}", row.detail)
        }
        Stage::Waiting => format!("{who} is being told ({reason})"),
        Stage::Parked => {
            format!("{who} could not be told yet ({reason}); next at {}", row.next_at.rfc3339())
        }
    }
}

fn shown<'a>(row: &MessageRow, attempts: impl Iterator<Item = &'a AttemptRow>) -> Value {
    let attempts: Vec<Value> = attempts
        .map(|attempt| {
            json!({
                "at": attempt.tried_at.rfc3339(), "channel": attempt.channel,
                "bot": attempt.bot, "result": attempt.result, "code": attempt.code,
                "text": attempt.detail, "duration_ms": attempt.duration_ms,
            })
        })
        .collect();
    json!({
        "id": row.id, "receiver": row.receiver, "recipient": row.recipient, "kind": row.kind,
        "stage": row.stage.as_str(), "created_at": row.created_at.rfc3339(),
        "done_at": (row.done_at.0 > 0).then(|| row.done_at.rfc3339()),
        "next_at": row.next_at.rfc3339(), "code": row.code, "text": row.detail,
        "why": why(row), "attempts": attempts,
    })
}

#[derive(Debug, Deserialize)]
struct Listed {
    stage: Option<String>,
}

async fn list(
    State(people): State<Arc<People>>,
    Query(wanted): Query<Listed>,
) -> Result<Json<Vec<Value>>, Refusal> {
    let word = wanted.stage.unwrap_or_else(|| Stage::Failed.as_str().to_owned());
    let stage = Stage::parse(&word).ok_or_else(|| {
        let words = Stage::ALL.map(Stage::as_str).join(", ");
        Refusal::new(StatusCode::BAD_REQUEST, format!("stage is one of {words}"))
    })?;
    let rows = people.office.common.db.messages().in_stage(stage, LISTED_MAX).await?;
    Ok(Json(rows.iter().map(|row| shown(row, std::iter::empty())).collect()))
}

async fn send_again(
    State(people): State<Arc<People>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    may(&people, &headers)?;
    if people.send_again(&id).await? {
        return Ok(Json(json!({ "msg": "success" })));
    }
    let fault = "there is no such message among those that finally failed";
    Err(Refusal::new(StatusCode::CONFLICT, fault))
}

impl People {
    /// Puts a message that finally failed back among those that wait; `false` when there is none.
    async fn send_again(&self, id: &str) -> Result<bool, DbError> {
        let messages = self.office.common.db.messages();
        let Some(mut row) = messages.load(&[id.to_owned()]).await?.pop() else { return Ok(false) };
        if row.stage != Stage::Failed {
            return Ok(false);
        }
        let progress: Progress = serde_json::from_str(&row.progress).unwrap_or_default();
        row.progress = serde_json::to_string(&progress.afresh()).unwrap_or_default();
        (row.stage, row.next_at, row.done_at) = (Stage::Waiting, self.now(), Timestamp(0));
        let receiver = row.receiver.clone();
        messages.settle(&[row], &[]).await?;
        self.office.ring(&receiver);
        Ok(true)
    }
}

impl People {
    /// Posts a test to a webhook once, and tells what came back.
    async fn test_webhook(&self, name: &str, plan: &Plan, receiver: &Receiver) -> Value {
        let now = self.now();
        let url = &self.office.common.config.external_url;
        let notification = Notification::test(plan.receiver_of(name).unwrap_or(name), url, now);
        let answer = receiver.send(&self.office, notification).await;
        let is_sent = matches!(answer, Answer::Accepted { .. });
        json!({
            "messages": [],
            "answer": { "sent": is_sent, "code": answer.code(), "text": answer.detail() },
        })
    }
}

async fn test(
    State(people): State<Arc<People>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<Value>), Refusal> {
    may(&people, &headers)?;
    // As it is set now: it may have had bots, which still send what was stored for them.
    let plan = Arc::clone(&people.office.common.plans.borrow());
    let receiver = plan
        .integration(&name)
        .ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "there is no receiver of that name"))?;
    let Way::Bots(team) = &receiver.way else {
        let answer = people.test_webhook(&name, &plan, receiver).await;
        return Ok((StatusCode::OK, Json(answer)));
    };
    let ids = people.office.test(team).await.map_err(|error| {
        tracing::error!(error = format!("{error:#}"), "cannot test a receiver");
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the store does not answer; ask again")
    })?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "messages": ids }))))
}
