//! OpenTSDB's `put`, as a line and as JSON. Metrics and tags become names and labels of ours:
//! `sys.cpu.user` is `sys_cpu_user`, tag `rack-id` is label `rack_id`.

use std::collections::BTreeMap;

use model::{Sample, Series, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::falcon_json::loose;
use crate::tags::Tags;

/// Times from here on are milliseconds: as seconds they would lie beyond the year 2286.
const MILLIS_FROM: f64 = 1e10;

/// Why a body is refused as a whole.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// The body is neither an object nor a list.
    #[error("the body is neither a JSON object nor a list of them")]
    NotJson(#[source] serde_json::Error),
    /// There are more points than the limit.
    #[error("the list has more than {max} points; send less at once")]
    TooManyPoints {
        /// The limit.
        max: usize,
    },
}

/// Why one point is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PointFault {
    /// The item is no object, or a field has the wrong type.
    NotAPoint,
    /// The line has no metric, time and value, or a tag without `=`.
    Words,
    /// No metric.
    NoMetric,
    /// A time that is no number.
    Timestamp,
    /// A value that is no number and no text of a number.
    Value,
    /// Two tags that become the same label.
    TagCollision,
}

impl PointFault {
    /// All of them, for metrics that start at zero.
    pub const ALL: [Self; 6] = [
        Self::NotAPoint,
        Self::Words,
        Self::NoMetric,
        Self::Timestamp,
        Self::Value,
        Self::TagCollision,
    ];

    /// The word for metrics and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAPoint => "opentsdb_not_a_point",
            Self::Words => "opentsdb_words",
            Self::NoMetric => "opentsdb_no_metric",
            Self::Timestamp => "opentsdb_timestamp",
            Self::Value => "opentsdb_value",
            Self::TagCollision => "opentsdb_tag_collision",
        }
    }
}

/// A decoded body.
#[derive(Debug, Default)]
pub struct Decoded<'a> {
    /// The valid points.
    pub series: Vec<Series>,
    /// The others, each with its JSON text.
    pub refused: Vec<(&'a RawValue, PointFault)>,
}

/// Reads what follows `put` on a line: `<metric> <time> <value> <tag>=<value> …`. A time of 0 is
/// the time of arrival.
pub fn parse_put(rest: &str, now: Timestamp) -> Result<Series, PointFault> {
    let mut words = rest.split_ascii_whitespace();
    let mut next = || words.next().ok_or(PointFault::Words);
    let (metric, timestamp, value) = (next()?, next()?, next()?);
    let mut tags = Tags::default();
    for word in words {
        let (key, value) =
            word.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or(PointFault::Words)?;
        if !tags.add(key, value) {
            return Err(PointFault::TagCollision);
        }
    }
    series(metric, read_timestamp(timestamp, now)?, value, &tags)
}

/// Decodes a point or a list of points. A bad one does not cost the others.
pub fn decode(body: &[u8], now: Timestamp, points_max: usize) -> Result<Decoded<'_>, DecodeError> {
    let is_list = body.trim_ascii_start().starts_with(b"[");
    let points: Vec<&RawValue> = if is_list {
        let items = loose::list(body, points_max).map_err(DecodeError::NotJson)?;
        items.ok_or(DecodeError::TooManyPoints { max: points_max })?
    } else {
        vec![serde_json::from_slice(body).map_err(DecodeError::NotJson)?]
    };
    let mut decoded = Decoded::default();
    for point in points {
        match read_point(point.get(), now) {
            Ok(series) => decoded.series.push(series),
            Err(fault) => decoded.refused.push((point, fault)),
        }
    }
    Ok(decoded)
}

#[derive(Deserialize)]
struct Point<'a> {
    #[serde(default)]
    metric: String,
    #[serde(borrow, default)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tags: BTreeMap<String, &'a RawValue>,
}

fn read_point(json: &str, now: Timestamp) -> Result<Series, PointFault> {
    // A list would be read as the fields in their order.
    if !json.starts_with('{') {
        return Err(PointFault::NotAPoint);
    }
    let point: Point<'_> = serde_json::from_str(json).map_err(|_| PointFault::NotAPoint)?;
    let mut tags = Tags::default();
    for (key, value) in &point.tags {
        let value = text_of(value).ok_or(PointFault::NotAPoint)?;
        if !tags.add(key, &value) {
            return Err(PointFault::TagCollision);
        }
    }
    let timestamp = match point.timestamp {
        Some(json) => read_timestamp(&text_of(json).ok_or(PointFault::Timestamp)?, now)?,
        None => now,
    };
    let value = point.value.and_then(text_of).ok_or(PointFault::Value)?;
    series(&point.metric, timestamp, &value, &tags)
}

/// A text, or a number as it is written.
fn text_of(json: &RawValue) -> Option<String> {
    match json.get().as_bytes().first()? {
        b'"' => serde_json::from_str(json.get()).ok(),
        b'-' | b'0'..=b'9' => Some(json.get().to_owned()),
        _ => None,
    }
}

fn series(
    metric: &str,
    timestamp: Timestamp,
    value: &str,
    tags: &Tags<'_>,
) -> Result<Series, PointFault> {
    if metric.is_empty() {
        return Err(PointFault::NoMetric);
    }
    let value = value.parse().map_err(|_| PointFault::Value)?;
    Ok(Series { labels: tags.labels(metric), samples: vec![Sample { timestamp, value }] })
}

fn read_timestamp(text: &str, now: Timestamp) -> Result<Timestamp, PointFault> {
    let number: f64 =
        text.parse().ok().filter(|n: &f64| n.is_finite()).ok_or(PointFault::Timestamp)?;
    Ok(match number {
        0.0 => now,
        millis if millis.abs() >= MILLIS_FROM => Timestamp(millis as i64),
        seconds => Timestamp::from_seconds_f64(seconds),
    })
}

/// What is answered when the client asks for a `summary` or for `details`.
#[derive(Debug, Serialize)]
pub struct Summary<'a> {
    /// Points stored.
    pub success: usize,
    /// Points refused.
    pub failed: usize,
    /// The refused points, only with `details`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors: Option<Vec<PointError<'a>>>,
}

/// A refused point.
#[derive(Debug, Serialize)]
pub struct PointError<'a> {
    /// As it was sent; `null` when only its series is known.
    pub datapoint: Option<&'a RawValue>,
    /// Why.
    pub error: String,
}

/// What is answered to points of which some were refused, when the client asks for nothing more.
#[derive(Debug, Serialize)]
pub struct ErrorReply {
    error: ErrorBody,
}

#[derive(Debug, Serialize)]
struct ErrorBody {
    code: u16,
    message: String,
}

impl ErrorReply {
    /// With the status of the answer and a sentence.
    pub fn new(code: u16, message: String) -> Self {
        Self { error: ErrorBody { code, message } }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_760_000_460);

    fn check_put(rest: &str, labels: &str, at: i64, value: f64) {
        let series = parse_put(rest, NOW).expect("the line is good");
        assert_eq!(series.labels.to_string(), labels, "{rest}");
        assert_eq!(series.samples, [Sample::new(at, value)], "{rest}");
    }

    fn check_json(point: &str, expected: Result<&str, PointFault>) {
        let body = format!("[{point},{{\"metric\":\"good\",\"value\":1,\"timestamp\":1}}]");
        let decoded = decode(body.as_bytes(), NOW, 10).expect("the list is whole");
        let faults: Vec<PointFault> = decoded.refused.iter().map(|(_, fault)| *fault).collect();
        match expected {
            Ok(series) => {
                let one = &decoded.series[0];
                let Sample { timestamp, value } = one.samples[0];
                assert_eq!(
                    format!("{} {value} {}", one.labels, timestamp.millis()),
                    series,
                    "{point}"
                );
                assert_eq!(faults, [], "{point}");
            }
            Err(fault) => assert_eq!((faults, decoded.series.len()), (vec![fault], 1), "{point}"),
        }
    }

    #[test]
    fn lines_take_seconds_milliseconds_and_fractions() {
        check_put(
            "sys.cpu 1760000400 42.5 host=a cpu=0",
            "sys_cpu{cpu=\"0\", host=\"a\"}",
            1_760_000_400_000,
            42.5,
        );
        check_put("m 1760000400123 1", "m", 1_760_000_400_123, 1.0);
        check_put("m 1760000400.5 1", "m", 1_760_000_400_500, 1.0);
        check_put("m 0 1", "m", NOW.millis(), 1.0);
    }

    #[test]
    fn bad_lines_have_a_reason() {
        for (rest, fault) in [
            ("", PointFault::Words),
            ("m 1", PointFault::Words),
            ("m 1 2 host", PointFault::Words),
            ("m 1 2 =a", PointFault::Words),
            ("m now 2", PointFault::Timestamp),
            ("m 1 x", PointFault::Value),
            ("m 1 2 a-b=1 a.b=2", PointFault::TagCollision),
        ] {
            assert_eq!(parse_put(rest, NOW), Err(fault), "{rest}");
        }
    }

    #[test]
    fn points_are_read_as_clients_write_them() {
        check_json(
            r#"{"metric":"sys.cpu","timestamp":1760000400,"value":"18","tags":{"host":"a","dc":5}}"#,
            Ok("sys_cpu{dc=\"5\", host=\"a\"} 18 1760000400000"),
        );
        check_json(
            r#"{"metric":"m","timestamp":"1760000400123","value":-1e3,"more":[]}"#,
            Ok("m -1000 1760000400123"),
        );
        check_json(r#"{"metric":"m","value":1}"#, Ok("m 1 1760000460000"));
    }

    #[test]
    fn bad_points_have_a_reason() {
        check_json("7", Err(PointFault::NotAPoint));
        check_json(r#"["m",1,2,{}]"#, Err(PointFault::NotAPoint));
        check_json(r#"{"metric":5,"value":1}"#, Err(PointFault::NotAPoint));
        check_json(r#"{"metric":"m","value":1,"tags":{"a":[]}}"#, Err(PointFault::NotAPoint));
        check_json(r#"{"value":1}"#, Err(PointFault::NoMetric));
        check_json(r#"{"metric":"m"}"#, Err(PointFault::Value));
        check_json(r#"{"metric":"m","value":null}"#, Err(PointFault::Value));
        check_json(r#"{"metric":"m","value":1,"timestamp":true}"#, Err(PointFault::Timestamp));
        check_json(
            r#"{"metric":"m","value":1,"tags":{"a-b":"1","a.b":"2"}}"#,
            Err(PointFault::TagCollision),
        );
    }

    #[test]
    fn one_point_needs_no_list_and_lists_are_bounded() {
        let one = decode(b" {\"metric\":\"m\",\"value\":1}", NOW, 1).expect("it is a point");
        assert_eq!(one.series.len(), 1);
        assert!(matches!(decode(b"[1,2]", NOW, 1), Err(DecodeError::TooManyPoints { max: 1 })));
        assert!(matches!(decode(b"[1", NOW, 1), Err(DecodeError::NotJson(_))));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, text in "[\\[\\]{}\":,a0.metricvalu ]{0,60}") {
            let _ = decode(&bytes, NOW, 100);
            let _ = decode(text.as_bytes(), NOW, 100);
            let _ = parse_put(&text, NOW);
        }

        #[test]
        fn a_written_point_reads_back(
            metric in "[a-z.]{1,9}", tag in "[a-z-]{1,6}", text in ".{1,9}", value: f64,
        ) {
            let value = if value.is_finite() { value } else { 0.5 };
            let point = serde_json::json!({ "metric": metric, "value": value, "tags": { &tag: text } });
            let body = point.to_string();
            let decoded = decode(body.as_bytes(), NOW, 1).expect("it is a point");
            let series = &decoded.series[0];
            prop_assert_eq!(series.labels.get(&crate::tags::label_name(&tag)), Some(text.as_str()));
            prop_assert_eq!(series.samples[0].value.to_bits(), value.to_bits());
        }
    }
}
