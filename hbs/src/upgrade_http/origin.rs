//! Who may change a rollout: programs on this machine, and nobody who only looks like one.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use daemon::PeerAddr;

use crate::door::{Caller, foreign};

/// Open-Falcon's text.
const REFUSAL: &str = "no privilege";

/// A program on this machine. A handler that takes this is for those only.
#[derive(Debug, Clone, Copy)]
pub(super) enum Local {
    /// By this loopback address.
    Address(IpAddr),
    /// By the Unix socket, whose file mode lets only its owner in.
    Socket,
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Socket => f.write_str("unix socket"),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Local {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        if let Some(local) = parts.extensions.get::<Self>() {
            return Ok(*local);
        }
        let peer = PeerAddr::from_request_parts(parts, state).await;
        let PeerAddr(peer) = peer.map_err(IntoResponse::into_response)?;
        let Some(why) = foreign(peer.ip(), &parts.headers) else {
            return Ok(Self::Address(peer.ip()));
        };
        tracing::warn!(
            target: "audit",
            %peer,
            method = %parts.method,
            path = parts.uri.path(),
            why,
            "a change of the rollout was refused"
        );
        Err((StatusCode::FORBIDDEN, REFUSAL).into_response())
    }
}

impl From<Local> for Caller {
    fn from(local: Local) -> Self {
        match local {
            Local::Address(peer) => Self { actor: "local".to_owned(), peer },
            Local::Socket => {
                Self { actor: "unix socket".to_owned(), peer: Ipv4Addr::LOCALHOST.into() }
            }
        }
    }
}
