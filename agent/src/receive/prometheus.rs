//! Prometheus text by push, for programs that write it rather than Open-Falcon's JSON.

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use model::{Metadata, Series, Timestamp};
use wire::exposition::{self, LineFault};

use crate::identity::Host;

/// A text taken apart.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) series: Vec<Series>,
    pub(super) metadata: BTreeMap<String, Metadata>,
    pub(super) refused: Vec<LineFault>,
}

/// Whether the sender says that the body is Prometheus text. Plain `text/plain` says nothing: old clients send
/// their JSON with it.
pub(super) fn is_text(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let value = value.to_ascii_lowercase();
    value.starts_with("application/openmetrics-text")
        || value.starts_with("text/plain") && value.contains("version=0.0.4")
}

/// Reads a text that arrived at `now`; samples without a host are of `host`.
pub(super) fn read(text: &str, host: &Host, now: Timestamp) -> Page {
    let parsed = exposition::parse(text, now);
    let complete = |one: Series| Series { labels: host.complete(&one.labels), ..one };
    Page {
        series: parsed.series.into_iter().map(complete).collect(),
        metadata: parsed.metadata,
        refused: parsed.refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_nothing_else_is_taken_for_text() {
        let is =
            |value: &str| is_text(&HeaderMap::from_iter([(CONTENT_TYPE, value.parse().unwrap())]));
        assert!(
            is("text/plain; version=0.0.4") && is("application/openmetrics-text; version=1.0.0")
        );
        assert!(
            !is("text/plain")
                && !is("application/json")
                && !is("application/x-www-form-urlencoded")
        );
        assert!(!is_text(&HeaderMap::new()));
    }
}
