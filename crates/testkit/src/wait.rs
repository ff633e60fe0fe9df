//! Waiting for what another process does.

use std::time::Duration;

use serde_json::Value;

const PAUSE: Duration = Duration::from_millis(25);

/// Asks until there is an answer, and fails the test when there is none within `deadline`.
pub async fn eventually<T>(
    what: &str,
    deadline: Duration,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> T {
    let end = tokio::time::Instant::now() + deadline;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(tokio::time::Instant::now() < end, "waited {deadline:?} in vain: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// The body of a successful GET as JSON; `None` on any failure, so that it can be asked again.
pub async fn get_json(http: &reqwest::Client, url: &str) -> Option<Value> {
    serde_json::from_str(&get_text(http, url).await?).ok()
}

/// The body of a successful GET.
pub async fn get_text(http: &reqwest::Client, url: &str) -> Option<String> {
    http.get(url).send().await.ok()?.error_for_status().ok()?.text().await.ok()
}
