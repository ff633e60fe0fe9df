//! Routes, receivers, inhibitions, time intervals and templates over HTTP. Everybody who reaches the port
//! may read which there are; what receivers say, which names people, is shown and changes are taken only
//! from programs on this machine and with a token of `alarm.token_file`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use daemon::{Caller, PeerAddr};
use serde::Deserialize;
use serde_json::{Value, json};

use super::edit::{EditFault, Wish, called, shown};
use super::secrets::HIDDEN;
use super::store::{ChangeFault, Outcome};
use super::{ObjectKind, document};
use crate::amconfig::FILE_BYTES_MAX;
use crate::directory_http::{Desk, expected};
use crate::mute_http::Refusal;
use crate::plan::Stored;

/// Entries of an object's history.
const HISTORY_MAX: u32 = 200;

/// The routes.
pub(crate) fn routes(desk: Arc<Desk>) -> Router {
    let body_limit = DefaultBodyLimit::max(usize::try_from(FILE_BYTES_MAX).unwrap_or(usize::MAX));
    Router::new()
        .route("/api/v1/routing", get(summary))
        .route("/api/v1/routing/config", get(config).put(put_config).layer(body_limit))
        .route("/api/v1/routing/{kind}", get(list))
        .route("/api/v1/routing/{kind}/{name}", get(one).put(put).delete(remove))
        .route("/api/v1/routing/{kind}/{name}/history", get(history))
        .route("/api/v1/routing/{kind}/{name}/restore", post(restore))
        .with_state(desk)
}

impl From<ChangeFault> for Refusal {
    fn from(fault: ChangeFault) -> Self {
        let status = status_of(&fault);
        if let ChangeFault::Store(cause) = &fault {
            tracing::error!(error = daemon::error_chain(cause), "cannot store a change");
        }
        Self::new(status, fault.to_string())
    }
}

/// How a refusal is answered.
pub(crate) const fn status_of(fault: &ChangeFault) -> StatusCode {
    match fault {
        ChangeFault::Refused(EditFault::Faulty(_) | EditFault::TooMany) => StatusCode::BAD_REQUEST,
        ChangeFault::Refused(EditFault::Unknown(_)) => StatusCode::NOT_FOUND,
        ChangeFault::Refused(_) => StatusCode::CONFLICT,
        ChangeFault::Busy | ChangeFault::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn kind_of(word: &str) -> Result<ObjectKind, Refusal> {
    ObjectKind::of_path(word).ok_or_else(|| {
        let kinds = ObjectKind::ALL.map(ObjectKind::path).join(", ");
        Refusal::new(StatusCode::NOT_FOUND, format!("there is no {word:?}; there are {kinds}"))
    })
}

impl Desk {
    fn is_admitted(&self, PeerAddr(peer): PeerAddr, headers: &HeaderMap) -> bool {
        self.door.admit(peer, headers).is_ok()
    }

    fn admit_to_routing(
        &self,
        PeerAddr(peer): PeerAddr,
        headers: &HeaderMap,
    ) -> Result<Caller, Refusal> {
        self.door.admit(peer, headers).map_err(|why| {
            tracing::warn!(%peer, why, "a look at or change of routes and receivers was refused");
            Refusal::new(StatusCode::FORBIDDEN, why)
        })
    }

    /// The objects of a kind: those of the database first.
    fn objects(&self, kind: ObjectKind, shows_all: bool) -> Vec<Value> {
        let (plan, base) = (self.common.plans.borrow().clone(), self.common.routing.base());
        let rows = self.common.routing.rows();
        let is_shown = shows_all || kind != ObjectKind::Receiver;
        let body = |stored: &Stored| {
            let mut rows = rows.iter();
            let row = rows.find(|row| row.kind == stored.kind && row.name == stored.name);
            row.map_or(Value::Null, |row| shown(kind, &row.body))
        };
        let of_kind = plan.stored.iter().filter(|stored| stored.kind == kind.as_str());
        let stored = of_kind.map(|stored| {
            let mut one = described(stored);
            if is_shown {
                one["object"] = body(stored);
            }
            one
        });
        let of_base = document::base_objects(&base, kind).into_iter().map(|(name, object)| {
            let mut one = json!({ "kind": kind.as_str(), "name": name, "origin": base.origin });
            if is_shown {
                one["object"] = object;
            }
            one
        });
        stored.chain(of_base).collect()
    }
}

/// An object of the database without what it says.
fn described(stored: &Stored) -> Value {
    let mut one = json!({
        "kind": stored.kind, "name": stored.name, "origin": "database", "version": stored.version,
        "changedAt": stored.changed_at.rfc3339(), "changedBy": stored.changed_by,
    });
    if !stored.fault.is_empty() {
        one["leftOut"] = json!(stored.fault);
    }
    one
}

async fn summary(State(desk): State<Arc<Desk>>) -> Json<Value> {
    let plan = desk.common.plans.borrow().clone();
    let is_bad = |stored: &&Stored| !stored.fault.is_empty();
    let bad: Vec<Value> = plan.stored.iter().filter(is_bad).map(described).collect();
    let receivers = plan.receivers.len();
    Json(json!({
        "origin": plan.origin, "objects": plan.stored.len(), "receivers": receivers,
        "routes": plan.tree.leaves().len(), "leftOut": bad, "warnings": plan.warnings,
    }))
}

async fn list(
    State(desk): State<Arc<Desk>>,
    peer: PeerAddr,
    Path(kind): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Vec<Value>>, Refusal> {
    let kind = kind_of(&kind)?;
    Ok(Json(desk.objects(kind, desk.is_admitted(peer, &headers))))
}

async fn one(
    State(desk): State<Arc<Desk>>,
    peer: PeerAddr,
    Path((kind, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    let kind = kind_of(&kind)?;
    let objects = desk.objects(kind, desk.is_admitted(peer, &headers));
    let found = objects.into_iter().find(|object| object["name"] == name.as_str());
    let unknown = || EditFault::Unknown(called(kind.as_str(), &name));
    Ok(Json(found.ok_or_else(|| ChangeFault::from(unknown()))?))
}

/// How a change is meant.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Meant {
    /// From which version; any, if it is not said, and 0 for an object that is not there yet.
    version: Option<i64>,
    /// Whether it is only checked.
    dry_run: bool,
    /// Of a whole document: whether what it does not have is removed.
    replace: bool,
}

async fn put(
    State(desk): State<Arc<Desk>>,
    peer: PeerAddr,
    Path((kind, name)): Path<(String, String)>,
    Query(meant): Query<Meant>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let (caller, kind) = (desk.admit_to_routing(peer, &headers)?, kind_of(&kind)?);
    let body = text_of(kind, body)?;
    let wish = Wish { kind, name, body: Some(body), expected: expected(meant.version) };
    desk.change(&caller, vec![wish], &meant, Vec::new()).await
}

async fn remove(
    State(desk): State<Arc<Desk>>,
    peer: PeerAddr,
    Path((kind, name)): Path<(String, String)>,
    Query(meant): Query<Meant>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    let (caller, kind) = (desk.admit_to_routing(peer, &headers)?, kind_of(&kind)?);
    let wish = Wish { kind, name, body: None, expected: expected(meant.version) };
    desk.change(&caller, vec![wish], &meant, Vec::new()).await
}

fn utf8(body: Bytes) -> Result<String, Refusal> {
    let advice = "the body is not UTF-8";
    String::from_utf8(body.into()).map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, advice))
}

/// A template is its text, or what an answer of ours has: `{"text": …}`.
fn text_of(kind: ObjectKind, body: Bytes) -> Result<String, Refusal> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Shown {
        text: String,
    }
    let text = utf8(body)?;
    match serde_json::from_str::<Shown>(&text) {
        Ok(shown) if kind == ObjectKind::Template => Ok(shown.text),
        _ => Ok(text),
    }
}

impl Desk {
    async fn change(
        &self,
        caller: &Caller,
        wishes: Vec<Wish>,
        meant: &Meant,
        warnings: Vec<String>,
    ) -> Result<Json<Value>, Refusal> {
        let (routing, now) = (&self.common.routing, self.common.clock.now());
        let Outcome { version, changes, plan } =
            routing.change(caller, &wishes, meant.dry_run, now).await?;
        let verb = |is_put: bool| if is_put { "put" } else { "removed" };
        let changed = changes.iter().map(|change| {
            let change_of = verb(change.body.is_some());
            json!({ "kind": change.kind.as_str(), "name": change.name, "change": change_of })
        });
        let changed: Vec<Value> = changed.collect();
        Ok(Json(json!({
            "version": version, "dryRun": meant.dry_run, "changed": changed, "warnings": warnings,
            "receivers": plan.receivers.len(), "routes": plan.tree.leaves().len(),
        })))
    }
}

async fn history(
    State(desk): State<Arc<Desk>>,
    peer: PeerAddr,
    Path((kind, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Vec<Value>>, Refusal> {
    let kind = kind_of(&kind)?;
    desk.admit_to_routing(peer, &headers)?;
    let target = format!("{}/{name}", kind.as_str());
    let entries = desk.common.db.audit().page("", &target, HISTORY_MAX).await;
    let entries = entries.map_err(ChangeFault::from)?;
    let shown = entries.into_iter().map(|entry| {
        let detail: Value = serde_json::from_str(&entry.detail).unwrap_or_default();
        json!({
            "at": entry.at.rfc3339(), "actor": entry.actor, "peer": entry.peer,
            "action": entry.action, "before": detail["before"], "after": detail["after"],
            "version": detail["version"],
        })
    });
    Ok(Json(shown.collect()))
}

/// Puts back what an object was in a version. What its receivers keep secret is in no history: it is taken from what holds
/// now, as if `<secret>` were put, and refused where that is for another host.
async fn restore(
    State(desk): State<Arc<Desk>>,
    peer: PeerAddr,
    Path((kind, name)): Path<(String, String)>,
    Query(meant): Query<Meant>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    let (caller, kind) = (desk.admit_to_routing(peer, &headers)?, kind_of(&kind)?);
    let Some(version) = meant.version else {
        let advice = "say which version, as ?version=7; the history has them";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, advice));
    };
    let target = format!("{}/{name}", kind.as_str());
    let entries = desk.common.db.audit().page("", &target, HISTORY_MAX).await;
    let entries = entries.map_err(ChangeFault::from)?;
    let was = entries.iter().find_map(|entry| {
        let detail: Value = serde_json::from_str(&entry.detail).ok()?;
        (detail["version"] == version && !detail["after"].is_null())
            .then(|| detail["after"].to_string())
    });
    let Some(was) = was else {
        let what = called(kind.as_str(), &name);
        let fault = format!("the history of {what} has no version {version} that can be put back");
        return Err(Refusal::new(StatusCode::NOT_FOUND, fault));
    };
    let kept = "its secrets, addresses among them, stay as they are now: versions do not keep them";
    let warnings = was.contains(HIDDEN).then(|| kept.to_owned()).into_iter().collect();
    let body = text_of(kind, Bytes::from(was))?;
    let wish = Wish { kind, name, body: Some(body), expected: expected(None) };
    desk.change(&caller, vec![wish], &meant, warnings).await
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    /// `database` for what can be put back, and nothing else.
    origin: String,
}

async fn config(
    State(desk): State<Arc<Desk>>,
    peer: PeerAddr,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    desk.admit_to_routing(peer, &headers)?;
    let rows = desk.common.routing.rows();
    let document = match asked.origin.as_str() {
        "database" => document::stored(&rows),
        _ => document::effective(&desk.common.plans.borrow().clone(), &rows),
    };
    let kind = [(header::CONTENT_TYPE, "application/yaml")];
    Ok((kind, document::yaml(&document)).into_response())
}

async fn put_config(
    State(desk): State<Arc<Desk>>,
    peer: PeerAddr,
    Query(meant): Query<Meant>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let caller = desk.admit_to_routing(peer, &headers)?;
    let read = document::import(&utf8(body)?);
    let mut import = read.map_err(|fault| Refusal::new(StatusCode::BAD_REQUEST, fault))?;
    if meant.replace {
        import.replacing(&desk.common.routing.rows());
    }
    desk.change(&caller, import.wishes, &meant, import.warnings).await
}
