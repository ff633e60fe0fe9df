//! `/api/v1/datacenters`: the data centres listed, and set by API.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use daemon::{Caller, PeerAddr};
use db::{DataCentreRow, Db};
use serde_json::{Value, json};
use wire::prom_api::{self, ErrorKind, Notes};

use crate::error::{self, ApiError};
use crate::http::App;
use crate::spec::CentreSpec;

const NAME_CHARS_MAX: usize = 190;

pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/datacenters", get(list))
        .route("/api/v1/datacenters/{name}", get(show).put(set).delete(remove))
}

/// A handler that takes this is for those only who may make changes.
pub(crate) struct Changer(Caller);

impl FromRequestParts<Arc<App>> for Changer {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        let PeerAddr(peer) =
            PeerAddr::from_request_parts(parts, app).await.map_err(IntoResponse::into_response)?;
        app.gate.admit_change(peer, &parts.headers).map(Self).map_err(|why| {
            app.metrics.refused.inc();
            tracing::warn!(%peer, path = parts.uri.path(), why, "a change was refused");
            error::json(StatusCode::FORBIDDEN, prom_api::error(ErrorKind::BadData, &why))
        })
    }
}

async fn list(State(app): State<Arc<App>>) -> Response {
    success(&Value::from(app.centres.told(None)))
}

/// One of them, with what it was set to if that was by API.
async fn show(State(app): State<Arc<App>>, Path(name): Path<String>) -> Response {
    let Some(mut told) = app.centres.told(Some(&name)).pop() else {
        return not_known(&name).into_response();
    };
    let sites = app.centres.sites();
    let site = sites.list().iter().find(|site| site.centre.name == name);
    let stored = site.and_then(|site| site.about.stored.as_deref());
    if let Some(Ok(spec)) = stored.map(|body| CentreSpec::read(body.as_bytes())) {
        told["spec"] = spec.shown();
    }
    success(&told)
}

async fn set(
    State(app): State<Arc<App>>,
    Changer(caller): Changer,
    Path(name): Path<String>,
    body: Bytes,
) -> Response {
    match put(&app, &caller, &name, &body).await {
        Ok(told) => success(&told),
        Err(error) => error.into_response(),
    }
}

async fn put(app: &App, caller: &Caller, name: &str, body: &[u8]) -> Result<Value, ApiError> {
    let is_odd = |c: char| c.is_control() || c == '/' || c == '"';
    if name.chars().count() > NAME_CHARS_MAX || name.contains(is_odd) {
        let text = format!(
            "a name has at most {NAME_CHARS_MAX} characters, and no /, no \" and no control characters"
        );
        return Err(ApiError::bad_data(text));
    }
    let db = changeable(app, name)?;
    let spec = CentreSpec::read(body).map_err(|error| {
        let example = r#"{"url":"http://vm.example:8428","timeout":"10s","labels":{"dc":"bj"}}"#;
        ApiError::bad_data(format!("the body must be like {example}: {error}"))
    })?;
    let (stored, shown) = (spec.stored(), spec.shown());
    let (entry, token) = spec.into_config(name);
    if let Some(fault) = app.centres.refusal(&entry, token) {
        return Err(ApiError::bad_data(fault));
    }
    let now = app.clock.now();
    let peer = caller.peer.to_string();
    let mut audit = app.trail.entry((&caller.actor, &peer), "datacenter.put", name, now);
    audit.detail = shown.to_string();
    let row = DataCentreRow { name: name.to_owned(), body: stored, updated_at: now };
    db.data_centres().put(&row, &audit).await.map_err(unavailable)?;
    tracing::info!(datacenter = name, actor = caller.actor, "a data centre was set");
    taken_over(app).await?;
    Ok(json!({ "name": name, "spec": shown }))
}

async fn remove(
    State(app): State<Arc<App>>,
    Changer(caller): Changer,
    Path(name): Path<String>,
) -> Response {
    let removed = async {
        let db = changeable(&app, &name)?;
        let (now, peer) = (app.clock.now(), caller.peer.to_string());
        let audit = app.trail.entry((&caller.actor, &peer), "datacenter.remove", &name, now);
        if !db.data_centres().remove(&name, &audit).await.map_err(unavailable)? {
            return Err(not_known(&name));
        }
        tracing::info!(datacenter = name, actor = caller.actor, "a data centre was removed");
        taken_over(&app).await
    };
    match removed.await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => error.into_response(),
    }
}

/// The database that keeps this data centre, if it can be changed by API.
fn changeable(app: &App, name: &str) -> Result<Db, ApiError> {
    if app.centres.is_fixed(name) {
        let text = format!("data centre {name:?} is set in the configuration: change it there");
        return Err(ApiError::bad_data(text));
    }
    app.centres
        .db()
        .map_err(|why| ApiError { kind: ErrorKind::Unavailable, message: why.to_owned() })
}

/// Who changes something sees it at once; another apiproxy after its next look at the database.
async fn taken_over(app: &App) -> Result<(), ApiError> {
    app.centres.read_database().await.map_err(|error| ApiError {
        kind: ErrorKind::Unavailable,
        message: format!("the change is stored and will be seen soon: {error:#}"),
    })
}

fn unavailable(error: db::DbError) -> ApiError {
    ApiError { kind: ErrorKind::Unavailable, message: daemon::error_chain(&error) }
}

fn not_known(name: &str) -> ApiError {
    ApiError { kind: ErrorKind::NotFound, message: format!("data centre {name:?} is not known") }
}

fn success(told: &Value) -> Response {
    error::json(
        StatusCode::OK,
        prom_api::success(|out| prom_api::put_json(out, told), &Notes::default()),
    )
}
