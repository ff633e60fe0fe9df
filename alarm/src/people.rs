//! What people do with messages: press buttons, follow links, ask what was sent to whom.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use channels::callback::BODY_BYTES_MAX;
use model::Timestamp;

use crate::claiming::Claimer;
use crate::config::MutesConfig;
use crate::notify::office::Office;
use crate::{claim_page, delivery_http, hooks, mute_http, mute_page};

/// What the handlers need.
#[derive(Debug)]
pub(crate) struct People {
    pub(crate) office: Office,
    pub(crate) config: MutesConfig,
    pub(crate) claimer: Claimer,
}

impl People {
    pub(crate) fn now(&self) -> Timestamp {
        self.office.common.clock.now()
    }
}

/// The routes of all that.
pub(crate) fn routes(people: Arc<People>) -> Router {
    Router::new()
        .merge(mute_http::routes())
        .merge(mute_page::routes())
        .merge(claim_page::routes())
        .merge(hooks::routes())
        .merge(delivery_http::routes())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(people)
}
