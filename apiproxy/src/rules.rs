//! `/api/v1/rules` and `/api/v1/alerts`: judge knows them, Grafana asks for them where it asks for samples.

use std::time::Duration;

use reqwest::{Client, Response};
use wire::prom_api::ErrorKind;

use crate::error::ApiError;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// A longer answer is not passed on.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The judge that is asked.
#[derive(Debug)]
pub(crate) struct Judge {
    url: String,
    http: Client,
}

impl Judge {
    /// The judge at an address; without one every question is answered with "not found".
    pub(crate) fn new(url: &str, http: Client) -> Self {
        Self { url: url.trim_end_matches('/').to_owned(), http }
    }

    /// What judge answers to `GET /api/v1/<what>?<query>`.
    pub(crate) async fn ask(&self, what: &str, query: Option<&str>) -> Result<String, ApiError> {
        if self.url.is_empty() {
            let message = format!("no judge is named for {what}: set apiproxy.judge_url");
            return Err(ApiError { kind: ErrorKind::NotFound, message });
        }
        let url = format!("{}/api/v1/{what}?{}", self.url, query.unwrap_or(""));
        let answer = self.http.get(url).timeout(REQUEST_TIMEOUT).send().await;
        let answer =
            answer.map_err(|error| self.unavailable(anyhow::Error::from(error.without_url())))?;
        let status = answer.status();
        let body = read(answer).await.map_err(|error| self.unavailable(error))?;
        if status.is_success() {
            return Ok(body);
        }
        let told: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
        match told["error"].as_str() {
            Some(fault) if status.is_client_error() => Err(ApiError::bad_data(fault)),
            _ => Err(self.unavailable(anyhow::anyhow!("it answers {status}"))),
        }
    }

    fn unavailable(&self, error: anyhow::Error) -> ApiError {
        let message = format!("judge at {} (apiproxy.judge_url): {error:#}", self.url);
        ApiError { kind: ErrorKind::Unavailable, message }
    }
}

async fn read(mut answer: Response) -> anyhow::Result<String> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        anyhow::ensure!(
            body.len() + chunk.len() <= ANSWER_BYTES_MAX,
            "its answer is longer than {ANSWER_BYTES_MAX} bytes; narrow it with rule_group[]"
        );
        body.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8(body)?)
}
