//! The HTTP listener of a role: its own routes plus the endpoints that every process has.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener as _;
use tokio::net::TcpListener;
use tower::limit::ConcurrencyLimitLayer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::decompression::RequestDecompressionLayer;

use crate::context::{Context, Shared, Stop};
use crate::exit::StartError;
use crate::listener::BoundedListener;

/// Requests that one listener works on at a time; further ones wait in their connections.
const REQUESTS_IN_FLIGHT_MAX: usize = 1024;
/// Connections that one listener holds; further clients wait in the kernel's backlog.
const CONNECTIONS_MAX: usize = 20_000;

/// The address of the socket's other end, never what a header claims.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddr(pub SocketAddr);

impl<S: Sync> FromRequestParts<S> for PeerAddr {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let peer = parts.extensions.get::<ConnectInfo<Self>>();
        peer.map(|ConnectInfo(peer)| *peer).ok_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// Binds the address and serves until the context stops. Returns the bound address, so port 0 can be asked for.
pub(crate) async fn listen(
    context: &Context,
    addr: SocketAddr,
    routes: Router,
) -> anyhow::Result<SocketAddr> {
    let listener = bind(context.role(), addr, "listen", CONNECTIONS_MAX).await?;
    let bound = listener.local_addr()?;
    let router = routes
        .merge(common_routes(context.shared()))
        .layer(CompressionLayer::new())
        .layer(RequestDecompressionLayer::new().pass_through_unaccepted(true))
        .layer(CatchPanicLayer::new())
        .layer(ConcurrencyLimitLayer::new(REQUESTS_IN_FLIGHT_MAX));
    tracing::info!(role = context.role(), address = %bound, "listening");
    context.spawn_graceful("http", move |stop: Stop| async move {
        let service = router.into_make_service_with_connect_info::<PeerAddr>();
        let serving = axum::serve(listener, service).with_graceful_shutdown(stop.requested());
        if let Err(error) = serving.await {
            tracing::error!(address = %bound, %error, "the HTTP listener failed");
        }
    });
    Ok(bound)
}

/// Binds an address that the configuration names with `key`.
pub(crate) async fn bind(
    role: &str,
    addr: SocketAddr,
    key: &str,
    connections_max: usize,
) -> Result<BoundedListener, StartError> {
    let listener = TcpListener::bind(addr).await.map_err(|error| bind_error(role, addr, key, &error))?;
    Ok(BoundedListener::new(listener, connections_max))
}

fn bind_error(role: &str, addr: SocketAddr, key: &str, error: &std::io::Error) -> StartError {
    let hint = match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!("another process holds the port (see it with: ss -ltnp 'sport = :{}')", addr.port())
        }
        std::io::ErrorKind::PermissionDenied => {
            "ports below 1024 need root or CAP_NET_BIND_SERVICE".to_owned()
        }
        _ => "check that the address belongs to this machine".to_owned(),
    };
    StartError::environment(format!(
        "{role} cannot listen on {addr}: {error}; {hint}, or set another `{key}` for {role}"
    ))
}

fn common_routes(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/-/healthy", get(|| async { "ok\n" }))
        .route("/-/ready", get(ready))
        .route("/version", get(version))
        .with_state(shared)
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    match shared.encode_metrics() {
        Ok(text) => {
            let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, content_type)], text).into_response()
        }
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("encode metrics: {error}\n")).into_response()
        }
    }
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    let lacking = shared.lacking();
    if lacking.is_empty() {
        return "ready\n".into_response();
    }
    let lines: String = lacking.iter().map(|(what, why)| format!("{what}: {why}\n")).collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines).into_response()
}

async fn version(State(shared): State<Arc<Shared>>) -> Response {
    let body = serde_json::json!({ "role": shared.role(), "version": env!("CARGO_PKG_VERSION") });
    axum::Json(body).into_response()
}
