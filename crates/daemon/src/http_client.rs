//! The one way to build an HTTP client.

use std::time::Duration;

use anyhow::Context;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A client with rustls on ring, gzip, a connect timeout of 5 s and a request timeout of 30 s, without proxies from
/// the environment and without redirects: what the services talk to is named in their configuration.
///
/// On a host without CA certificates it is built all the same and speaks plain HTTP only.
pub fn http_client() -> anyhow::Result<reqwest::Client> {
    // Without an installed provider building the client panics; a second install fails and is harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || {
        reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("saker/", env!("CARGO_PKG_VERSION")))
    };
    builder().build().or_else(|error| {
        tracing::warn!(%error, "no CA certificates on this host: https targets will be refused (install ca-certificates)");
        builder().tls_certs_only([]).build().context("build the HTTP client")
    })
}
