//! Silences in the Alertmanager API v2. Errors are a JSON string, as its clients expect.

use std::cmp::Reverse;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use daemon::PeerAddr;
use model::{Matcher, Timestamp};
use wire::silence::{GettableSilence, PATH, PostableSilence, PostedSilence, SilenceState};

use crate::http::{Api, error};
use crate::matchers::parse_matcher;
use crate::silence::{Silence, SilenceFault};
use crate::silences::ChangeError;

/// The routes of silences.
pub(crate) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route(PATH, get(list).post(post))
        .route("/api/v2/silence/{id}", get(show).delete(expire))
}

async fn post(State(api): State<Arc<Api>>, PeerAddr(peer): PeerAddr, body: Bytes) -> Response {
    let posted: PostableSilence = match serde_json::from_slice(&body) {
        Ok(posted) => posted,
        Err(fault) => return error(StatusCode::BAD_REQUEST, &format!("not a silence: {fault}")),
    };
    let (author, comment) = (posted.created_by.clone(), posted.comment.clone());
    let (now, peer) = (api.common.clock.now(), peer.ip().to_string());
    match api.common.silences.post(posted, (&author, &peer), now).await {
        Ok(silence_id) => {
            tracing::info!(silence.id = silence_id, author, comment, "silence stored");
            Json(PostedSilence { silence_id }).into_response()
        }
        Err(fault) => refused(&fault),
    }
}

async fn expire(
    State(api): State<Arc<Api>>,
    PeerAddr(peer): PeerAddr,
    Path(id): Path<String>,
) -> Response {
    let (now, peer) = (api.common.clock.now(), peer.ip().to_string());
    // The API does not say who.
    match api.common.silences.expire(&id, ("", &peer), now).await {
        Ok(()) => {
            tracing::info!(silence.id = id, "silence ended");
            StatusCode::OK.into_response()
        }
        Err(fault) => refused(&fault),
    }
}

fn refused(fault: &ChangeError) -> Response {
    let status = match fault {
        ChangeError::Refused(SilenceFault::Unknown(_)) => StatusCode::NOT_FOUND,
        ChangeError::Refused(_) => StatusCode::BAD_REQUEST,
        ChangeError::Store(cause) => {
            tracing::error!(error = daemon::error_chain(cause), "cannot store a silence");
            StatusCode::INTERNAL_SERVER_ERROR
        }
    };
    error(status, &fault.to_string())
}

async fn show(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Response {
    match api.common.silences.known().iter().find(|silence| silence.id == id) {
        Some(silence) => Json(silence.listed(api.common.clock.now())).into_response(),
        None => refused(&ChangeError::Refused(SilenceFault::Unknown(id))),
    }
}

async fn list(State(api): State<Arc<Api>>, Query(query): Query<Vec<(String, String)>>) -> Response {
    match Wanted::read(&query) {
        Ok(wanted) => Json(wanted.listed(&api.common.silences.known(), api.common.clock.now()))
            .into_response(),
        Err(fault) => error(StatusCode::BAD_REQUEST, &fault),
    }
}

/// What `GET /api/v2/silences` asks for.
#[derive(Debug, Default)]
struct Wanted {
    filter: Vec<Matcher>,
    unwanted: Vec<SilenceState>,
}

impl Wanted {
    fn read(query: &[(String, String)]) -> Result<Self, String> {
        let mut wanted = Self::default();
        for (key, value) in query {
            let state = match key.as_str() {
                "filter" => {
                    let matcher =
                        parse_matcher(value).map_err(|fault| format!("filter: {fault}"))?;
                    wanted.filter.push(matcher);
                    continue;
                }
                "active" => SilenceState::Active,
                "pending" => SilenceState::Pending,
                "expired" => SilenceState::Expired,
                _ => continue,
            };
            match value.parse() {
                Ok(true) => {}
                Ok(false) => wanted.unwanted.push(state),
                Err(_) => return Err(format!("{key}: {value:?} is neither true nor false")),
            }
        }
        Ok(wanted)
    }

    /// Those that hold come first, the soonest to end before others; then those to come; the latest ended
    /// close the list.
    fn listed(&self, known: &[Silence], now: Timestamp) -> Vec<GettableSilence> {
        let takes = |silence: &&Silence| {
            silence.is_about(&self.filter) && !self.unwanted.contains(&silence.state(now))
        };
        let mut listed: Vec<GettableSilence> =
            known.iter().filter(takes).map(|silence| silence.listed(now)).collect();
        listed.sort_by_key(|silence| match silence.status.state {
            SilenceState::Active => (SilenceState::Active, silence.ends_at.0, Reverse(0)),
            SilenceState::Pending => (SilenceState::Pending, silence.starts_at.0, Reverse(0)),
            SilenceState::Expired => (SilenceState::Expired, 0, Reverse(silence.ends_at.0)),
        });
        listed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::silence::tests::{matcher, silence};

    fn listed(query: &[(&str, &str)], known: &[Silence], now: Timestamp) -> Vec<String> {
        let query: Vec<_> =
            query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let wanted = Wanted::read(&query).unwrap();
        wanted.listed(known, now).into_iter().map(|silence| silence.id).collect()
    }

    #[test]
    fn those_that_hold_come_first_and_a_state_can_be_left_out() {
        let now = Timestamp(1_760_000_000_000);
        let minutes = |n: u64| Duration::from_secs(n * 60);
        let about =
            |id: &str, team: &str, from| silence(id, vec![matcher("team", team, false)], from);
        let known = [
            about("old", "db", now.minus(minutes(300))),
            about("over", "db", now.minus(minutes(90))),
            about("late", "db", now.minus(minutes(10))),
            about("soon", "web", now.minus(minutes(50))),
            about("next", "db", now.plus(minutes(10))),
        ];
        assert_eq!(listed(&[], &known, now), ["soon", "late", "next", "over", "old"]);
        let filter = [("expired", "false"), ("filter", "team=db")];
        assert_eq!(listed(&filter, &known, now), ["late", "next"]);
        assert!(Wanted::read(&[("active".into(), "maybe".into())]).is_err());
        assert!(Wanted::read(&[("filter".into(), "team".into())]).is_err());
    }
}
