//! The form of a file of rule tests.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// A file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestFile {
    #[serde(default)]
    pub(crate) rule_files: Vec<String>,
    #[serde(default = "one_minute", deserialize_with = "span")]
    pub(crate) evaluation_interval: Duration,
    #[serde(default)]
    pub(crate) group_eval_order: Vec<String>,
    #[serde(default)]
    pub(crate) tests: Vec<TestGroup>,
    /// Values may differ in their last bit.
    #[serde(default)]
    pub(crate) fuzzy_compare: bool,
}

/// Series and what is expected of the rules over them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestGroup {
    /// Distance of the samples, and the interval of groups that name none.
    #[serde(default, deserialize_with = "optional_span")]
    pub(crate) interval: Option<Duration>,
    #[serde(default)]
    pub(crate) input_series: Vec<InputSeries>,
    #[serde(default)]
    pub(crate) alert_rule_test: Vec<AlertTest>,
    #[serde(default)]
    pub(crate) promql_expr_test: Vec<ExprTest>,
    #[serde(default)]
    pub(crate) external_labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) external_url: String,
    #[serde(default)]
    pub(crate) name: String,
    /// When the first sample and the first evaluation are: seconds since the epoch, or RFC 3339.
    #[serde(default)]
    pub(crate) start_timestamp: Option<String>,
}

/// A series and its values.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InputSeries {
    pub(crate) series: String,
    pub(crate) values: String,
}

/// What of one alert is to fire at a time.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AlertTest {
    #[serde(deserialize_with = "span", default)]
    pub(crate) eval_time: Duration,
    #[serde(default)]
    pub(crate) alertname: String,
    #[serde(default, deserialize_with = "list")]
    pub(crate) exp_alerts: Vec<ExpectedAlert>,
}

/// An alert that is to fire.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExpectedAlert {
    #[serde(default)]
    pub(crate) exp_labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(crate) exp_annotations: Option<BTreeMap<String, String>>,
}

/// What an expression is to give at a time.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExprTest {
    pub(crate) expr: String,
    #[serde(deserialize_with = "span", default)]
    pub(crate) eval_time: Duration,
    #[serde(default, deserialize_with = "list")]
    pub(crate) exp_samples: Vec<ExpectedSample>,
}

/// An element that an expression is to give.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExpectedSample {
    #[serde(default)]
    pub(crate) labels: String,
    #[serde(default)]
    pub(crate) value: f64,
    /// A native histogram, in the place of the value.
    #[serde(default)]
    pub(crate) histogram: String,
}

/// Reads a file. The error begins with the line of the fault.
pub(crate) fn read(text: &str) -> Result<TestFile, String> {
    serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map_or(0, |location| location.line());
        let message = error.without_snippet().to_string();
        let first = message.lines().next().unwrap_or("not valid YAML").to_owned();
        format!("line {line}: {}", first.trim_start_matches("error: "))
    })
}

fn one_minute() -> Duration {
    Duration::from_secs(60)
}

fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    model::parse_duration(&text).map_err(de::Error::custom)
}

fn optional_span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    span(deserializer).map(|span| Some(span).filter(|span| !span.is_zero()))
}

/// A list that may be left empty: `exp_alerts:` with nothing behind it expects nothing.
fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file_is_read_with_its_defaults() {
        let file = read("tests:\n- alert_rule_test:\n  - {eval_time: 5m, alertname: A}\n").unwrap();
        assert_eq!(file.evaluation_interval, Duration::from_secs(60));
        assert!(file.rule_files.is_empty() && !file.fuzzy_compare);
        let test = &file.tests[0];
        assert_eq!((test.interval, test.alert_rule_test[0].eval_time.as_secs()), (None, 300));
        assert!(test.alert_rule_test[0].exp_alerts.is_empty());
    }

    #[test]
    fn unknown_fields_and_wrong_durations_are_told_with_their_line() {
        let fault = read("evaluation_interval: 1m\nrule_file: []\n").expect_err("a mistyped key");
        assert!(fault.starts_with("line 2: ") && fault.contains("rule_file"), "{fault}");
        let fault = read("evaluation_interval: soon\n").expect_err("no duration");
        assert!(fault.contains("soon"), "{fault}");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,60}", yaml in "[a-z_:{}\\[\\]\n -]{0,60}") {
            let _ = read(&text);
            let _ = read(&format!("tests:\n- {yaml}"));
        }
    }
}
