//! The routes of apiproxy: the part of the Prometheus HTTP API that reads.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use daemon::Clock;
use storage::Reader;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use wire::prom_api::{self, ErrorKind, Notes};

use crate::config::Config;
use crate::error::{ApiError, json};
use crate::metrics::{Counted, Endpoint, Metrics};
use crate::params::Params;
use crate::query::Question;
use crate::rules::Judge;
use crate::{browse, falcon, query};

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
    pub(crate) reader: Reader,
    metrics: Metrics,
    judge: Judge,
    turns: Semaphore,
}

impl App {
    pub(crate) fn new(
        config: Config,
        clock: Clock,
        reader: Reader,
        metrics: Metrics,
        judge: Judge,
    ) -> Self {
        let turns = Semaphore::new(config.queries_in_flight_max.min(Semaphore::MAX_PERMITS));
        Self { config, clock, reader, metrics, judge, turns }
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
        .merge(falcon::routes())
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .with_state(app)
}

type Asked = Result<Params, ApiError>;

async fn instant_query(State(app): State<Arc<App>>, asked: Asked) -> Response {
    let question = asked.and_then(|params| query::instant(&params, app.clock.now(), &app.config));
    app.measured(Endpoint::Query, app.answer(question)).await
}

async fn range_query(State(app): State<Arc<App>>, asked: Asked) -> Response {
    let question = asked.and_then(|params| query::range(&params, &app.config));
    app.measured(Endpoint::QueryRange, app.answer(question)).await
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
    let found = app.in_turn(async { browse::series(&app.reader, &asked?).await });
    app.measured(Endpoint::Series, found).await
}

async fn labels(State(app): State<Arc<App>>, asked: Asked) -> Response {
    let found = app.in_turn(async { browse::label_names(&app.reader, &asked?).await });
    app.measured(Endpoint::Labels, found).await
}

async fn label_values(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    asked: Asked,
) -> Response {
    let found = app.in_turn(async { browse::label_values(&app.reader, &name, &asked?).await });
    app.measured(Endpoint::LabelValues, found).await
}

async fn metadata(State(app): State<Arc<App>>, asked: Asked) -> Response {
    let found = app.in_turn(async { browse::metadata(&app.reader, &asked?).await });
    app.measured(Endpoint::Metadata, found).await
}

async fn rules(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    app.measured(Endpoint::Rules, app.judge.ask("rules", query.as_deref())).await
}

async fn alerts(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    app.measured(Endpoint::Alerts, app.judge.ask("alerts", query.as_deref())).await
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
    /// Answers a query: waits for its turn, asks the store, writes the answer.
    async fn answer(&self, question: Result<Question, ApiError>) -> Result<String, ApiError> {
        let question = question?;
        let begun = Instant::now();
        let _turn = self.take_turn(question.timeout).await?;
        let _counted = Counted::up(&self.metrics.in_flight);
        let left = question.timeout.saturating_sub(begun.elapsed());
        let limit = question.limit();
        let render = move |output| query::render(output, limit);
        storage::query_then(&self.reader, &question.expr, question.params, left, render)
            .await
            .map_err(ApiError::from)
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
