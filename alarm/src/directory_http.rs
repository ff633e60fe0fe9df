//! Users, teams and who is on call, over HTTP. Everybody who reaches the port may read; addresses of people are
//! shown, and changes taken, only from programs on this machine and with a token of `alarm.token_file`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use daemon::{Caller, Door, PeerAddr};
use db::ExpectedVersion;
use db::directory::EntryKind;
use model::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::Common;
use crate::directory::{Source, StandInConfig, Team, TeamConfig, User, UserConfig};
use crate::directory_store::{ChangeFault, Entry};
use crate::mute_http::{Refusal, read};
use crate::rotation::{AHEAD, Shift};

/// What the handlers need.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) common: Common,
    pub(crate) door: Arc<Door>,
}

/// The routes.
pub(crate) fn routes(desk: Arc<Desk>) -> Router {
    let remove = |kind| {
        move |State(desk): State<Arc<Desk>>, change: Change| Desk::remove(desk, kind, change)
    };
    let (user_gone, team_gone) = (remove(EntryKind::User), remove(EntryKind::Team));
    Router::new()
        .route("/api/v1/users", get(users))
        .route("/api/v1/users/{name}", get(user).put(put_user).delete(user_gone))
        .route("/api/v1/teams", get(teams))
        .route("/api/v1/teams/{name}", get(team).put(put_team).delete(team_gone))
        .route("/api/v1/teams/{name}/stand-ins", post(add_stand_in))
        .route("/api/v1/teams/{name}/stand-ins/{id}", delete(remove(EntryKind::StandIn)))
        .route("/api/v1/oncall", get(on_call))
        .with_state(desk)
}

impl From<ChangeFault> for Refusal {
    fn from(fault: ChangeFault) -> Self {
        let status = match &fault {
            ChangeFault::Faults(_) | ChangeFault::TooMany(_) => StatusCode::BAD_REQUEST,
            ChangeFault::InSettings(_) | ChangeFault::Conflict(_) => StatusCode::CONFLICT,
            ChangeFault::Unknown(_) => StatusCode::NOT_FOUND,
            ChangeFault::Store(cause) => {
                tracing::error!(error = daemon::error_chain(cause), "cannot store a change");
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        Self::new(status, fault.to_string())
    }
}

impl Desk {
    fn now(&self) -> Timestamp {
        self.common.clock.now()
    }

    fn admit(&self, PeerAddr(peer): PeerAddr, headers: &HeaderMap) -> Result<Caller, Refusal> {
        self.door.admit(peer, headers).map_err(|why| {
            tracing::warn!(%peer, why, "a change of users or teams was refused");
            Refusal::new(StatusCode::FORBIDDEN, why)
        })
    }
}

/// An address of which only the end is shown.
pub(crate) fn masked(address: &str) -> String {
    let count = address.chars().count();
    let shown = if count > 6 { 3 } else { 0 };
    format!("•••{}", address.chars().skip(count - shown).collect::<String>())
}

fn shown_source(source: &Source, body: &mut Value) {
    match source {
        Source::Settings => body["source"] = json!("settings"),
        Source::Stored { version, changed_at, changed_by } => {
            body["source"] = json!("api");
            body["version"] = json!(version);
            body["changedAt"] = json!(changed_at.rfc3339());
            body["changedBy"] = json!(changed_by);
        }
    }
}

fn shown_user(user: &User, is_admitted: bool) -> Value {
    let mut body = json!(user.config);
    if !is_admitted {
        let addresses = user.config.addresses.iter();
        body["addresses"] = addresses.map(|(kind, text)| (kind.as_str(), masked(text))).collect();
    }
    shown_source(&user.source, &mut body);
    body
}

fn shown_team(team: &Team, now: Timestamp) -> Value {
    let mut body = json!(team.config);
    shown_source(&team.source, &mut body);
    let stand_ins = team.stand_ins.iter().map(|one| {
        json!({
            "id": one.id, "user": one.person, "from": one.from.rfc3339(), "until": one.until.rfc3339(),
        })
    });
    body["standIns"] = stand_ins.collect();
    body["onCall"] = shown_shift(&team.on_call(now));
    body
}

/// Moments that are far off, where nothing begins or ends, are left out.
fn shown_shift(shift: &Shift) -> Value {
    let moment =
        |at: Timestamp| (at != Timestamp::MIN && at != Timestamp::MAX).then(|| at.rfc3339());
    json!({
        "user": shift.person, "from": moment(shift.from), "until": moment(shift.until),
        "isStandIn": shift.is_stand_in,
    })
}

async fn users(
    State(desk): State<Arc<Desk>>,
    PeerAddr(peer): PeerAddr,
    headers: HeaderMap,
) -> Json<Vec<Value>> {
    let is_admitted = desk.door.admit(peer, &headers).is_ok();
    let directory = desk.common.directory.known();
    Json(directory.users.values().map(|user| shown_user(user, is_admitted)).collect())
}

async fn user(
    State(desk): State<Arc<Desk>>,
    PeerAddr(peer): PeerAddr,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    let is_admitted = desk.door.admit(peer, &headers).is_ok();
    let directory = desk.common.directory.known();
    match directory.users.get(&name) {
        Some(user) => Ok(Json(shown_user(user, is_admitted))),
        None => Err(ChangeFault::Unknown(format!("user {name}")).into()),
    }
}

/// Which version a change is made from: any, if it is not said; 0 for an entry that is not there yet.
#[derive(Debug, Deserialize)]
struct Meant {
    version: Option<i64>,
}

/// See [`Meant`].
pub(crate) fn expected(version: Option<i64>) -> ExpectedVersion {
    match version {
        None => ExpectedVersion::Any,
        Some(0) => ExpectedVersion::None,
        Some(version) => ExpectedVersion::Is(version),
    }
}

async fn teams(State(desk): State<Arc<Desk>>) -> Json<Vec<Value>> {
    let (directory, now) = (desk.common.directory.known(), desk.now());
    Json(directory.teams.values().map(|team| shown_team(team, now)).collect())
}

async fn team(
    State(desk): State<Arc<Desk>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let (directory, now) = (desk.common.directory.known(), desk.now());
    let team = directory.teams.get(&name);
    let team = team.ok_or_else(|| ChangeFault::Unknown(format!("team {name}")))?;
    let mut body = shown_team(team, now);
    body["schedule"] = team.schedule(now, now.plus(AHEAD)).iter().map(shown_shift).collect();
    Ok(Json(body))
}

/// Who changes what. A handler that takes it is for those only who may.
struct Change {
    caller: Caller,
    name: String,
    expected: ExpectedVersion,
}

impl FromRequestParts<Arc<Desk>> for Change {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk>) -> Result<Self, Response> {
        let peer = PeerAddr::from_request_parts(parts, desk).await;
        let peer = peer.map_err(IntoResponse::into_response)?;
        let caller = desk.admit(peer, &parts.headers).map_err(IntoResponse::into_response)?;
        let name = Path::<Vec<(String, String)>>::from_request_parts(parts, desk).await;
        // The last part of the address is what is changed; a stand-in has its team before it.
        let name = name.map_err(IntoResponse::into_response)?.0.pop();
        let meant = Query::<Meant>::from_request_parts(parts, desk).await;
        let Query(meant) = meant.map_err(IntoResponse::into_response)?;
        let name = name.map(|(_, name)| name).unwrap_or_default();
        Ok(Self { caller, name, expected: expected(meant.version) })
    }
}

async fn put_user(
    State(desk): State<Arc<Desk>>,
    Change { caller, name, expected }: Change,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let user = UserConfig { name, ..read(&body)? };
    desk.put(&caller, Entry::User(&user), expected, &user.name).await
}

async fn put_team(
    State(desk): State<Arc<Desk>>,
    Change { caller, name, expected }: Change,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let team = TeamConfig { name, ..read(&body)? };
    desk.put(&caller, Entry::Team(&team), expected, &team.name).await
}

/// What is posted to make somebody a stand-in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Posted {
    user: String,
    from: String,
    until: String,
}

async fn add_stand_in(
    State(desk): State<Arc<Desk>>,
    Change { caller, name: team, .. }: Change,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let Posted { user, from, until } = read(&body)?;
    let (from, until) = (instant("from", &from)?.0, instant("until", &until)?.0);
    let stand_in = StandInConfig { team, user, from, until };
    let id = desk.common.directory.add_stand_in(&caller, &stand_in, desk.now()).await?;
    Ok(Json(json!({ "id": id })))
}

impl Desk {
    async fn put(
        &self,
        caller: &Caller,
        entry: Entry<'_>,
        expected: ExpectedVersion,
        name: &str,
    ) -> Result<Json<Value>, Refusal> {
        let version = self.common.directory.put(caller, entry, expected, self.now()).await?;
        Ok(Json(json!({ "name": name, "version": version })))
    }

    async fn remove(
        self: Arc<Self>,
        kind: EntryKind,
        change: Change,
    ) -> Result<Json<Value>, Refusal> {
        let Change { caller, name, expected } = change;
        self.common.directory.remove(&caller, (kind, &name), expected, self.now()).await?;
        Ok(Json(json!({ "msg": "success" })))
    }
}

fn instant(field: &str, text: &str) -> Result<Timestamp, Refusal> {
    let seconds = text.parse::<i64>().ok().and_then(|seconds| seconds.checked_mul(1_000));
    let at = Timestamp::parse_rfc3339(text).or(seconds.map(Timestamp));
    at.ok_or_else(|| {
        let advice = "write it as 2026-01-05T09:00:00+08:00, or in seconds since the epoch";
        Refusal::new(StatusCode::BAD_REQUEST, format!("{field}: {text:?} is no moment; {advice}"))
    })
}

#[derive(Debug, Deserialize)]
struct Asked {
    at: Option<String>,
    team: Option<String>,
}

async fn on_call(
    State(desk): State<Arc<Desk>>,
    Query(asked): Query<Asked>,
) -> Result<Json<Vec<Value>>, Refusal> {
    let at = match &asked.at {
        None => desk.now(),
        Some(text) => instant("at", text)?,
    };
    let directory = desk.common.directory.known();
    if let Some(name) = &asked.team
        && !directory.teams.contains_key(name)
    {
        return Err(ChangeFault::Unknown(format!("team {name}")).into());
    }
    let is_asked = |team: &&Team| match &asked.team {
        Some(name) => team.config.name == *name,
        None => team.has_duty(),
    };
    let listed = directory.teams.values().filter(is_asked).map(|team| {
        let shift = team.on_call(at);
        let next = team.on_call(shift.until);
        let mut body = shown_shift(&shift);
        body["team"] = json!(team.config.name);
        body["next"] = json!(next.person);
        body
    });
    Ok(Json(listed.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_address_only_the_end_is_shown() {
        for (address, expected) in [("+8613812345678", "•••678"), ("ou_1", "•••"), ("", "•••")]
        {
            assert_eq!(masked(address), expected);
        }
    }

    #[test]
    fn a_moment_is_rfc_3339_or_seconds() {
        let read = |text: &str| instant("at", text).ok();
        assert_eq!(read("2026-01-05T09:00:00+08:00"), Some(Timestamp(1_767_574_800_000)));
        assert_eq!(read("1767574800"), Some(Timestamp(1_767_574_800_000)));
        for text in ["", "now", "9223372036854775807", "2026-01-05"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
