//! Takes heartbeats over HTTP.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use daemon::PeerAddr;
use wire::heartbeat::{self, HeartbeatReply, HeartbeatRequest};

use crate::app::App;
use crate::metrics::HeartbeatResult;
use crate::upgrades::{Beat, Speaks};

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
    if let Err(full) = app.hear(&heartbeat, peer) {
        let text = format!(
            "hbs holds {} hosts, its limit hbs.hosts_max; raise it or remove hosts that are gone\n",
            full.hosts
        );
        return (StatusCode::TOO_MANY_REQUESTS, text).into_response();
    }
    let desired = app.desired_unless_applied(&heartbeat);
    let beat = Beat {
        host: &heartbeat.host.0,
        version: &heartbeat.agent_version,
        arch: &heartbeat.arch,
        labels: &heartbeat.labels,
        groups: &[],
        speaks: Speaks::Saker {
            report: heartbeat.upgrade.as_ref(),
            upgradable: heartbeat.upgradable,
        },
    };
    let now = app.clock.now();
    let upgrade = app.upgrades.offer_for(&beat, now).await;
    Json(HeartbeatReply { desired, upgrade, server_time: now }).into_response()
}
