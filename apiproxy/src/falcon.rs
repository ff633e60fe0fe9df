//! The data API of Open-Falcon, on the same port: what dashboards and scripts of its users ask.
//!
//! Shapes: `open-falcon.md` 4.5 of the reference; errors are `{"error": "..."}`.

mod consolidate;
mod grafana;
mod groups;
mod history;
mod names;
mod users;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use model::{ENDPOINT, Labels, MatchOp, Matcher, Selection, Timestamp};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::{self, ApiError};
use crate::http::App;
use crate::metrics::Endpoint;
use crate::params::Params;
use crate::partial;
use crate::site::Ask;
use names::{Names, Words, number_of, page};
pub(crate) use users::LOGIN;

/// Pairs of a host and a counter in one question.
const PAIRS_MAX: usize = 10_000;
/// Lines of a page, unless the question says how many.
const PAGE_LINES: usize = 500;
/// Lines of a page at most.
const PAGE_LINES_MAX: usize = 100_000;

/// The routes; those of the original with and without its later prefix.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/graph/endpoint", get(endpoints))
        .route("/api/v1/graph/endpointobj", get(endpoint_objects))
        .route("/api/v1/graph/endpoint_counter", get(counters))
        .route("/api/v1/graph/history", post(history))
        .route("/api/v1/graph/lastpoint", post(last_points))
        .route("/api/v1/graph/info", post(infos))
        .route("/api/v1/grafana/metrics/find", get(find).post(find))
        .route("/api/v1/grafana/render", get(render).post(render))
        .route("/api/v1/hostgroupsimple/{group}", get(group_hosts))
        .merge(users::routes())
}

/// Whether a path is one of these, whose errors have the original's form.
pub(crate) fn is_falcon(path: &str) -> bool {
    let own = ["/api/v1/graph/", "/api/v1/grafana/", "/api/v1/hostgroupsimple/", "/api/v1/user/"];
    own.iter().any(|prefix| path.starts_with(prefix))
}

type Asked = Result<Params, ApiError>;

async fn history(State(app): State<Arc<App>>, body: Bytes) -> Response {
    let ask = app.ask();
    let answer = app.in_turn(async {
        let question = read(&body, history::EXAMPLE)?;
        history::history(&ask, &app.config, &question).await
    });
    answered(&app, Endpoint::FalconHistory, &ask, answer).await
}

async fn last_points(State(app): State<Arc<App>>, body: Bytes) -> Response {
    let now = app.clock.now();
    let ask = app.ask();
    let answer = app.in_turn(async {
        let pairs: Vec<history::Pair> = read(&body, history::PAIRS_EXAMPLE)?;
        history::last_points(&ask, &app.config, &pairs, now).await
    });
    answered(&app, Endpoint::FalconLastPoint, &ask, answer).await
}

async fn infos(State(app): State<Arc<App>>, body: Bytes) -> Response {
    let ask = app.ask();
    let answer = app.in_turn(async {
        let pairs: Vec<history::Pair> = read(&body, history::PAIRS_EXAMPLE)?;
        history::infos(&ask, &pairs).await
    });
    answered(&app, Endpoint::FalconInfo, &ask, answer).await
}

/// `GET /graph/endpoint?q=<regexes>&tags=k=v&limit=500&page=1`: the hosts whose names match.
async fn endpoints(State(app): State<Arc<App>>, asked: Asked) -> Response {
    let ask = app.ask();
    let answer = app.in_turn(async {
        let params = asked?;
        let words = words(&params, "q")?;
        let tags = wire::falcon_json::counter_labels(&format!("/{}", first(&params, "tags")));
        let tags = tags.without_metric_name();
        let of_tags = || Selection {
            matchers: tags.iter().map(|(name, value)| Matcher::equal(name, value)).collect(),
            start: Timestamp::MIN,
            end: Timestamp::MAX,
        };
        let selections = if tags.is_empty() { Vec::new() } else { vec![of_tags()] };
        let hosts =
            ask.label_values(ENDPOINT, &selections, (Timestamp::MIN, Timestamp::MAX), 0).await?;
        let (limit, number) = place(&params)?;
        let found = hosts.into_iter().filter(|host| words.match_text(host));
        let line = |host: String| json!({ "id": number_of(&host), "endpoint": host });
        Ok(Value::from_iter(page(found, limit, number).into_iter().map(line)).to_string())
    });
    answered(&app, Endpoint::FalconEndpoints, &ask, answer).await
}

/// `GET /graph/endpointobj?endpoints=a&endpoints=b`: those of the hosts that are known.
async fn endpoint_objects(State(app): State<Arc<App>>, asked: Asked) -> Response {
    let ask = app.ask();
    let answer = app.in_turn(async {
        let params = asked?;
        let known = ask.label_values(ENDPOINT, &[], (Timestamp::MIN, Timestamp::MAX), 0).await?;
        let named: Vec<&str> = params.all("endpoints").chain(params.all("endpoints[]")).collect();
        let line = |host: &String| json!({ "id": number_of(host), "endpoint": host });
        let found = known.iter().filter(|host| named.contains(&host.as_str()));
        Ok(Value::from_iter(found.map(line)).to_string())
    });
    answered(&app, Endpoint::FalconEndpoints, &ask, answer).await
}

/// `GET /graph/endpoint_counter?eid=1,2&metricQuery=<regexes>`: what is measured on hosts.
async fn counters(State(app): State<Arc<App>>, asked: Asked) -> Response {
    let ask = app.ask();
    let answer = app.in_turn(async {
        let params = asked?;
        let words = words(&params, "metricQuery")?;
        let ids: Vec<u64> = first(&params, "eid")
            .split(',')
            .map(|id| id.trim().parse().map_err(|_| parameter("eid", "give ids as 1,2,3")))
            .collect::<Result<_, _>>()?;
        if ids.len() > PAIRS_MAX {
            return Err(parameter("eid", format!("at most {PAIRS_MAX} ids a question")));
        }
        let hosts = ask.label_values(ENDPOINT, &[], (Timestamp::MIN, Timestamp::MAX), 0).await?;
        let hosts: Vec<String> =
            hosts.into_iter().filter(|host| ids.contains(&number_of(host))).collect();
        let (limit, number) = place(&params)?;
        let names = Names::new(ask.metadata(None, 0).await?);
        let series = series_of(&ask, &hosts, "").await?;
        let lines = series.iter().filter_map(|labels| {
            let counter = names.counter(labels);
            let metric = names.metric(labels.metric_name());
            words.match_text(&counter).then(|| {
                json!({
                    "endpoint_id": number_of(labels.get(ENDPOINT).unwrap_or("")),
                    "counter": counter,
                    "step": metric.step,
                    "type": metric.counter_type.as_str(),
                })
            })
        });
        Ok(Value::from_iter(page(lines, limit, number)).to_string())
    });
    answered(&app, Endpoint::FalconCounters, &ask, answer).await
}

/// `GET /hostgroupsimple/{group}`: the names of a group's hosts.
async fn group_hosts(State(app): State<Arc<App>>, Path(group): Path<String>) -> Response {
    let ask = app.ask();
    let answer = app.in_turn(async { groups::hosts(&ask, &group).await });
    answered(&app, Endpoint::FalconGroups, &ask, answer).await
}

/// The Grafana plug-in's tree: hosts, then the pieces of counters.
async fn find(State(app): State<Arc<App>>, asked: Asked) -> Response {
    let ask = app.ask();
    let answer = app.in_turn(async { grafana::find(&ask, first(&asked?, "query")).await });
    answered(&app, Endpoint::FalconGrafana, &ask, answer).await
}

/// The Grafana plug-in's curves.
async fn render(State(app): State<Arc<App>>, asked: Asked) -> Response {
    let now = app.clock.now();
    let ask = app.ask();
    let answer = app.in_turn(async {
        let question = grafana::question(&asked?, now)?;
        history::history(&ask, &app.config, &question).await
    });
    answered(&app, Endpoint::FalconGrafana, &ask, answer).await
}

/// The series of hosts, sorted; with a name, of that metric alone.
async fn series_of(ask: &Ask, hosts: &[String], name: &str) -> Result<Vec<Labels>, ApiError> {
    let mut found = Vec::new();
    for some in hosts.chunks(history::HOSTS_AT_ONCE) {
        let mut matchers = vec![any_of(some)?];
        if !name.is_empty() {
            matchers.push(Matcher::equal(model::METRIC_NAME, name));
        }
        let selection = Selection { matchers, start: Timestamp::MIN, end: Timestamp::MAX };
        found.extend(ask.series(&[selection], 0).await?);
    }
    Ok(found)
}

/// A matcher for any of the hosts.
fn any_of(hosts: &[String]) -> Result<Matcher, ApiError> {
    if let [host] = hosts {
        return Ok(Matcher::equal(ENDPOINT, host));
    }
    let names: Vec<String> = hosts.iter().map(|host| regex::escape(host)).collect();
    Matcher::new(ENDPOINT, MatchOp::Regex, &names.join("|")).map_err(|error| {
        ApiError::bad_data(format!("these hosts are too many or too long: {error}"))
    })
}

fn read<T: DeserializeOwned>(body: &[u8], example: &str) -> Result<T, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_data(format!("the body must be like {example}: {error}")))
}

fn first<'a>(params: &'a Params, name: &str) -> &'a str {
    params.get(name).unwrap_or("")
}

fn words(params: &Params, name: &str) -> Result<Words, ApiError> {
    Words::parse(first(params, name)).map_err(|fault| parameter(name, fault))
}

/// How many lines, and which page.
fn place(params: &Params) -> Result<(usize, usize), ApiError> {
    let number = |name: &str, absent: usize| match params.get(name) {
        None => Ok(absent),
        Some(text) => text.parse().map_err(|_| parameter(name, "must be a number from 1 on")),
    };
    Ok((number("limit", PAGE_LINES)?.clamp(1, PAGE_LINES_MAX), number("page", 1)?))
}

fn parameter(name: &str, fault: impl std::fmt::Display) -> ApiError {
    ApiError::bad_data(format!("{name}: {fault}"))
}

/// The answer in the original's form.
async fn answered(
    app: &App,
    endpoint: Endpoint,
    ask: &Ask,
    work: impl Future<Output = Result<String, ApiError>>,
) -> Response {
    let response = match app.counted(endpoint, work).await {
        Ok(body) => error::json(StatusCode::OK, body),
        Err(error) => {
            let status = StatusCode::from_u16(error.kind.http_status());
            let body = json!({ "error": error.message }).to_string();
            error::json(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), body)
        }
    };
    partial::marked(response, ask)
}
