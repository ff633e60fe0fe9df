//! The HTTP listener of a role: its own routes plus the endpoints that every process has.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

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
use tower_http::timeout::RequestBodyTimeoutLayer;

use crate::context::{Context, Shared, Stop};
use crate::exit::StartError;
use crate::listener::BoundedListener;
use crate::open_files;

/// Requests that each route of a listener works on at a time; further ones wait in their connections.
const REQUESTS_IN_FLIGHT_MAX: usize = 1024;
/// Connections that one listener holds; further clients wait in the kernel's backlog. Where fewer files may be
/// open it is a share of those, so that connections leave room for the files of the stores.
const CONNECTIONS_MAX: usize = 20_000;
const CONNECTIONS_SHARE: usize = 8;
/// A client that sends nothing of its body for so long is given up, or it would hold its place for ever.
const BODY_PAUSE_MAX: Duration = Duration::from_secs(30);

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
    let router = bounded(routes.merge(common_routes(context.shared())), BODY_PAUSE_MAX);
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

fn bounded(routes: Router, body_pause_max: Duration) -> Router {
    routes
        .layer(CompressionLayer::new())
        .layer(RequestDecompressionLayer::new().pass_through_unaccepted(true))
        .layer(RequestBodyTimeoutLayer::new(body_pause_max))
        .layer(CatchPanicLayer::new())
        .layer(ConcurrencyLimitLayer::new(REQUESTS_IN_FLIGHT_MAX))
}

/// Binds an address that the configuration names with `key`.
pub(crate) async fn bind(
    role: &str,
    addr: SocketAddr,
    key: &str,
    connections_max: usize,
) -> Result<BoundedListener, StartError> {
    let listener =
        TcpListener::bind(addr).await.map_err(|error| bind_error(role, addr, key, &error))?;
    let connections_max = connections_max.min(open_files::limit() / CONNECTIONS_SHARE);
    Ok(BoundedListener::new(listener, connections_max))
}

fn bind_error(role: &str, addr: SocketAddr, key: &str, error: &std::io::Error) -> StartError {
    let hint = match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!(
                "another process holds the port (see it with: ss -ltnp 'sport = :{}')",
                addr.port()
            )
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
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("encode metrics: {error}\n"))
            .into_response(),
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

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use axum::routing::post;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn a_client_that_stops_in_the_midst_of_its_body_is_given_up() {
        let routes = Router::new().route("/", post(async |_: Bytes| "taken"));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = axum::serve(listener, bounded(routes, Duration::from_millis(20)));
        let mut client = TcpStream::connect(address).await.unwrap();
        client
            .write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc")
            .await
            .unwrap();
        let mut answer = [0; 12];
        tokio::select! {
            _ = serving.into_future() => unreachable!("it serves until it is dropped"),
            read = client.read_exact(&mut answer) => assert_eq!(read.unwrap(), answer.len()),
        }
        assert_eq!(&answer, b"HTTP/1.1 400");
    }
}
