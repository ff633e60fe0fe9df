//! Answers of the Prometheus HTTP API, read as its client: ours, Prometheus' own and VictoriaMetrics'.

use std::borrow::Cow;
use std::collections::BTreeMap;

use model::{Labels, Metadata, MetricKind, Sample, Series, Timestamp};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::prom_api::Notes;

/// The value of a query.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// An instant vector, in the order of the answer.
    Vector(Vec<(Labels, Sample)>),
    /// A range vector; samples ascend in time.
    Matrix(Vec<Series>),
    /// A number.
    Scalar(Sample),
    /// A text.
    Text(Timestamp, String),
}

/// An answer to a query.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryAnswer {
    /// The value.
    pub found: Found,
    /// Elements and samples that were left out, since they are native histograms.
    pub histograms_skipped: usize,
    /// What was said beside it.
    pub notes: Notes,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum AnswerError {
    /// The server says what is wrong.
    #[error("{kind}: {message}")]
    Refused {
        /// The word in `errorType`.
        kind: String,
        /// The sentence in `error`.
        message: String,
    },
    /// It is not an answer of this API.
    #[error("it is not an answer of the Prometheus HTTP API")]
    Malformed(#[source] serde_json::Error),
    /// It says that all went well, and what was asked for is missing.
    #[error("the answer holds no {0}")]
    Missing(&'static str),
}

#[derive(Deserialize)]
struct Envelope<T> {
    status: String,
    #[serde(default = "Option::default")]
    data: Option<T>,
    #[serde(default, rename = "errorType")]
    error_type: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Vector(Vec<Element>),
    Matrix(Vec<Row>),
    Scalar(Point),
    String((f64, String)),
}

#[derive(Deserialize)]
struct Element {
    metric: Labels,
    value: Option<Point>,
}

#[derive(Deserialize)]
struct Row {
    metric: Labels,
    #[serde(default)]
    values: Vec<Point>,
    #[serde(default)]
    histograms: Vec<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(try_from = "(f64, Cow<'_, str>)")]
struct Point(Sample);

impl TryFrom<(f64, Cow<'_, str>)> for Point {
    type Error = String;

    fn try_from((seconds, value): (f64, Cow<'_, str>)) -> Result<Self, String> {
        // Rust reads `NaN`, `+Inf` and `-Inf` as Go writes them.
        let value = value.parse().map_err(|_| format!("{value:?} is not a number"))?;
        Ok(Self(Sample { timestamp: Timestamp::from_seconds_f64(seconds), value }))
    }
}

#[derive(Deserialize)]
struct About {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    help: String,
    #[serde(default)]
    unit: String,
}

/// Reads the answer to an instant or range query.
pub fn read_query(body: &[u8]) -> Result<QueryAnswer, AnswerError> {
    let (data, notes) = open::<Data>(body, "result")?;
    let mut histograms_skipped = 0;
    let found = match data {
        Data::Scalar(Point(sample)) => Found::Scalar(sample),
        Data::String((seconds, text)) => Found::Text(Timestamp::from_seconds_f64(seconds), text),
        Data::Vector(elements) => {
            let all = elements.len();
            let float = |element: Element| Some((element.metric, element.value?.0));
            let vector: Vec<_> = elements.into_iter().filter_map(float).collect();
            histograms_skipped = all - vector.len();
            Found::Vector(vector)
        }
        Data::Matrix(rows) => {
            let mut matrix = Vec::with_capacity(rows.len());
            for row in rows {
                histograms_skipped += row.histograms.len();
                let samples = in_order(row.values.into_iter().map(|point| point.0).collect());
                if !samples.is_empty() {
                    matrix.push(Series { labels: row.metric, samples });
                }
            }
            Found::Matrix(matrix)
        }
    };
    Ok(QueryAnswer { found, histograms_skipped, notes })
}

/// Reads the answer of `/api/v1/series`.
pub fn read_label_sets(body: &[u8]) -> Result<Vec<Labels>, AnswerError> {
    open(body, "series").map(|(sets, _)| sets)
}

/// Reads the answer of `/api/v1/labels` and `/api/v1/label/<name>/values`.
pub fn read_texts(body: &[u8]) -> Result<Vec<String>, AnswerError> {
    open(body, "list").map(|(texts, _)| texts)
}

/// Reads the answer of `/api/v1/metadata`; of several pieces about a name the first.
pub fn read_metadata(body: &[u8]) -> Result<Vec<(String, Metadata)>, AnswerError> {
    let (all, _) = open::<BTreeMap<String, Vec<About>>>(body, "metadata")?;
    let first = |(name, pieces): (String, Vec<About>)| {
        let About { kind, help, unit } = pieces.into_iter().next()?;
        Some((name, Metadata { kind: kind_of(&kind), help, unit }))
    };
    Ok(all.into_iter().filter_map(first).collect())
}

/// Reads what an answer with an error status says; `None` when it says nothing in the form of this API.
pub fn read_error(body: &[u8]) -> Option<(String, String)> {
    let envelope: Envelope<serde::de::IgnoredAny> = serde_json::from_slice(body).ok()?;
    (envelope.status == "error").then_some((envelope.error_type, envelope.error))
}

fn open<T: DeserializeOwned>(body: &[u8], what: &'static str) -> Result<(T, Notes), AnswerError> {
    let envelope: Envelope<T> = serde_json::from_slice(body).map_err(AnswerError::Malformed)?;
    if envelope.status != "success" {
        let (kind, message) = (envelope.error_type, envelope.error);
        return Err(AnswerError::Refused { kind, message });
    }
    let notes = Notes { warnings: envelope.warnings, infos: envelope.infos };
    Ok((envelope.data.ok_or(AnswerError::Missing(what))?, notes))
}

/// Who evaluates relies on the order, and the server may be anybody.
fn in_order(mut samples: Vec<Sample>) -> Vec<Sample> {
    if !samples.is_sorted_by(|a, b| a.timestamp < b.timestamp) {
        samples.sort_by_key(|sample| sample.timestamp);
        samples.dedup_by_key(|sample| sample.timestamp);
    }
    samples
}

fn kind_of(word: &str) -> MetricKind {
    let all = [MetricKind::Gauge, MetricKind::Counter, MetricKind::Histogram, MetricKind::Summary];
    all.into_iter().find(|kind| kind.as_str() == word).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::prom_api;

    fn labels() -> Labels {
        Labels::from_pairs([("__name__", "up"), ("job", "a\"b\n")])
    }

    fn ours(put: impl FnOnce(&mut String)) -> Vec<u8> {
        let notes = Notes { warnings: vec!["w".into()], infos: vec!["i".into()] };
        prom_api::success(put, &notes).into_bytes()
    }

    fn found(body: &[u8]) -> Found {
        read_query(body).expect("it is an answer").found
    }

    #[test]
    fn every_kind_of_result_is_read_with_its_notes() {
        let vector = [(labels(), Sample::new(1_500, 2.5))];
        let answer =
            read_query(&ours(|out| prom_api::put_vector(out, &vector))).expect("it is one");
        assert_eq!(answer.found, Found::Vector(vector.to_vec()));
        assert_eq!(
            (answer.notes.warnings, answer.notes.infos),
            (vec!["w".into()], vec!["i".into()])
        );
        let scalar = ours(|out| prom_api::put_scalar(out, &Sample::new(-5, f64::INFINITY)));
        assert_eq!(found(&scalar), Found::Scalar(Sample::new(-5, f64::INFINITY)));
        let text = ours(|out| prom_api::put_text_result(out, Timestamp(7), "x"));
        assert_eq!(found(&text), Found::Text(Timestamp(7), "x".into()));
    }

    #[test]
    fn native_histograms_are_left_out_and_counted() {
        let body = br#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"a":"1"},"histogram":[1,{"count":"3","sum":"4"}]},
            {"metric":{"a":"2"},"value":[1,"5"]}]}}"#;
        let answer = read_query(body).expect("it is an answer");
        assert_eq!(answer.histograms_skipped, 1);
        let body = br#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{},"histograms":[[1,{}],[2,{}]]}]}}"#;
        let answer = read_query(body).expect("it is an answer");
        assert_eq!((answer.histograms_skipped, answer.found), (2, Found::Matrix(vec![])));
    }

    #[test]
    fn what_the_server_refuses_is_told_in_its_words() {
        let body = br#"{"status":"error","errorType":"execution","error":"too much"}"#;
        let error = read_query(body).expect_err("it is an error");
        assert_eq!(error.to_string(), "execution: too much");
        assert_eq!(read_error(body), Some(("execution".into(), "too much".into())));
        for body in [&b"<html>"[..], b"", b"[]", br#"{"status":"success"}"#] {
            assert!(read_query(body).is_err() && read_error(body).is_none());
        }
    }

    #[test]
    fn lists_sets_and_metadata_are_read() {
        assert_eq!(read_texts(&ours(|out| prom_api::put_texts(out, ["a"]))).expect("one"), ["a"]);
        let sets = [labels()];
        assert_eq!(
            read_label_sets(&ours(|out| prom_api::put_label_sets(out, &sets))).expect("one"),
            sets
        );
        let about = Metadata { kind: MetricKind::Counter, help: "h".into(), unit: "s".into() };
        let body = ours(|out| prom_api::put_metadata(out, [("a", &about)]));
        assert_eq!(read_metadata(&body).expect("one"), [("a".to_owned(), about)]);
    }

    #[test]
    fn samples_out_of_order_are_put_in_order() {
        let body = br#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{},"values":[[3,"3"],[1,"1"],[3,"4"]]}]}}"#;
        let samples = vec![Sample::new(1000, 1.0), Sample::new(3000, 3.0)];
        assert_eq!(found(body), Found::Matrix(vec![Series { labels: Labels::empty(), samples }]));
    }

    proptest! {
        #[test]
        fn what_our_api_writes_reads_back(
            values in prop::collection::vec((any::<u32>(), any::<f64>()), 1..20),
        ) {
            let mut samples: Vec<Sample> =
                values.iter().map(|(at, value)| Sample::new(i64::from(*at), *value)).collect();
            samples.sort_by_key(|sample| sample.timestamp);
            samples.dedup_by_key(|sample| sample.timestamp);
            let matrix = [Series { labels: labels(), samples }];
            let Found::Matrix(read) = found(&ours(|out| prom_api::put_matrix(out, &matrix))) else {
                return Err(TestCaseError::fail("not a matrix"));
            };
            for (ours, read) in matrix[0].samples.iter().zip(&read[0].samples) {
                prop_assert_eq!(ours.timestamp, read.timestamp);
                // The form of the API has one NaN.
                prop_assert!(ours.value == read.value || (ours.value.is_nan() && read.value.is_nan()));
            }
            prop_assert_eq!(&read[0].labels, &matrix[0].labels);
        }

        #[test]
        fn no_body_makes_a_reader_panic(bytes: Vec<u8>, text in r#"[\[\]{}",:0-9a-zE.+-]{0,80}"#) {
            for body in [&bytes[..], text.as_bytes()] {
                let wrapped = [br#"{"status":"success","data":"#, body, b"}"].concat();
                for body in [body, &wrapped[..]] {
                    let _ = (read_query(body), read_texts(body), read_label_sets(body));
                    let _ = (read_metadata(body), read_error(body));
                }
            }
        }
    }
}
