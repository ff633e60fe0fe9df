//! Takes heartbeats over HTTP.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use daemon::PeerAddr;
use wire::heartbeat::{self, DesiredState, HeartbeatReply, HeartbeatRequest};

use super::App;
use crate::fleet::Heard;
use crate::metrics::HeartbeatResult;
use crate::upgrades::{Caller, Speaks};

pub(super) fn routes() -> Router<Arc<App>> {
    let body_limit = DefaultBodyLimit::max(heartbeat::BODY_BYTES_MAX);
    Router::new().route(heartbeat::PATH, post(take_heartbeat).layer(body_limit))
}

// The body is read as JSON whatever its content type says, so that plain `curl -d` works.
async fn take_heartbeat(
    State(app): State<Arc<App>>,
    PeerAddr(peer): PeerAddr,
    body: Bytes,
) -> Response {
    let heartbeat = match HeartbeatRequest::decode(&body) {
        Ok(heartbeat) => heartbeat,
        Err(error) => {
            app.metrics.count(HeartbeatResult::Malformed);
            return (StatusCode::BAD_REQUEST, format!("{}\n", daemon::error_chain(&error)))
                .into_response();
        }
    };
    let now = app.clock.now();
    let (heard, hosts) = {
        let mut fleet = app.fleet();
        (fleet.hear(&heartbeat, &peer.ip().to_string(), now), fleet.len())
    };
    app.metrics.count(result_of(heard));
    app.metrics.hosts.set(i64::try_from(hosts).unwrap_or(i64::MAX));
    if heard == Heard::Full {
        let text = format!(
            "hbs holds {hosts} hosts, its limit hbs.hosts_max; raise it or remove hosts that are gone\n"
        );
        return (StatusCode::TOO_MANY_REQUESTS, text).into_response();
    }
    let interval = u32::try_from(app.config.heartbeat_interval.as_secs()).unwrap_or(u32::MAX);
    let desired = DesiredState { heartbeat_interval_seconds: interval, ..DesiredState::default() };
    let caller = Caller {
        host: &heartbeat.host.0,
        version: &heartbeat.agent_version,
        arch: &heartbeat.arch,
        labels: &heartbeat.labels,
        groups: &[],
        group_sizes: &[],
        speaks: Speaks::Saker {
            report: heartbeat.upgrade.as_ref(),
            upgradable: heartbeat.upgradable,
        },
    };
    let upgrade = app.upgrades.offer_for(&caller, now).await;
    Json(HeartbeatReply { desired: Some(desired), upgrade, server_time: now }).into_response()
}

fn result_of(heard: Heard) -> HeartbeatResult {
    match heard {
        Heard::New => HeartbeatResult::New,
        Heard::Changed => HeartbeatResult::Changed,
        Heard::Same => HeartbeatResult::Same,
        Heard::Full => HeartbeatResult::Full,
    }
}
