//! Acting on several alerts of the list at once: taking them, putting them off, and muting them for a person.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use channels::compose;
use channels::mute::Subject;
use daemon::PeerAddr;
use daemon::page::{Page, is_same_origin, rendered};
use db::claims::ClaimKind;
use model::{Fingerprint, Labels};
use wire::alert::WebhookMessage;

use super::alerts;
use super::claim::{owner_of, remembering};
use super::filter::Filter;
use super::person::{Fields, field};
use super::{Web, refused, store_away};
use crate::claiming::Wanted;
use crate::mutes::{MuteFault, Wish};

/// Alerts that one form may name.
const ALERTS_MAX: usize = 500;
/// Names that the form offers.
const NAMES_MAX: usize = 500;
/// How long a mute lasts unless it is said.
const MUTE_FOR: &str = "1h";

/// The list while alerts are chosen from it.
#[derive(Debug)]
pub(super) struct Choice {
    /// Whether all boxes of the page are ticked to begin with.
    pub(super) is_all: bool,
    /// Where the form leads back to.
    pub(super) back: String,
    /// The same list with all boxes ticked.
    pub(super) all_href: String,
    /// Who took an alert in this browser before.
    pub(super) owner: String,
    /// Names of users.
    pub(super) names: Vec<String>,
}

impl Choice {
    /// What the address and the browser say; `None` while nothing is to be chosen.
    pub(super) fn of(filter: &Filter, web: &Web, headers: &HeaderMap, page: &Page) -> Option<Self> {
        let wanted = page.parameter("select")?;
        let back = filter.address();
        Some(Self {
            is_all: wanted == "all",
            all_href: with(&back, "select=all"),
            back,
            owner: owner_of(headers),
            names: web.common.directory.known().users.keys().take(NAMES_MAX).cloned().collect(),
        })
    }
}

/// An address of ours with one more parameter.
pub(super) fn with(address: &str, parameter: &str) -> String {
    let sign = if address.contains('?') { '&' } else { '?' };
    format!("{address}{sign}{parameter}")
}

/// What a form asks for.
#[derive(Debug, PartialEq)]
enum Asked {
    Claim(Wanted),
    /// For whom, and how many seconds.
    Mute(String, u64),
}

/// Reads what a form asks for, with what is wrong as a sentence. `None` for a button that there is not.
fn asked(fields: &Fields) -> Option<Result<Asked, String>> {
    let (owner, duration) = (field(fields, "owner"), field(fields, "duration"));
    let claim = |kind| {
        let duration = Some(duration).filter(|text| !text.is_empty());
        Wanted::read(kind, owner, field(fields, "note").to_owned(), duration).map(Asked::Claim)
    };
    match field(fields, "act") {
        "ack" => Some(claim(ClaimKind::Acknowledged)),
        "snooze" => Some(claim(ClaimKind::Snoozed)),
        "mute" => {
            let text = if duration.is_empty() { MUTE_FOR } else { duration };
            let span = model::parse_duration(text).map_err(|fault| fault.to_string());
            Some(span.map(|span| Asked::Mute(owner.to_owned(), span.as_secs())))
        }
        _ => None,
    }
}

/// The alerts that a form names, each once; `None` when one is no fingerprint, or there are too many.
fn chosen(fields: &Fields) -> Option<Vec<Fingerprint>> {
    let named = fields.iter().filter(|(name, _)| name == "alert");
    let read: BTreeSet<u64> =
        named.map(|(_, text)| Some(Fingerprint::parse(text)?.0)).collect::<Option<_>>()?;
    (read.len() <= ALERTS_MAX).then(|| read.into_iter().map(Fingerprint).collect())
}

pub(super) async fn act(
    State(web): State<Arc<Web>>,
    peer: PeerAddr,
    headers: HeaderMap,
    page: Page,
    Form(fields): Form<Fields>,
) -> Response {
    if !is_same_origin(&headers) {
        return refused(page, StatusCode::FORBIDDEN, "claim.fault.foreign", String::new());
    }
    // Read and written anew: nobody is led to another site.
    let query = field(&fields, "back").split_once('?').map_or("", |(_, query)| query);
    let back = Filter::read(query).address();
    let (Some(alerts), Some(asked)) = (chosen(&fields), asked(&fields)) else {
        return refused(page, StatusCode::BAD_REQUEST, "error.page_unknown", String::new());
    };
    if alerts.is_empty() {
        return refused(page, StatusCode::BAD_REQUEST, "several.fault.none", String::new());
    }
    let asked = match asked {
        Ok(asked) => asked,
        Err(fault) => return refused(page, StatusCode::BAD_REQUEST, "claim.fault.form", fault),
    };
    let done = match asked {
        Asked::Claim(wanted) => match web.claimer.claim(&alerts, &wanted).await {
            Ok(made) => made.len(),
            Err(error) => return store_away(page, &error),
        },
        Asked::Mute(user, seconds) => {
            // A mute keeps somebody from hearing of a fault: as by API, from this machine or with a token.
            if let Err(refusals) = web.admit(peer, &headers, &fields) {
                let why = refusals.faults.join("; ");
                return refused(page, refusals.status, "several.fault.mute", why);
            }
            match web.mute(&alerts, &user, seconds).await {
                Ok(made) => made,
                Err(fault) => return not_muted(page, &fault),
            }
        }
    };
    if done == 0 {
        return refused(page, StatusCode::CONFLICT, "several.fault.over", String::new());
    }
    let to = with(&back, &format!("done={done}"));
    remembering(field(&fields, "owner"), Redirect::to(&to)).into_response()
}

fn not_muted(page: Page, fault: &MuteFault) -> Response {
    match fault {
        MuteFault::Store(error) => {
            tracing::error!(error = daemon::error_chain(error), "alerts cannot be muted");
            let key = "claim.fault.store";
            refused(page, StatusCode::SERVICE_UNAVAILABLE, key, String::new())
        }
        other => refused(page, StatusCode::BAD_REQUEST, "claim.fault.form", other.to_string()),
    }
}

impl Web {
    /// Mutes what these alerts are about for a person; answers how many of them it was done for. Done twice it is one mute.
    async fn mute(
        &self,
        alerts: &[Fingerprint],
        user: &str,
        seconds: u64,
    ) -> Result<usize, MuteFault> {
        let now = self.common.clock.now();
        let found = self.common.db.alerts().load(alerts).await;
        let found = found.map_err(state::StateError::from)?;
        let mut subjects: Vec<Subject> = Vec::new();
        let mut done = 0;
        for stored in found {
            let alert = [stored.alert];
            let about = WebhookMessage::new("", "", Labels::empty(), "", &alert, now);
            let Some(subject) = compose::subject(&about) else { continue };
            done += 1;
            if subjects.contains(&subject) {
                continue;
            }
            let wish = Wish::about(user, &subject, seconds, format!("{user} via web"));
            self.mutes.mute(wish, now).await?;
            subjects.push(subject);
        }
        Ok(done)
    }
}

/// The list with boxes, or without.
pub(super) async fn list(State(web): State<Arc<Web>>, headers: HeaderMap, page: Page) -> Response {
    let filter = Filter::read(page.query());
    let choice = Choice::of(&filter, &web, &headers, &page);
    match alerts::shown(&web, filter, page).await {
        Ok(shown) => rendered(&shown.with(choice)),
        Err(answer) => answer,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    const ONE: &str = "0e7374caefbddd45";

    #[test]
    fn every_alert_counts_once_and_what_is_none_is_refused() {
        let twice = fields(&[("alert", ONE), ("alert", ONE), ("alert", "00000000000000aa")]);
        assert_eq!(chosen(&twice).unwrap().len(), 2);
        assert_eq!(chosen(&fields(&[])).unwrap().len(), 0);
        assert_eq!(chosen(&fields(&[("alert", ONE), ("alert", "x")])), None);
        let many: Vec<String> = (0..=ALERTS_MAX).map(|n| format!("{n:016x}")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|id| ("alert", id.as_str())).collect();
        assert_eq!(chosen(&fields(&many)), None);
    }

    #[test]
    fn a_form_is_read_with_its_usual_times() {
        let read = |act, duration| {
            asked(&fields(&[("act", act), ("owner", " ann "), ("duration", duration)]))
        };
        assert_eq!(read("mute", "").unwrap().unwrap(), Asked::Mute("ann".to_owned(), 3_600));
        assert_eq!(read("mute", "30m").unwrap().unwrap(), Asked::Mute("ann".to_owned(), 1_800));
        let Some(Ok(Asked::Claim(wanted))) = read("ack", "") else { panic!("no claim") };
        assert_eq!((wanted.owner.as_str(), wanted.span.as_secs()), ("ann", 86_400));
        assert!(read("snooze", "long").unwrap().is_err());
        assert!(read("drop", "").is_none());
    }

    proptest! {
        #[test]
        fn any_form_is_read_or_refused(pairs in proptest::collection::vec(
            ("alert|act|owner|duration|note|back|x", "\\PC{0,20}|[0-9a-f]{16}|ack|snooze|mute"), 0..8)) {
            let read = chosen(&pairs);
            prop_assert!(read.is_none_or(|alerts| alerts.len() <= ALERTS_MAX));
            let _ = asked(&pairs);
            let address = Filter::read(field(&pairs, "back")).address();
            prop_assert!(address == "/alerts" || address.starts_with("/alerts?"));
        }
    }
}
