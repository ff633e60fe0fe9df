//! `url.check.health`: whether an address answers a HEAD request with 200.

use std::time::Duration;

use reqwest::StatusCode;
use wire::heartbeat::Check;

use super::Finding;

/// The label that says from where it was looked at.
const SOURCE: &str = "src";

/// Asks once; redirects are answers like any other. `source` is the name of this host.
pub async fn look(
    check: &Check,
    url: &str,
    timeout: Duration,
    source: &str,
    http: &reqwest::Client,
) -> Finding {
    let answer = http.head(url).timeout(timeout).send().await;
    let is_up = answer.is_ok_and(|answer| answer.status() == StatusCode::OK);
    let mut finding = Finding::new(check, if is_up { 1.0 } else { 0.0 });
    finding.tags.push((SOURCE, source.to_owned()));
    finding
}
