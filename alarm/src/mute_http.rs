//! Mutes over HTTP for programs: ours under `/api/v1/mutes`, Open-Falcon's `/blockmonitor` beside it. All ask for
//! the token, since a mute keeps somebody from hearing of a fault.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use channels::mute::{Mute, Subject};
use channels::sign;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::mutes::{MuteFault, Wish};
use crate::people::People;

/// The routes.
pub(crate) fn routes() -> Router<Arc<People>> {
    Router::new()
        .route("/api/v1/mutes", get(list).post(create).delete(end))
        .route("/blockmonitor", post(block).delete(unblock))
        .route("/getblockmonitors", get(list_blocked))
}

/// What is posted, in our words.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Posted {
    user: String,
    metric: String,
    /// On every endpoint when it is not there.
    endpoint: Option<String>,
    #[serde(default)]
    seconds: u64,
}

/// What is posted, in Open-Falcon's words.
#[derive(Debug, Deserialize)]
struct Blocked {
    user_name: String,
    counter: String,
    #[serde(default)]
    time: u64,
}

impl Posted {
    fn wish(self) -> Wish {
        let subject = Subject { endpoint: self.endpoint, metric: self.metric };
        Wish::about(&self.user, &subject, self.seconds, format!("{} via API", self.user))
    }
}

impl Blocked {
    fn wish(self) -> Wish {
        let actor = format!("{} via /blockmonitor", self.user_name);
        Wish {
            user: self.user_name,
            counter: self.counter,
            subject: None,
            seconds: self.time,
            actor,
        }
    }
}

/// Why a request is not done, as the client is told.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    fault: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, fault: impl Into<String>) -> Self {
        Self { status, fault: fault.into() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.fault }))).into_response()
    }
}

impl From<MuteFault> for Refusal {
    fn from(fault: MuteFault) -> Self {
        let status = match &fault {
            MuteFault::Length(_) | MuteFault::Name(_) => StatusCode::BAD_REQUEST,
            MuteFault::Store(cause) => {
                tracing::error!(error = daemon::error_chain(cause), "cannot store a mute");
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        Self::new(status, fault.to_string())
    }
}

/// Whether a request carries the token. Without one in the settings none does.
pub(crate) fn may(people: &People, headers: &HeaderMap) -> Result<(), Refusal> {
    let token = people.config.token.expose();
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or("");
    if token.is_empty() {
        let advice = "this API is shut; set alarm.mutes.token to open it";
        return Err(Refusal::new(StatusCode::FORBIDDEN, advice));
    }
    if !sign::equal(token.as_bytes(), given.trim().as_bytes()) {
        let advice = "send the token of alarm.mutes.token as \"Authorization: Bearer …\"";
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, advice));
    }
    Ok(())
}

/// Reads a body whatever its content type: `curl -d` says that it is a form.
pub(crate) fn read<'a, T: Deserialize<'a>>(body: &'a Bytes) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|fault| {
        Refusal::new(StatusCode::BAD_REQUEST, format!("not what is asked for: {fault}"))
    })
}

async fn create(
    State(people): State<Arc<People>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    may(&people, &headers)?;
    mute(&people, read::<Posted>(&body)?.wish()).await
}

async fn block(
    State(people): State<Arc<People>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    may(&people, &headers)?;
    mute(&people, read::<Blocked>(&body)?.wish()).await
}

async fn mute(people: &People, wish: Wish) -> Result<Json<Value>, Refusal> {
    let until = people.office.mutes.mute(wish, people.now()).await?;
    Ok(Json(json!({ "msg": "success", "until": until.rfc3339() })))
}

async fn end(
    State(people): State<Arc<People>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    may(&people, &headers)?;
    unmute(&people, read::<Posted>(&body)?.wish()).await
}

/// Whoever knows only the counter means every mute of that name.
async fn unblock(
    State(people): State<Arc<People>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    may(&people, &headers)?;
    let wish = read::<Blocked>(&body)?.wish();
    let known = people.office.mutes.known();
    let same = |mute: &&Mute| mute.user == wish.user && mute.counter == wish.counter;
    let muted = known.live(people.now()).into_iter().filter(same);
    let subjects: Vec<Subject> = muted.filter_map(|mute| mute.subject.clone()).collect();
    for subject in subjects {
        let exact = Wish { subject: Some(subject), ..wish.clone() };
        people.office.mutes.unmute(exact, people.now()).await?;
    }
    unmute(&people, wish).await
}

async fn unmute(people: &People, wish: Wish) -> Result<Json<Value>, Refusal> {
    people.office.mutes.unmute(wish, people.now()).await?;
    Ok(Json(json!({ "msg": "success" })))
}

async fn list(
    State(people): State<Arc<People>>,
    headers: HeaderMap,
) -> Result<Json<Vec<Value>>, Refusal> {
    may(&people, &headers)?;
    let (known, now) = (people.office.mutes.known(), people.now());
    Ok(Json(known.live(now).into_iter().map(|mute| shown(mute, now)).collect()))
}

fn shown(mute: &Mute, now: model::Timestamp) -> Value {
    json!({
        "user": mute.user, "counter": mute.counter,
        "endpoint": mute.subject.as_ref().and_then(|subject| subject.endpoint.clone()),
        "metric": mute.subject.as_ref().map(|subject| subject.metric.clone()),
        "until": mute.until.rfc3339(), "seconds_left": mute.until.since(now).as_secs(),
        "actor": mute.actor, "made_at": mute.made_at.rfc3339(),
    })
}

async fn list_blocked(
    State(people): State<Arc<People>>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    may(&people, &headers)?;
    let (known, now) = (people.office.mutes.known(), people.now());
    let listed: Vec<Value> = known
        .live(now)
        .into_iter()
        .map(|mute| {
            let time = mute.until.since(now).as_secs();
            json!({ "user_name": mute.user, "counter": mute.counter, "time": time })
        })
        .collect();
    Ok(Json(json!({ "msg": "success", "data": listed })))
}
