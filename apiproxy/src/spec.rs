//! A data centre as the API sets it and the database keeps it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::DataCentreConfig;

/// The keys of `[[apiproxy.datacenters]]`, with the token itself instead of a file: who may set data centres must not
/// be able to send any file of this machine somewhere. `Debug` shows neither token nor headers.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CentreSpec {
    url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    token: String,
    headers: BTreeMap<String, String>,
    #[serde(with = "model::duration_text")]
    timeout: Duration,
    labels: BTreeMap<String, String>,
    judge_url: String,
    hbs_urls: Vec<String>,
    replicas: Vec<String>,
}

impl Default for CentreSpec {
    fn default() -> Self {
        let DataCentreConfig {
            url, headers, timeout, labels, judge_url, hbs_urls, replicas, ..
        } = DataCentreConfig::default();
        let token = String::new();
        Self { url, token, headers, timeout, labels, judge_url, hbs_urls, replicas }
    }
}

impl CentreSpec {
    /// From JSON.
    pub(crate) fn read(body: &[u8]) -> Result<Self, serde_json::Error> {
        // A list would do for the fields in their order, too.
        match body.trim_ascii_start().starts_with(b"{") {
            true => serde_json::from_slice(body),
            false => Err(serde::de::Error::custom("it is no object")),
        }
    }

    /// As the database keeps it.
    pub(crate) fn stored(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers have a JSON form")
    }

    /// As it is shown: whether there is a token and the names of headers, but not what they hold.
    pub(crate) fn shown(&self) -> Value {
        json!({
            "url": shown_url(&self.url),
            "hasToken": !self.token.is_empty(),
            "headers": self.headers.keys().collect::<Vec<_>>(),
            "timeout": model::format_duration(self.timeout),
            "labels": self.labels,
            "judge_url": self.judge_url,
            "hbs_urls": self.hbs_urls,
            "replicas": self.replicas.iter().map(|url| shown_url(url)).collect::<Vec<_>>(),
        })
    }

    /// As an entry of the configuration, and its token.
    pub(crate) fn into_config(self, name: &str) -> (DataCentreConfig, Option<String>) {
        let Self { url, token, headers, timeout, labels, judge_url, hbs_urls, replicas } = self;
        let config = DataCentreConfig {
            name: name.to_owned(),
            url,
            headers,
            timeout,
            labels,
            judge_url,
            hbs_urls,
            replicas,
            ..DataCentreConfig::default()
        };
        (config, (!token.is_empty()).then_some(token))
    }
}

/// An address without a name and password that it may hold.
fn shown_url(url: &str) -> String {
    match reqwest::Url::parse(url) {
        Ok(mut parsed) if parsed.has_authority() && !parsed.username().is_empty() => {
            let _ = (parsed.set_username(""), parsed.set_password(None));
            parsed.to_string()
        }
        _ => url.to_owned(),
    }
}

impl std::fmt::Debug for CentreSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("CentreSpec").field(&self.shown()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_kept_and_not_shown() {
        let body = br#"{"url":"http://u:s3cret@vm:8428","token":"s3cret","headers":{"X-Key":"s3cret"},"timeout":"5s"}"#;
        let spec = CentreSpec::read(body).expect("it is one");
        let shown = format!("{} {spec:?}", spec.shown());
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(shown.contains("X-Key") && shown.contains("http://vm:8428"), "{shown}");
        assert_eq!(CentreSpec::read(spec.stored().as_bytes()).expect("it was written so"), spec);
        let (config, token) = spec.into_config("bj");
        assert_eq!((config.name.as_str(), token.as_deref()), ("bj", Some("s3cret")));
    }

    #[test]
    fn a_file_of_this_machine_cannot_be_named() {
        let error = CentreSpec::read(br#"{"token_file":"/etc/shadow"}"#).expect_err("no such key");
        assert!(error.to_string().contains("token_file"), "{error}");
    }
}
