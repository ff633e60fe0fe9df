//! The one way to build an HTTP client. Who posts very many small messages has [`Poster`](crate::Poster) besides.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_platform_verifier::Verifier;

pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
pub(crate) const USER_AGENT: &str = concat!("saker/", env!("CARGO_PKG_VERSION"));
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A client with rustls on ring, gzip, a connect timeout of 5 s and a request timeout of 30 s, without proxies from
/// the environment and without redirects: what the services talk to is named in their configuration.
///
/// The host's CA certificates are read when the first HTTPS server is met; without any, that server is refused and
/// plain HTTP goes on.
pub fn http_client() -> anyhow::Result<reqwest::Client> {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        // HTTP/1 has no refusals that a client may repeat unasked; by default every request is copied for them.
        .retry(reqwest::retry::never().max_retries_per_request(0))
        .user_agent(USER_AGENT)
        .tls_backend_preconfigured(tls()?)
        .build()
        .context("build the HTTP client")
}

/// How HTTPS servers are spoken to.
pub(crate) fn tls() -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    // For whoever else asks rustls for its default; a second install fails and is harmless.
    let _ = CryptoProvider::install_default((*provider).clone());
    Ok(ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .context("choose the TLS versions")?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(HostRoots::new(provider)))
        .with_no_client_auth())
}

/// Trusts what the host trusts. Reading its certificates costs 300 KiB and some milliseconds, which most agents,
/// talking plain HTTP inside their network, need never pay.
#[derive(Debug)]
struct HostRoots {
    provider: Arc<CryptoProvider>,
    loaded: OnceLock<Verifier>,
}

impl HostRoots {
    fn new(provider: Arc<CryptoProvider>) -> Self {
        Self { provider, loaded: OnceLock::new() }
    }

    // A failure is not kept: the certificates may be installed while the process runs.
    fn verifier(&self) -> Result<&Verifier, Error> {
        if let Some(verifier) = self.loaded.get() {
            return Ok(verifier);
        }
        let verifier = Verifier::new(Arc::clone(&self.provider)).map_err(|error| {
            Error::General(format!("{error}; install the host's CA certificates (ca-certificates)"))
        })?;
        Ok(self.loaded.get_or_init(|| verifier))
    }
}

impl ServerCertVerifier for HostRoots {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verifier = self.verifier()?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier()?.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier()?.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots() -> HostRoots {
        HostRoots::new(Arc::new(rustls::crypto::ring::default_provider()))
    }

    #[test]
    fn a_client_that_speaks_plain_http_reads_no_certificates() {
        let roots = roots();
        assert!(!roots.supported_verify_schemes().is_empty());
        assert!(roots.loaded.get().is_none());
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        let name = ServerName::try_from("transfer.example").unwrap();
        let junk = CertificateDer::from(vec![0x30, 0x03, 1, 2, 3]);
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1_760_000_000));
        assert!(roots().verify_server_cert(&junk, &[], &name, &[], now).is_err());
    }
}
