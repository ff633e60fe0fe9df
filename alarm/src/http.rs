//! The Alertmanager API v2: alerts in and out. Errors are a JSON string, as its clients expect.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use db::DbError;
use db::alerts::{AlertSearch, AlertStatus, StoredAlert};
use model::{MatchOp, Matcher, Timestamp};
use wire::alert::{self, AlertGroup, AlertState, GettableAlert, Receiver as ReceiverName};

use crate::app::Common;
use crate::config::Config;
use crate::intake::{Intake, IntakeError, check};
use crate::notify::Receiver;
use crate::route::{matches_all, parse_matcher};
use crate::silence::Silence;
use crate::silence_http;
use crate::silences::Silences;

/// Faults that one answer lists; the rest is counted.
const FAULTS_LISTED_MAX: usize = 20;

/// What the handlers need.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) common: Common,
    pub(crate) config: Config,
    pub(crate) receivers: Vec<Receiver>,
    pub(crate) intake: Intake,
    pub(crate) silences: Silences,
    pub(crate) started_at: Timestamp,
}

/// The routes of the API.
pub(crate) fn routes(api: Arc<Api>) -> Router {
    let body_limit = DefaultBodyLimit::max(api.config.body_bytes_max);
    Router::new()
        .route(alert::PATH, get(list_alerts).post(post_alerts).layer(body_limit))
        .route("/api/v2/alerts/groups", get(list_groups))
        .route("/api/v2/status", get(status))
        .route("/api/v2/receivers", get(list_receivers))
        .merge(silence_http::routes())
        .with_state(api)
}

async fn post_alerts(State(api): State<Arc<Api>>, body: Result<Bytes, BytesRejection>) -> Response {
    match api.take(body).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err((status, fault)) => error(status, &fault),
    }
}

impl Api {
    async fn take(&self, body: Result<Bytes, BytesRejection>) -> Result<(), (StatusCode, String)> {
        let body = body.map_err(|rejection| body_fault(&rejection, self.config.body_bytes_max))?;
        let posted = alert::decode(&body).map_err(|fault| {
            let advice = "send a JSON list such as [{\"labels\":{\"alertname\":\"DiskFull\"}}]";
            (StatusCode::BAD_REQUEST, format!("not a list of alerts: {fault}; {advice}"))
        })?;
        let most = self.config.alerts_per_request_max;
        if posted.len() > most {
            let fault = format!(
                "{} alerts are more than alarm.alerts_per_request_max = {most}",
                posted.len()
            );
            return Err((StatusCode::PAYLOAD_TOO_LARGE, fault));
        }
        let now = self.common.clock.now();
        let (mut good, mut faults) = (Vec::with_capacity(posted.len()), Vec::new());
        for (position, posted) in posted.into_iter().enumerate() {
            match check(posted, now, &self.config) {
                Ok(news) => good.push(news),
                Err((refusal, fault)) => {
                    self.common.metrics.refused_alerts(refusal, 1);
                    faults.push(format!("alert {position}: {fault}"));
                }
            }
        }
        if !good.is_empty() {
            faults.extend(self.intake.take(good).await.map_err(intake_fault)?);
        }
        if faults.is_empty() { Ok(()) } else { Err((StatusCode::BAD_REQUEST, joined(&faults))) }
    }

    async fn listed(&self, wanted: &Wanted) -> Result<Vec<GettableAlert>, DbError> {
        // Whether a stale alert still fires is unknown, so it is not left out.
        let unresolved = AlertSearch {
            statuses: vec![AlertStatus::Firing, AlertStatus::Stale],
            ..AlertSearch::default()
        };
        let found = self.common.db.alerts().search(&unresolved, 0, u32::MAX).await?;
        let narrowed =
            found.into_iter().filter(|stored| matches_all(&wanted.filter, &stored.alert.labels));
        let listed = narrowed.map(|stored| self.gettable(stored));
        Ok(listed.filter(|alert| wanted.takes(alert)).collect())
    }

    fn gettable(&self, stored: StoredAlert) -> GettableAlert {
        let takes = |receiver: &&Receiver| matches_all(&receiver.matchers, &stored.alert.labels);
        let receivers = self.receivers.iter().filter(takes);
        let receivers = receivers.map(name_of).collect();
        let silenced_by = silenced_by(&self.silences.known(), &stored, self.common.clock.now());
        let state =
            if silenced_by.is_empty() { AlertState::Active } else { AlertState::Suppressed };
        let status = alert::AlertStatus { state, silenced_by, ..alert::AlertStatus::default() };
        GettableAlert::new(stored.alert, stored.updated_at, receivers, status)
    }
}

fn silenced_by(silences: &[Silence], stored: &StoredAlert, now: Timestamp) -> Vec<String> {
    let holds = |silence: &&Silence| silence.holds(&stored.alert.labels, now);
    silences.iter().filter(holds).map(|silence| silence.id.clone()).collect()
}

fn name_of(receiver: &Receiver) -> ReceiverName {
    ReceiverName { name: receiver.name.clone() }
}

fn body_fault(rejection: &BytesRejection, limit: usize) -> (StatusCode, String) {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => (
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than alarm.body_bytes_max = {limit}"),
        ),
        status => (status, rejection.body_text()),
    }
}

fn intake_fault(error: IntakeError) -> (StatusCode, String) {
    let status = match error {
        IntakeError::Busy => StatusCode::SERVICE_UNAVAILABLE,
        IntakeError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, error.to_string())
}

fn joined(faults: &[String]) -> String {
    let mut text =
        faults.iter().take(FAULTS_LISTED_MAX).map(String::as_str).collect::<Vec<_>>().join("; ");
    if faults.len() > FAULTS_LISTED_MAX {
        text.push_str(&format!("; and {} more", faults.len() - FAULTS_LISTED_MAX));
    }
    text
}

pub(crate) fn error(status: StatusCode, text: &str) -> Response {
    (status, Json(text)).into_response()
}

async fn list_alerts(
    State(api): State<Arc<Api>>,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    let wanted = match Wanted::read(&query) {
        Ok(wanted) => wanted,
        Err(fault) => return error(StatusCode::BAD_REQUEST, &fault),
    };
    match api.listed(&wanted).await {
        Ok(listed) => Json(listed).into_response(),
        Err(fault) => cannot_list(&fault),
    }
}

/// The alerts by receiver and group: as every alert is told by itself, a group has all labels of its alert.
async fn list_groups(
    State(api): State<Arc<Api>>,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    let wanted = match Wanted::read(&query) {
        Ok(wanted) => wanted,
        Err(fault) => return error(StatusCode::BAD_REQUEST, &fault),
    };
    let listed = match api.listed(&wanted).await {
        Ok(listed) => listed,
        Err(fault) => return cannot_list(&fault),
    };
    let of_alert = |alert: &GettableAlert| -> Vec<AlertGroup> {
        let group = |receiver: &ReceiverName| AlertGroup {
            labels: alert.labels.clone(),
            receiver: receiver.clone(),
            alerts: vec![alert.clone()],
        };
        alert
            .receivers
            .iter()
            .filter(|receiver| wanted.takes_receiver(receiver))
            .map(group)
            .collect()
    };
    Json(listed.iter().flat_map(of_alert).collect::<Vec<_>>()).into_response()
}

fn cannot_list(fault: &DbError) -> Response {
    tracing::error!(error = daemon::error_chain(fault), "cannot list alerts");
    error(StatusCode::INTERNAL_SERVER_ERROR, "alerts cannot be read now; ask again")
}

/// What `GET /api/v2/alerts` asks for.
#[derive(Debug)]
struct Wanted {
    active: bool,
    silenced: bool,
    filter: Vec<Matcher>,
    receiver: Option<Matcher>,
}

impl Wanted {
    fn read(query: &[(String, String)]) -> Result<Self, String> {
        let mut wanted = Self { active: true, silenced: true, filter: Vec::new(), receiver: None };
        for (key, value) in query {
            match key.as_str() {
                "active" => wanted.active = yes_or_no(key, value)?,
                "silenced" => wanted.silenced = yes_or_no(key, value)?,
                "filter" => wanted
                    .filter
                    .push(parse_matcher(value).map_err(|fault| format!("filter: {fault}"))?),
                "receiver" => {
                    let matcher = Matcher::new("receiver", MatchOp::Regex, value);
                    wanted.receiver = Some(matcher.map_err(|fault| fault.to_string())?);
                }
                // Nothing is inhibited or unprocessed yet, so these narrow nothing.
                _ => {}
            }
        }
        Ok(wanted)
    }

    fn takes(&self, alert: &GettableAlert) -> bool {
        let takes_state =
            if alert.status.silenced_by.is_empty() { self.active } else { self.silenced };
        let mut receivers = alert.receivers.iter();
        takes_state
            && (self.receiver.is_none() || receivers.any(|receiver| self.takes_receiver(receiver)))
    }

    fn takes_receiver(&self, receiver: &ReceiverName) -> bool {
        self.receiver.as_ref().is_none_or(|pattern| pattern.matches(&receiver.name))
    }
}

fn yes_or_no(key: &str, value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| format!("{key}: {value:?} is neither true nor false"))
}

async fn list_receivers(State(api): State<Arc<Api>>) -> Response {
    Json(api.receivers.iter().map(name_of).collect::<Vec<_>>()).into_response()
}

async fn status(State(api): State<Arc<Api>>) -> Response {
    let version = env!("CARGO_PKG_VERSION");
    // Names only: the addresses of receivers hold tokens.
    let receivers: Vec<&str> =
        api.receivers.iter().map(|receiver| receiver.name.as_str()).collect();
    let body = serde_json::json!({
        "cluster": { "name": "", "status": "disabled", "peers": [] },
        "config": { "original": format!("receivers: {receivers:?}\n") },
        "uptime": api.started_at.rfc3339(),
        "versionInfo": {
            "version": version, "revision": "", "branch": "",
            "buildUser": "", "buildDate": "", "goVersion": "",
        },
    });
    Json(body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &[(&str, &str)]) -> Result<Wanted, String> {
        let query: Vec<_> =
            query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Wanted::read(&query)
    }

    #[test]
    fn a_query_is_read_with_its_faults_named() {
        let wanted = read(&[
            ("filter", "a=b"),
            ("filter", "c=~d"),
            ("silenced", "false"),
            ("active", "false"),
        ]);
        assert_eq!(wanted.map(|wanted| (wanted.active, wanted.filter.len())), Ok((false, 2)));
        assert!(read(&[("active", "maybe")]).is_err_and(|fault| fault.contains("active")));
        assert!(read(&[("filter", "a")]).is_err_and(|fault| fault.contains("filter")));
        assert!(read(&[("receiver", "(")]).is_err());
    }

    #[test]
    fn a_flood_of_faults_is_cut() {
        let faults: Vec<String> = (0..50).map(|n| n.to_string()).collect();
        assert!(joined(&faults).ends_with("19; and 30 more"));
    }

    #[test]
    fn a_sender_that_comes_too_fast_is_told_to_come_again() {
        let (status, text) = intake_fault(IntakeError::Busy);
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(text.contains("send again in a second"), "{text}");
    }
}
