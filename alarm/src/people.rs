//! What people do with messages: press buttons, follow links, ask what was sent to whom.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::map_response;
use channels::callback::BODY_BYTES_MAX;
use daemon::page::{Frame, hide_from_robots};
use model::Timestamp;

use crate::claiming::Claimer;
use crate::config::MutesConfig;
use crate::notify::office::Office;
use crate::notify::redraw::Easel;
use crate::{claim_page, delivery_http, hooks, mute_http, mute_page};

/// What the handlers need.
#[derive(Debug)]
pub(crate) struct People {
    pub(crate) office: Office,
    pub(crate) config: MutesConfig,
    pub(crate) claimer: Claimer,
    pub(crate) easel: Easel,
}

impl People {
    pub(crate) fn now(&self) -> Timestamp {
        self.office.common.clock.now()
    }
}

/// The routes of all that.
pub(crate) fn routes(people: Arc<People>, frame: &Frame) -> Router {
    let pages = mute_page::routes().merge(claim_page::routes());
    Router::new()
        .merge(mute_http::routes())
        .merge(frame.dress(pages.layer(map_response(hide_from_robots))))
        .merge(hooks::routes())
        .merge(delivery_http::routes())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(people)
}
