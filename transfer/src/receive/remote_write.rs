//! Prometheus remote write, versions 1 and 2.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use wire::known::KnownLabels;
use wire::remote_write::{self, DecodeError, Decoded, Limits, v2};

use crate::config::Config;
use crate::ingest::{Incoming, Verdict};
use crate::metrics::{Protocol, RequestFault};
use crate::reason::{Reason, Refusals};
use crate::receive::{Rejection, answer_in_words};

const VERSION_1: &str = "prometheus.WriteRequest";

/// What the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

/// Refuses what is neither version in snappy. Clients that say nothing get the benefit of the
/// doubt, as from Prometheus.
pub(crate) fn check_headers(headers: &HeaderMap) -> Result<Version, Rejection> {
    let text = |name| {
        headers
            .get(name)
            .map_or(Ok(""), |value: &header::HeaderValue| value.to_str())
            .unwrap_or("?")
    };
    let unsupported = |text: String| {
        Err(Rejection {
            status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            text,
            fault: RequestFault::UnsupportedType,
        })
    };
    let content_type = text(header::CONTENT_TYPE);
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or("");
    if !media_type.is_empty() && !media_type.eq_ignore_ascii_case(remote_write::CONTENT_TYPE) {
        return unsupported(format!(
            "Content-Type {content_type:?} is not {:?}",
            remote_write::CONTENT_TYPE
        ));
    }
    let version = match parts.find_map(|part| part.strip_prefix("proto=")).unwrap_or(VERSION_1) {
        VERSION_1 => Version::One,
        v2::MESSAGE => Version::Two,
        other => {
            return unsupported(format!(
                "message {other:?} is not supported; send {VERSION_1} or {}",
                v2::MESSAGE
            ));
        }
    };
    let encoding = text(header::CONTENT_ENCODING);
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case(remote_write::CONTENT_ENCODING) {
        return unsupported(format!("Content-Encoding {encoding:?} is not \"snappy\""));
    }
    Ok(version)
}

/// What one request may ask for.
pub(crate) fn limits(config: &Config) -> Limits {
    Limits {
        message_bytes_max: config.message_bytes_max,
        samples_max: config.samples_per_request_max,
    }
}

/// A decoded request, and how many histograms and exemplars were left out.
pub(crate) fn decode(
    version: Version,
    body: &[u8],
    config: &Config,
    known: &KnownLabels,
) -> Result<(Incoming, usize, usize), Rejection> {
    let limits = limits(config);
    let decoded = match version {
        Version::One => remote_write::decode_known(body, limits, known),
        Version::Two => v2::decode(body, limits),
    };
    let decoded = decoded.map_err(|error| match error {
        DecodeError::MessageTooLong { .. }
        | DecodeError::TooManySamples { .. }
        | DecodeError::TooManySymbols { .. } => Rejection::too_large(error.to_string()),
        DecodeError::Snappy(_) | DecodeError::Message(_) => {
            Rejection::malformed(daemon::error_chain(&error))
        }
    })?;
    let Decoded { series, metadata, refused, histograms_skipped, exemplars_skipped } = decoded;
    let mut refusals = Refusals::default();
    for (fault, refusal) in refused {
        refusals.add(Reason::RemoteWrite(fault), refusal.samples, || refusal.example);
    }
    let incoming = Incoming { series, metadata, refusals, ..Incoming::new(Protocol::RemoteWrite) };
    Ok((incoming, histograms_skipped, exemplars_skipped))
}

/// The answer of the version; that of version 2 says in headers how much was stored.
pub(crate) fn answer(version: Version, verdict: &Verdict) -> Response {
    let mut response = answer_in_words(verdict);
    if version == Version::Two {
        let written = [
            (v2::SAMPLES_WRITTEN, verdict.stored),
            (v2::HISTOGRAMS_WRITTEN, 0),
            (v2::EXEMPLARS_WRITTEN, 0),
        ];
        for (name, count) in written {
            response.headers_mut().insert(name, HeaderValue::from(count));
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(content_type: &'static str, encoding: &'static str, fault: Option<&str>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, content_type.parse().expect("it is a header value"));
        headers.insert(header::CONTENT_ENCODING, encoding.parse().expect("it is a header value"));
        let text = check_headers(&headers).err().map(|rejection| rejection.text);
        assert_eq!(text.as_deref(), fault, "{content_type} {encoding}");
    }

    #[test]
    fn both_versions_in_snappy_pass() {
        check("application/x-protobuf", "snappy", None);
        check("application/x-protobuf;proto=prometheus.WriteRequest", "snappy", None);
        check("application/x-protobuf;proto=io.prometheus.write.v2.Request", "snappy", None);
        check("", "", None);
        assert_eq!(check_headers(&HeaderMap::new()), Ok(Version::One));
    }

    #[test]
    fn other_types_are_refused_with_the_way_out() {
        check(
            "text/plain",
            "snappy",
            Some("Content-Type \"text/plain\" is not \"application/x-protobuf\""),
        );
        check(
            "application/x-protobuf;proto=io.prometheus.write.v3.Request",
            "snappy",
            Some(
                "message \"io.prometheus.write.v3.Request\" is not supported; send prometheus.WriteRequest or \
                 io.prometheus.write.v2.Request",
            ),
        );
        check(
            "application/x-protobuf",
            "zstd",
            Some("Content-Encoding \"zstd\" is not \"snappy\""),
        );
    }

    #[test]
    fn only_faults_of_time_and_limits_make_a_400() {
        let mut refusals = Refusals::default();
        refusals
            .add(Reason::RemoteWrite(remote_write::SeriesFault::NoMetricName), 1, || "x".into());
        let malformed = Verdict { received: 2, stored: 1, refusals: refusals.clone() };
        assert_eq!(answer_in_words(&malformed).status(), StatusCode::NO_CONTENT);
        refusals.add(Reason::TooFarInFuture, 1, || "x".into());
        assert_eq!(
            answer_in_words(&Verdict { refusals, ..malformed }).status(),
            StatusCode::BAD_REQUEST
        );
    }
}
