//! `/api/v1/rules` and `/api/v1/alerts`: judges know them, Grafana asks for them where it asks for samples.

use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::join_all;
use reqwest::{Client, Response};
use serde_json::Value;
use wire::prom_api::{self, ErrorKind, Notes};

use crate::error::ApiError;
use crate::site::Sites;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// A longer answer is not passed on.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The judges that are asked: one, or one of each data centre.
#[derive(Debug)]
pub(crate) struct Judges {
    /// Where only one store is asked.
    sole_url: String,
    http: Client,
}

#[derive(Debug)]
struct Judge {
    /// Of its data centre; the setting of its address where there is only one.
    name: String,
    url: String,
}

/// What judges answer, and which of them did not.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) body: String,
    pub(crate) missing: Vec<String>,
}

impl Judges {
    /// `sole_url` is asked where no data centres are named.
    pub(crate) fn new(sole_url: String, http: Client) -> Self {
        Self { sole_url, http }
    }

    /// What they answer to `GET /api/v1/<what>?<query>`. Their lists are put together under `key`.
    pub(crate) async fn ask(
        &self,
        sites: &Sites,
        (what, key): (&str, &str),
        query: Option<&str>,
    ) -> Result<Told, ApiError> {
        let judges = self.of(sites);
        let ask = |judge| self.ask_one(judge, what, query);
        match judges.as_slice() {
            [] => {
                let message = format!("no judge is named for {what}: set apiproxy.judge_url");
                Err(ApiError { kind: ErrorKind::NotFound, message })
            }
            [only] => Ok(Told { body: ask(only).await?, missing: Vec::new() }),
            all => together(key, all, join_all(all.iter().map(ask)).await),
        }
    }

    fn of(&self, sites: &Sites) -> Vec<Judge> {
        let judge = |name: &str, url: &str| Judge {
            name: name.to_owned(),
            url: url.trim_end_matches('/').to_owned(),
        };
        let of_sites =
            sites.list().iter().map(|site| judge(&site.centre.name, &site.about.judge_url));
        let mut list: Vec<Judge> = match sites.is_plain() {
            true => vec![judge("apiproxy.judge_url", &self.sole_url)],
            false => of_sites.collect(),
        };
        list.retain(|judge| !judge.url.is_empty());
        list
    }

    async fn ask_one(
        &self,
        judge: &Judge,
        what: &str,
        query: Option<&str>,
    ) -> Result<String, ApiError> {
        let url = format!("{}/api/v1/{what}?{}", judge.url, query.unwrap_or(""));
        let answer = self.http.get(url).timeout(REQUEST_TIMEOUT).send().await;
        let answer =
            answer.map_err(|error| judge.unavailable(anyhow::Error::from(error.without_url())))?;
        let status = answer.status();
        let body = read(answer).await.map_err(|error| judge.unavailable(error))?;
        if status.is_success() {
            return Ok(body);
        }
        let told: Value = serde_json::from_str(&body).unwrap_or_default();
        match told["error"].as_str() {
            Some(fault) if status.is_client_error() => Err(ApiError::bad_data(fault)),
            _ => Err(judge.unavailable(anyhow::anyhow!("it answers {status}"))),
        }
    }
}

impl Judge {
    fn unavailable(&self, error: anyhow::Error) -> ApiError {
        let message = format!("judge at {} ({}): {error:#}", self.url, self.name);
        ApiError { kind: ErrorKind::Unavailable, message }
    }
}

/// The lists of all judges that answered as one. It fails when none did, and when the question is wrong.
fn together(
    key: &str,
    judges: &[Judge],
    answers: Vec<Result<String, ApiError>>,
) -> Result<Told, ApiError> {
    let (mut all, mut notes, mut missing) = (Vec::new(), Notes::default(), Vec::new());
    let mut last = None;
    for (judge, answer) in judges.iter().zip(answers) {
        let list = answer.and_then(|body| {
            let mut told: Value = serde_json::from_str(&body).unwrap_or_default();
            match told["data"][key].take() {
                Value::Array(list) => Ok(list),
                _ => Err(judge.unavailable(anyhow::anyhow!("its answer has no list of {key}"))),
            }
        });
        match list {
            Ok(list) => all.extend(list),
            Err(error) if error.kind == ErrorKind::BadData => return Err(error),
            Err(error) => {
                notes.warnings.push(format!(
                    "data centre {} is missing from this answer: {}",
                    judge.name, error.message
                ));
                missing.push(judge.name.clone());
                last = Some(error);
            }
        }
    }
    if let (true, Some(error)) = (missing.len() == judges.len(), last) {
        return Err(error);
    }
    let data = serde_json::json!({ key: all });
    let body = prom_api::success(|out| prom_api::put_json(out, &data), &notes);
    Ok(Told { body, missing })
}

async fn read(answer: Response) -> anyhow::Result<String> {
    let body = read_at_most(answer, ANSWER_BYTES_MAX).await;
    let body = body.context("the list of rules can be narrowed with rule_group[]")?;
    Ok(String::from_utf8(body)?)
}

/// The body of an answer of at most so many bytes.
pub(crate) async fn read_at_most(
    mut answer: Response,
    bytes_max: usize,
) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        let is_long = body.len() + chunk.len() > bytes_max;
        anyhow::ensure!(!is_long, "its answer is longer than {bytes_max} bytes");
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judges() -> [Judge; 2] {
        ["bj", "sh"].map(|name| Judge { name: name.to_owned(), url: format!("http://{name}") })
    }

    fn groups(names: &[&str]) -> Result<String, ApiError> {
        Ok(serde_json::json!({ "status": "success", "data": { "groups": names } }).to_string())
    }

    #[test]
    fn the_lists_of_all_judges_are_one() {
        let told = together("groups", &judges(), vec![groups(&["a"]), groups(&["b"])]);
        let told = told.expect("both answered");
        assert_eq!(told.body, r#"{"status":"success","data":{"groups":["a","b"]}}"#);
        assert!(told.missing.is_empty());
    }

    #[test]
    fn a_judge_that_is_away_or_lies_is_named() {
        let told = together("groups", &judges(), vec![groups(&["a"]), Ok("<html>".to_owned())]);
        let told = told.expect("one answered");
        assert_eq!(told.missing, ["sh"]);
        assert!(told.body.contains("data centre sh is missing"), "{}", told.body);
        let nobody = vec![Ok(String::new()), Ok(String::new())];
        assert!(together("groups", &judges(), nobody).is_err());
    }
}
