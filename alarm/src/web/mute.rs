//! Muting what an alert is about for one person, and letting the person hear again, from the page of the alert.
//!
//! A mute keeps somebody from hearing of a fault, so the form is taken as those of users and teams are: from a page
//! on this machine, or with a token.

use std::sync::Arc;

use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use channels::compose;
use channels::mute::{Mute, Subject};
use daemon::PeerAddr;
use daemon::page::Page;
use db::alerts::StoredAlert;
use model::{Fingerprint, Timestamp};

use super::person::{Fields, field};
use super::{Web, not_found, refused, store_away};
use crate::mute_page::{Length, lengths};
use crate::mutes::{MuteFault, Wish};

/// The length that is chosen to begin with.
const USUAL_SECONDS: u64 = 3_600;
/// Names that the form offers, and mutes that the page shows.
const NAMES_MAX: usize = 500;

/// What the page of an alert shows of mutes, and what its form begins with.
#[derive(Debug, Default)]
pub(super) struct MutesView {
    pub(super) held: Vec<HeldView>,
    /// Whether the form is open.
    pub(super) is_asked: bool,
    /// Names of users.
    pub(super) names: Vec<String>,
    pub(super) lengths: Vec<Length>,
}

/// A mute that holds.
#[derive(Debug)]
pub(super) struct HeldView {
    pub(super) user: String,
    pub(super) until: String,
    pub(super) actor: String,
}

impl MutesView {
    /// None for an alert that nobody can mute, since it says neither metric nor name.
    pub(super) fn of(stored: &StoredAlert, web: &Web, page: &Page) -> Option<Self> {
        let subject = compose::subject_of(&stored.alert.labels)?;
        let (known, directory) = (web.mutes.known(), web.common.directory.known());
        let holds = |mute: &&&Mute| mute.holds(&mute.user, &subject, page.now);
        let live = known.live(page.now);
        let held = live.iter().filter(holds).take(NAMES_MAX).map(|mute| HeldView {
            user: mute.user.to_owned(),
            until: page.absolute(mute.until),
            actor: mute.actor.to_owned(),
        });
        Some(Self {
            held: held.collect(),
            is_asked: page.parameter("mute").is_some(),
            names: directory.users.keys().take(NAMES_MAX).cloned().collect(),
            lengths: lengths(page, USUAL_SECONDS),
        })
    }
}

pub(super) async fn change(
    State(web): State<Arc<Web>>,
    peer: PeerAddr,
    Path(id): Path<String>,
    headers: HeaderMap,
    page: Page,
    Form(fields): Form<Fields>,
) -> Response {
    let caller = match web.admit(peer, &headers, &fields) {
        Ok(caller) => caller,
        Err(why) => return refused(page, why.status, "mute.fault.door", why.faults.join("; ")),
    };
    let stored = match Fingerprint::parse(&id) {
        Some(fingerprint) => web.common.db.alerts().load(&[fingerprint]).await,
        None => Ok(Vec::new()),
    };
    let subject = match stored {
        Ok(found) => found.first().and_then(|one| compose::subject_of(&one.alert.labels)),
        Err(error) => return store_away(page, &error),
    };
    let Some(subject) = subject else {
        let id: String = id.chars().take(64).collect();
        let detail = page.fill("error.alert_unknown", &[("id", &id)]);
        return not_found(page, detail);
    };
    let (user, actor) = (field(&fields, "user"), format!("{} via web", caller.actor));
    let done = match field(&fields, "act") {
        "mute" => {
            let seconds = field(&fields, "seconds").parse().unwrap_or(0);
            let wish = Wish::about(user, &subject, seconds, actor);
            web.mutes.mute(wish, page.now).await.map(|_| ())
        }
        "unmute" => web.unmute(user, &subject, actor, page.now).await,
        _ => return refused(page, StatusCode::BAD_REQUEST, "error.page_unknown", String::new()),
    };
    match done {
        Ok(()) => Redirect::to(&format!("/alerts/{id}#mute")).into_response(),
        Err(MuteFault::Store(error)) => {
            tracing::error!(error = daemon::error_chain(&error), "a mute by form is not stored");
            refused(page, StatusCode::SERVICE_UNAVAILABLE, "claim.fault.store", String::new())
        }
        Err(fault) => refused(page, StatusCode::BAD_REQUEST, "claim.fault.form", fault.to_string()),
    }
}

impl Web {
    /// Ends what keeps a person from hearing of a subject, also a mute of the metric on every endpoint.
    async fn unmute(
        &self,
        user: &str,
        subject: &Subject,
        actor: String,
        now: Timestamp,
    ) -> Result<(), MuteFault> {
        let known = self.mutes.known();
        let wider = known.holding(user, subject, now).and_then(|mute| mute.subject.as_ref());
        let wider = wider.filter(|wider| *wider != subject);
        if let Some(wider) = wider {
            let wish = Wish::about(user, wider, 0, actor.to_owned());
            self.mutes.unmute(wish, now).await?;
        }
        self.mutes.unmute(Wish::about(user, subject, 0, actor), now).await
    }
}
