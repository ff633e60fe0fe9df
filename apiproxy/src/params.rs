//! The parameters of a request, from the URL or a form, and what they mean.

use std::time::Duration;

use axum::Form;
use axum::extract::{FromRequest, Query, Request};
use axum::http::{Method, Uri, header};
use model::{Matcher, Timestamp};
use promql::{ExprKind, Shift};
use wire::prom_api::{parse_duration_millis, parse_time};

use crate::error::ApiError;

/// Names and values as they were sent. A form goes before the URL; an empty value counts as absent.
#[derive(Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let mut pairs = Vec::new();
        let content_type =
            request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_form =
            content_type.is_some_and(|text| text.starts_with("application/x-www-form-urlencoded"));
        let in_url = from_url(request.uri())?;
        if request.method() == Method::POST && is_form {
            let form = Form::<Vec<(String, String)>>::from_request(request, state).await;
            let Form(form) = form.map_err(|rejection| ApiError::bad_data(rejection.body_text()))?;
            pairs = form;
        }
        pairs.extend(in_url);
        Ok(Self(pairs))
    }
}

fn from_url(uri: &Uri) -> Result<Vec<(String, String)>, ApiError> {
    let query = Query::<Vec<(String, String)>>::try_from_uri(uri);
    query.map(|Query(pairs)| pairs).map_err(|rejection| ApiError::bad_data(rejection.body_text()))
}

impl Params {
    /// The first value of a parameter; `None` when it is absent or empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        value.filter(|value| !value.is_empty())
    }

    /// All values of a parameter.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A moment, or `absent` when it was not sent.
    pub(crate) fn time_or(&self, name: &str, absent: Timestamp) -> Result<Timestamp, ApiError> {
        self.get(name).map_or(Ok(absent), |text| read_time(name, text))
    }

    /// A moment that must be sent.
    pub(crate) fn time(&self, name: &str) -> Result<Timestamp, ApiError> {
        read_time(name, self.get(name).unwrap_or(""))
    }

    /// A positive duration, if it was sent.
    pub(crate) fn duration(&self, name: &str) -> Result<Option<Duration>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let millis = read_millis(name, text)?;
        match u64::try_from(millis) {
            Ok(millis) if millis > 0 => Ok(Some(Duration::from_millis(millis))),
            _ => Err(ApiError::parameter(name, "must be more than zero")),
        }
    }

    /// The step of a range query.
    pub(crate) fn step(&self) -> Result<Duration, ApiError> {
        let millis = read_millis("step", self.get("step").unwrap_or(""))?;
        u64::try_from(millis).ok().filter(|millis| *millis > 0).map(Duration::from_millis).ok_or_else(|| {
            let fault =
                "zero or negative query resolution step widths are not accepted. Try a positive integer";
            ApiError::parameter("step", fault)
        })
    }

    /// How many results are wanted; 0 is without limit.
    pub(crate) fn limit(&self, name: &str) -> Result<usize, ApiError> {
        let Some(text) = self.get(name) else { return Ok(0) };
        text.parse()
            .map_err(|_| ApiError::parameter(name, format!("{text:?} is not a number from 0 on")))
    }

    /// The selectors in `match[]`: for each the conditions that all must hold.
    pub(crate) fn selectors(&self) -> Result<Vec<Vec<Matcher>>, ApiError> {
        self.all("match[]").map(read_selector).collect()
    }
}

fn read_time(name: &str, text: &str) -> Result<Timestamp, ApiError> {
    parse_time(text).ok_or_else(|| {
        ApiError::parameter(name, format!("cannot parse {text:?} to a valid timestamp"))
    })
}

fn read_millis(name: &str, text: &str) -> Result<i64, ApiError> {
    parse_duration_millis(text).ok_or_else(|| {
        ApiError::parameter(name, format!("cannot parse {text:?} to a valid duration"))
    })
}

fn read_selector(text: &str) -> Result<Vec<Matcher>, ApiError> {
    let expr = promql::parse(text).map_err(|error| ApiError::parameter("match[]", error))?;
    let ExprKind::Selector(selector) = expr.kind else {
        return Err(ApiError::parameter(
            "match[]",
            format!("{text:?} is not a series selector such as up{{job=\"a\"}}"),
        ));
    };
    if selector.at != Shift::default() || selector.extension.is_some() {
        return Err(ApiError::parameter(
            "match[]",
            format!("{text:?} must not shift its time: use start and end"),
        ));
    }
    if selector.matchers.iter().all(Matcher::matches_empty) {
        return Err(ApiError::parameter(
            "match[]",
            "match[] must contain at least one non-empty matcher",
        ));
    }
    Ok(selector.matchers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn params(query: &str) -> Params {
        let uri: Uri = format!("/x?{query}").parse().expect("it is a URI");
        Params(from_url(&uri).expect("it is a query string"))
    }

    fn message<T: std::fmt::Debug>(result: Result<T, ApiError>) -> String {
        result.expect_err("it is wrong").message
    }

    #[test]
    fn an_empty_parameter_is_an_absent_one() {
        let params = params("a=1&b=&a=2&match%5B%5D=x&match[]=y");
        assert_eq!((params.get("a"), params.get("b"), params.get("c")), (Some("1"), None, None));
        assert_eq!(params.all("match[]").collect::<Vec<_>>(), ["x", "y"]);
    }

    #[test]
    fn times_and_durations_are_read_in_both_forms() {
        let params =
            params("start=1.5&end=2025-10-09T09:01:00Z&step=1m&timeout=0.5&lookback_delta=0");
        assert_eq!(params.time("start"), Ok(Timestamp(1_500)));
        assert_eq!(params.time("end"), Ok(Timestamp(1_760_000_460_000)));
        assert_eq!(params.step(), Ok(Duration::from_secs(60)));
        assert_eq!(params.duration("timeout"), Ok(Some(Duration::from_millis(500))));
        assert_eq!(params.time_or("time", Timestamp(7)), Ok(Timestamp(7)));
        assert_eq!(
            message(params.duration("lookback_delta")),
            "invalid parameter \"lookback_delta\": must be more than zero"
        );
    }

    #[test]
    fn wrong_parameters_are_named() {
        let params = params("start=soon&step=0&limit=-1&timeout=x");
        assert_eq!(
            message(params.time("start")),
            "invalid parameter \"start\": cannot parse \"soon\" to a valid timestamp"
        );
        assert_eq!(
            message(params.time("end")),
            "invalid parameter \"end\": cannot parse \"\" to a valid timestamp"
        );
        assert!(message(params.step()).contains("zero or negative query resolution step widths"));
        assert!(message(params.limit("limit")).starts_with("invalid parameter \"limit\": "));
        assert!(
            message(params.duration("timeout")).ends_with("cannot parse \"x\" to a valid duration")
        );
    }

    #[test]
    fn only_plain_selectors_select() {
        let matchers =
            params("match[]=up%7Bjob%3D%22a%22%7D").selectors().expect("it is a selector");
        assert_eq!(matchers[0].len(), 2);
        for text in [
            "sum(up)",
            "up[5m]",
            "up%20offset%201m",
            "up%20%40%201",
            "%7B%7D",
            "%7Ba%3D%22%22%7D",
            "up%7B",
            "",
        ] {
            let message = message(params(&format!("match[]={text}")).selectors());
            assert!(message.starts_with("invalid parameter \"match[]\": "), "{message}");
        }
    }

    proptest! {
        #[test]
        fn no_query_string_makes_the_reader_panic(query in "[a-z=&%\\[\\]0-9+.~{}-]{0,60}") {
            let Ok(uri) = format!("/x?{query}").parse::<Uri>() else { return Ok(()) };
            if let Ok(pairs) = from_url(&uri) {
                let params = Params(pairs);
                let _ = (params.selectors(), params.step(), params.time("a"), params.limit("a"));
            }
        }
    }
}
