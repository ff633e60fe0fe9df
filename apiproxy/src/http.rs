//! The routes of apiproxy: the part of the Prometheus HTTP API that reads.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use daemon::{Clock, PeerAddr};
use db::Trail;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use wire::prom_api::{self, ErrorKind, Notes};

use crate::cache::{Key, RangeCache};
use crate::centres::Centres;
use crate::config::Config;
use crate::error::{ApiError, json};
use crate::gate::Gate;
use crate::metrics::{Counted, Endpoint, Metrics};
use crate::params::Params;
use crate::query::Question;
use crate::rules::Judges;
use crate::site::Ask;
use crate::{browse, datacenters, falcon, federate, partial, query, targets};

/// A form holds a query and a few times; a longer one is refused.
const FORM_BYTES_MAX: usize = 1 << 20;

/// The version whose API this is. Clients turn features on by it, so it names Prometheus and not
/// Saker, whose own version is on `/version`.
const PROMETHEUS_VERSION: &str = "3.14.0";

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) centres: Arc<Centres>,
    pub(crate) metrics: Metrics,
    pub(crate) gate: Gate,
    pub(crate) trail: Trail,
    judges: Judges,
    turns: Semaphore,
    cache: RangeCache,
}

impl App {
    pub(crate) fn new(
        config: Config,
        clock: Clock,
        centres: Arc<Centres>,
        metrics: Metrics,
        (judges, gate): (Judges, Gate),
    ) -> Self {
        let turns = Semaphore::new(config.queries_in_flight_max.min(Semaphore::MAX_PERMITS));
        let cache = RangeCache::new(&config, metrics.clone());
        let trail = Trail::new();
        Self { config, clock, centres, metrics, gate, trail, judges, turns, cache }
    }
}

/// The routes of apiproxy.
pub(crate) fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route("/api/v1/query", get(instant_query).post(instant_query))
        .route("/api/v1/query_range", get(range_query).post(range_query))
        .route("/api/v1/format_query", get(format_query).post(format_query))
        .route("/api/v1/parse_query", get(parse_query).post(parse_query))
        .route("/api/v1/series", get(series).post(series))
        .route("/api/v1/labels", get(labels).post(labels))
        .route("/api/v1/label/{name}/values", get(label_values))
        .route("/api/v1/metadata", get(metadata))
        .route("/api/v1/status/buildinfo", get(buildinfo))
        .route("/api/v1/rules", get(rules))
        .route("/api/v1/alerts", get(alerts))
        .route("/api/v1/targets", get(targets))
        .merge(datacenters::routes())
        .merge(falcon::routes())
        .layer(axum::middleware::from_fn(partial::denied))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&app), admitted))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .with_state(app)
}

type Asked = Result<Params, ApiError>;

async fn instant_query(State(app): State<Arc<App>>, asked: Asked) -> Response {
    let question = asked.and_then(|params| query::instant(&params, app.clock.now(), &app.config));
    app.answered(Endpoint::Query, question).await
}

async fn range_query(State(app): State<Arc<App>>, asked: Asked) -> Response {
    let question = asked.and_then(|params| query::range(&params, &app.config));
    app.answered(Endpoint::QueryRange, question).await
}

async fn format_query(State(app): State<Arc<App>>, asked: Asked) -> Response {
    let formatted = async {
        let text = query::expression(&asked?)?.to_string();
        Ok(prom_api::success(|out| prom_api::put_json(out, &text), &Notes::default()))
    };
    app.measured(Endpoint::FormatQuery, formatted).await
}

async fn parse_query(State(app): State<Arc<App>>, asked: Asked) -> Response {
    let parsed = async { query::tree(&asked?) };
    app.measured(Endpoint::ParseQuery, parsed).await
}

async fn series(State(app): State<Arc<App>>, asked: Asked) -> Response {
    let ask = app.ask();
    let found = app.in_turn(async { browse::series(&ask, &asked?).await });
    partial::marked(app.measured(Endpoint::Series, found).await, &ask)
}

async fn labels(State(app): State<Arc<App>>, asked: Asked) -> Response {
    let ask = app.ask();
    let found = app.in_turn(async { browse::label_names(&ask, &asked?).await });
    partial::marked(app.measured(Endpoint::Labels, found).await, &ask)
}

async fn label_values(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    asked: Asked,
) -> Response {
    let ask = app.ask();
    let found = app.in_turn(async { browse::label_values(&ask, &name, &asked?).await });
    partial::marked(app.measured(Endpoint::LabelValues, found).await, &ask)
}

async fn metadata(State(app): State<Arc<App>>, asked: Asked) -> Response {
    let ask = app.ask();
    let found = app.in_turn(async { browse::metadata(&ask, &asked?).await });
    partial::marked(app.measured(Endpoint::Metadata, found).await, &ask)
}

async fn rules(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    app.told_by_judges(Endpoint::Rules, "rules", "groups", query.as_deref()).await
}

async fn alerts(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    app.told_by_judges(Endpoint::Alerts, "alerts", "alerts", query.as_deref()).await
}

async fn targets(State(app): State<Arc<App>>, asked: Asked) -> Response {
    let ask = app.ask();
    let found = app.in_turn(async { targets::targets(&ask, &asked?).await });
    partial::marked(app.measured(Endpoint::Targets, found).await, &ask)
}

/// Who may not ask is told so, in the words of what was asked.
async fn admitted(
    State(app): State<Arc<App>>,
    PeerAddr(peer): PeerAddr,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    if path == falcon::LOGIN {
        return next.run(request).await;
    }
    match app.gate.admit_question(peer, request.headers(), app.clock.now()) {
        Ok(()) => next.run(request).await,
        Err(why) => {
            app.metrics.refused.inc();
            let body = match falcon::is_falcon(path) {
                true => serde_json::json!({ "error": why }).to_string(),
                false => prom_api::error(ErrorKind::BadData, &why),
            };
            json(StatusCode::UNAUTHORIZED, body)
        }
    }
}

// No `features`: their presence would make Grafana take us for Mimir and its ruler.
async fn buildinfo() -> Response {
    let about = serde_json::json!({
        "version": PROMETHEUS_VERSION,
        "revision": concat!("saker-", env!("CARGO_PKG_VERSION")),
        "branch": "", "buildUser": "", "buildDate": "", "goVersion": "",
    });
    json(
        StatusCode::OK,
        prom_api::success(|out| prom_api::put_json(out, &about), &Notes::default()),
    )
}

impl App {
    async fn told_by_judges(
        &self,
        endpoint: Endpoint,
        what: &str,
        key: &str,
        query: Option<&str>,
    ) -> Response {
        let mut missing = Vec::new();
        let told = async {
            let told = self.judges.ask(&self.centres.sites(), (what, key), query).await?;
            missing = told.missing;
            Ok(told.body)
        };
        let response = self.measured(endpoint, told).await;
        partial::without(response, &missing)
    }

    /// A question to the data centres, with the time that a query has.
    pub(crate) fn ask(&self) -> Arc<Ask> {
        Arc::new(self.centres.sites().ask(self.config.query_timeout))
    }

    async fn answered(&self, endpoint: Endpoint, asked: Result<Question, ApiError>) -> Response {
        let timeout = asked.as_ref().map_or(Duration::ZERO, |question| question.timeout);
        let ask = Arc::new(self.centres.sites().ask(timeout));
        let answer = async { self.answer(asked?, &ask).await };
        partial::marked(self.measured(endpoint, answer).await, &ask)
    }

    /// Answers a query: waits for its turn, asks the data centres, writes the answer. One that concerns a single
    /// store is answered by that store.
    async fn answer(&self, question: Question, ask: &Arc<Ask>) -> Result<String, ApiError> {
        let _turn = self.take_turn(question.timeout).await?;
        let _counted = Counted::up(&self.metrics.in_flight);
        let limit = question.limit();
        let Question { expr, params, may_be_kept, .. } = question;
        let now = self.clock.now();
        if may_be_kept && let Some(settled) = self.cache.settled(&expr, &params, now) {
            let places = (ask.sites.number(), ask.places(&expr).iter().collect());
            let key = Key::new(&expr, &params, places);
            let piece = |times: promql::Params| {
                let expr = &expr;
                async move { federate::answer(ask, expr, &times).await }
            };
            let is_whole = || ask.missing().is_empty();
            let answer = self.cache.answer((key, settled), &params, now, piece, is_whole);
            let mut output = answer.await?;
            output.warnings.splice(0..0, ask.warnings());
            return Ok(query::render(output, limit));
        }
        if let Some(place) = ask.sole(&expr) {
            let render = move |output| query::render(output, limit);
            let found = ask
                .each(place, |site, left| {
                    let (expr, params) = (&expr, params.clone());
                    async move {
                        let reader = &site.centre.reader;
                        Ok(storage::query_then(reader, expr, params, left, render).await?)
                    }
                })
                .await?;
            return Ok(found.into_iter().map(|(_, body)| body).collect());
        }
        let mut output = federate::query(ask, &expr, &params).await?;
        output.warnings.splice(0..0, ask.warnings());
        Ok(query::render(output, limit))
    }

    /// Runs a look-up when its turn has come, within the time that a query has.
    pub(crate) async fn in_turn(
        &self,
        work: impl Future<Output = Result<String, ApiError>>,
    ) -> Result<String, ApiError> {
        let timeout = self.config.query_timeout;
        let _turn = self.take_turn(timeout).await?;
        let _counted = Counted::up(&self.metrics.in_flight);
        tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| {
            let message =
                "the look-up timed out (apiproxy.query_timeout): narrow it with match[] or limit"
                    .to_owned();
            Err(ApiError { kind: ErrorKind::Timeout, message })
        })
    }

    async fn take_turn(&self, timeout: Duration) -> Result<SemaphorePermit<'_>, ApiError> {
        let _counted = Counted::up(&self.metrics.waiting);
        let turn = tokio::time::timeout(timeout, self.turns.acquire()).await;
        turn.ok().and_then(Result::ok).ok_or_else(|| {
            let limit = self.config.queries_in_flight_max;
            let message = format!(
                "query timed out in query queue: {limit} others run (apiproxy.queries_in_flight_max)"
            );
            ApiError { kind: ErrorKind::Timeout, message }
        })
    }

    async fn measured(
        &self,
        endpoint: Endpoint,
        work: impl Future<Output = Result<String, ApiError>>,
    ) -> Response {
        match self.counted(endpoint, work).await {
            Ok(body) => json(StatusCode::OK, body),
            Err(error) => error.into_response(),
        }
    }

    /// Counts what comes of a request, and how long it took.
    pub(crate) async fn counted(
        &self,
        endpoint: Endpoint,
        work: impl Future<Output = Result<String, ApiError>>,
    ) -> Result<String, ApiError> {
        let begun = Instant::now();
        let result = work.await;
        let error = result.as_ref().err().map(|error| error.kind);
        self.metrics.done(endpoint, error, begun.elapsed().as_secs_f64());
        result
    }
}
