//! Who may change a rollout: programs on this machine, and nobody who only looks like one.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use daemon::PeerAddr;

/// Open-Falcon's text.
const REFUSAL: &str = "no privilege";
/// A proxy on this machine would otherwise open it to the world.
const PROXY_HEADERS: [&str; 6] =
    ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "forwarded", "x-real-ip", "via"];

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

/// Why a request is not one of a program on this machine.
fn foreign(peer: IpAddr, headers: &HeaderMap) -> Option<&'static str> {
    if !peer.to_canonical().is_loopback() {
        return Some("it comes from another address");
    }
    if PROXY_HEADERS.iter().any(|name| headers.contains_key(*name)) {
        return Some("it comes through a proxy");
    }
    // A page in a browser on this machine can ask too: under a name that its owner points here, or
    // across origins.
    if !headers.get(header::HOST).is_some_and(is_own) {
        return Some("its Host is not this machine's own");
    }
    if headers.get(header::ORIGIN).is_some_and(|origin| !is_own_origin(origin)) {
        return Some("it comes from a page of another origin");
    }
    let site = headers.get("sec-fetch-site");
    if site.is_some_and(|site| site != "same-origin" && site != "none") {
        return Some("it comes from a page of another site");
    }
    None
}

fn is_own_origin(origin: &HeaderValue) -> bool {
    let host = origin.to_str().ok().and_then(|text| text.split_once("://"));
    host.is_some_and(|(_, host)| is_own_host(host))
}

fn is_own(value: &HeaderValue) -> bool {
    value.to_str().is_ok_and(is_own_host)
}

/// Whether it is a loopback address or `localhost`, with or without a port.
fn is_own_host(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().to_canonical().is_loopback();
    }
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return address.to_canonical().is_loopback();
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        Some(_) => return false,
        None => host,
    };
    name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(peer: &str, more: &[(&'static str, &'static str)]) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("127.0.0.1:6031"));
        for (name, value) in more {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        foreign(peer.parse().expect("an address"), &headers)
    }

    #[test]
    fn this_machine_is_its_loopback_addresses_in_any_form() {
        for peer in ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(check(peer, &[]), None, "{peer}");
        }
        for peer in ["192.0.2.1", "10.127.0.1", "::", "::ffff:192.0.2.1", "::127.0.0.1", "fe80::1"]
        {
            assert!(check(peer, &[]).is_some(), "{peer}");
        }
    }

    #[test]
    fn own_names_pass_and_others_do_not() {
        for host in ["127.0.0.1", "127.0.0.2:80", "[::1]:6031", "[::1]", "localhost", "LocalHost:1"]
        {
            assert!(is_own_host(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "192.0.2.1:6031",
            "localhost:evil",
            "a@localhost:1",
            "0.0.0.0",
        ] {
            assert!(!is_own_host(host), "{host}");
        }
        assert!(foreign("127.0.0.1".parse().expect("one"), &HeaderMap::new()).is_some(), "no Host");
    }

    #[test]
    fn proxies_and_pages_of_others_are_not_this_machine() {
        for name in PROXY_HEADERS {
            assert!(check("127.0.0.1", &[(name, "127.0.0.1")]).is_some(), "{name}");
        }
        let page = |origin, site| check("::1", &[("origin", origin), ("sec-fetch-site", site)]);
        assert_eq!(page("http://localhost:6031", "same-origin"), None);
        assert!(page("http://evil.example", "same-origin").is_some());
        assert!(page("null", "same-origin").is_some());
        assert!(page("http://localhost:6031", "cross-site").is_some());
        assert!(page("http://localhost:6031", "same-site").is_some());
    }

    proptest! {
        #[test]
        fn no_host_makes_the_check_panic(host in ".{0,40}") {
            let _ = is_own_host(&host);
        }
    }
}
