//! The Prometheus HTTP API: envelope, error types, parameters, and results written straight into a
//! text, since a matrix can have millions of values.

use std::fmt::Write;

use model::{Labels, Metadata, Sample, Series, Timestamp};
use serde::Serialize;

use crate::json_text::{put_labels, put_list, put_string};

/// At most this many warnings, and this many infos, are in an answer.
pub const NOTES_MAX: usize = 10;

/// Below this, every whole number is a value of its own, and all its digits are needed.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// The kinds of errors that the API tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A parameter is missing or wrong, or the query does not parse.
    BadData,
    /// The query failed while it ran.
    Execution,
    /// The client went away.
    Canceled,
    /// The query took too long, or found no free place.
    Timeout,
    /// The store failed.
    Internal,
    /// Not available now.
    Unavailable,
    /// There is no such thing.
    NotFound,
    /// No acceptable form of answer.
    NotAcceptable,
}

impl ErrorKind {
    /// The word in `errorType`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadData => "bad_data",
            Self::Execution => "execution",
            Self::Canceled => "canceled",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
            Self::NotFound => "not_found",
            Self::NotAcceptable => "not_acceptable",
        }
    }

    /// The status that goes with it. 499 is not a registered one; Prometheus uses it, and nobody is
    /// there to read it.
    pub const fn http_status(self) -> u16 {
        match self {
            Self::BadData => 400,
            Self::Execution => 422,
            Self::Canceled => 499,
            Self::Timeout => 503,
            Self::Internal | Self::Unavailable => 500,
            Self::NotFound => 404,
            Self::NotAcceptable => 406,
        }
    }
}

/// What is said beside a result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// The result may be wrong or incomplete.
    pub warnings: Vec<String>,
    /// The query could be better.
    pub infos: Vec<String>,
}

/// A successful answer; `put_data` writes the JSON of `data`.
pub fn success(put_data: impl FnOnce(&mut String), notes: &Notes) -> String {
    let mut out = String::from("{\"status\":\"success\",\"data\":");
    put_data(&mut out);
    for (key, texts) in [("warnings", &notes.warnings), ("infos", &notes.infos)] {
        if !texts.is_empty() {
            let _ = write!(out, ",\"{key}\":");
            put_texts(&mut out, texts.iter().take(NOTES_MAX));
        }
    }
    out.push('}');
    out
}

/// An answer that says what went wrong.
pub fn error(kind: ErrorKind, message: &str) -> String {
    let mut out = format!("{{\"status\":\"error\",\"errorType\":\"{}\",\"error\":", kind.as_str());
    put_string(&mut out, message);
    out.push('}');
    out
}

/// Writes anything that has a JSON form, for small answers.
pub fn put_json<T: Serialize>(out: &mut String, value: &T) {
    let json = serde_json::to_string(value)
        .expect("the types of this API have text keys and no failing parts");
    out.push_str(&json);
}

/// Writes a list of texts.
pub fn put_texts<T: AsRef<str>>(out: &mut String, texts: impl IntoIterator<Item = T>) {
    put_list(out, texts, |out, text| put_string(out, text.as_ref()));
}

/// Writes the label sets of `/api/v1/series`.
pub fn put_label_sets<'a>(out: &mut String, sets: impl IntoIterator<Item = &'a Labels>) {
    put_list(out, sets, put_labels);
}

/// Writes the result of `/api/v1/metadata`: every name with its list of one.
pub fn put_metadata<'a>(
    out: &mut String,
    metadata: impl IntoIterator<Item = (&'a str, &'a Metadata)>,
) {
    out.push('{');
    for (at, (name, about)) in metadata.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        put_string(out, name);
        let _ = write!(out, ":[{{\"type\":\"{}\",\"help\":", about.kind.as_str());
        put_string(out, &about.help);
        out.push_str(",\"unit\":");
        put_string(out, &about.unit);
        out.push_str("}]");
    }
    out.push('}');
}

/// Writes `{"resultType":"vector",…}`.
pub fn put_vector(out: &mut String, vector: &[(Labels, Sample)]) {
    put_result(out, "vector", |out| {
        put_list(out, vector, |out, (labels, sample)| {
            out.push_str("{\"metric\":");
            put_labels(out, labels);
            out.push_str(",\"value\":");
            put_sample(out, sample);
            out.push('}');
        });
    });
}

/// Writes `{"resultType":"matrix",…}`.
pub fn put_matrix(out: &mut String, matrix: &[Series]) {
    put_result(out, "matrix", |out| {
        put_list(out, matrix, |out, series| {
            out.push_str("{\"metric\":");
            put_labels(out, &series.labels);
            out.push_str(",\"values\":");
            put_list(out, &series.samples, put_sample);
            out.push('}');
        });
    });
}

/// Writes `{"resultType":"scalar",…}`. As in Prometheus, a scalar never has an exponent.
pub fn put_scalar(out: &mut String, sample: &Sample) {
    put_result(out, "scalar", |out| {
        out.push('[');
        put_timestamp(out, sample.timestamp);
        out.push_str(",\"");
        if sample.value.is_finite() {
            put_decimal(out, sample.value)
        } else {
            put_value(out, sample.value)
        }
        out.push_str("\"]");
    });
}

/// Writes `{"resultType":"string",…}`.
pub fn put_text_result(out: &mut String, timestamp: Timestamp, text: &str) {
    put_result(out, "string", |out| {
        out.push('[');
        put_timestamp(out, timestamp);
        out.push(',');
        put_string(out, text);
        out.push(']');
    });
}

fn put_result(out: &mut String, result_type: &str, put: impl FnOnce(&mut String)) {
    let _ = write!(out, "{{\"resultType\":\"{result_type}\",\"result\":");
    put(out);
    out.push('}');
}

fn put_sample(out: &mut String, sample: &Sample) {
    out.push('[');
    put_timestamp(out, sample.timestamp);
    out.push_str(",\"");
    put_value(out, sample.value);
    out.push_str("\"]");
}

/// Seconds with three decimals, or none when they would be zero.
fn put_timestamp(out: &mut String, at: Timestamp) {
    let millis = at.millis().unsigned_abs();
    if at.millis() < 0 {
        out.push('-');
    }
    let fraction = millis % 1000;
    out.push_str(itoa::Buffer::new().format(millis / 1000));
    if fraction > 0 {
        // A thousand more, for the zeros in front; its own digit becomes the point.
        let at = out.len();
        out.push_str(itoa::Buffer::new().format(1000 + fraction));
        out.replace_range(at..=at, ".");
    }
}

/// Appends a value as Prometheus writes it: the shortest text that reads back, with an exponent
/// below 1e-6 and from 1e21, `NaN`, `+Inf`, `-Inf`.
pub fn put_value(out: &mut String, value: f64) {
    let size = value.abs();
    match size {
        _ if value.is_nan() => out.push_str("NaN"),
        f64::INFINITY => out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" }),
        _ if size != 0.0 && !(1e-6..1e21).contains(&size) => out.push_str(&format_exponent(value)),
        _ => put_decimal(out, value),
    }
}

/// Appends a finite value without an exponent, the shortest text that reads back.
fn put_decimal(out: &mut String, value: f64) {
    if value == value.trunc()
        && value.abs() < WHOLE_MAX
        && (value != 0.0 || value.is_sign_positive())
    {
        out.push_str(itoa::Buffer::new().format(value as i64));
        return;
    }
    let from = out.len();
    let mut buffer = zmij::Buffer::new();
    let shortest = buffer.format_finite(value);
    if value != value.trunc() && !shortest.contains('e') {
        out.push_str(shortest);
    } else {
        let _ = write!(out, "{value}");
    }
    end_even(out, from, value);
}

/// Two shortest texts may be equally near, as for 12511696 / 2^20. Go takes the one that ends in an
/// even digit; what stands in `out` from `from` on need not.
fn end_even(out: &mut String, from: usize, value: f64) {
    if out.as_bytes().last().is_none_or(|digit| digit % 2 == 0) {
        return;
    }
    let digits = out[from..].split_once('.').map_or(0, |(_, fraction)| fraction.len());
    if digits == 0 || fraction_digits(value) != digits + 1 {
        return;
    }
    let exact = format!("{value:.*}", digits + 1);
    let lower = &exact[..exact.len() - 1];
    if lower.as_bytes().last().is_some_and(|digit| digit % 2 == 0) {
        out.truncate(from);
        out.push_str(lower);
    }
}

/// How many decimals the exact value of a number has: as many as it has binary ones.
fn fraction_digits(value: f64) -> usize {
    let bits = value.to_bits();
    let (exponent, stored) = ((bits >> 52 & 0x7ff) as i64, bits & ((1 << 52) - 1));
    let mantissa = if exponent == 0 { stored } else { stored | 1 << 52 };
    let shift = 1075 - exponent.max(1) - i64::from(mantissa.trailing_zeros());
    usize::try_from(shift).unwrap_or(0)
}

/// A value as Prometheus writes it.
pub fn format_value(value: f64) -> String {
    let mut out = String::new();
    put_value(&mut out, value);
    out
}

/// A value with an exponent of at least two digits, as the alerts of `/api/v1/alerts` have it:
/// `1e+00`.
pub fn format_exponent(value: f64) -> String {
    if !value.is_finite() {
        return format_value(value);
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
    format!("{digits}e{sign}{exponent:0>2}")
}

/// Reads a moment parameter: seconds since the epoch with a fraction, or RFC 3339. Rounded to
/// milliseconds.
pub fn parse_time(text: &str) -> Option<Timestamp> {
    match text.parse::<f64>() {
        Ok(seconds) => seconds.is_finite().then(|| Timestamp::from_seconds_f64(seconds)),
        Err(_) => Timestamp::parse_rfc3339(text),
    }
}

/// Reads a duration parameter: seconds with a fraction, or a Prometheus duration such as `1h30m`.
/// In milliseconds; may be zero or negative, which the caller refuses in its own words.
pub fn parse_duration_millis(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        // Prometheus counts nanoseconds in 64 bits; what does not fit there is refused here too.
        return (seconds.abs() <= i64::MAX as f64 / 1e9).then(|| (seconds * 1000.0).round() as i64);
    }
    let span = model::parse_duration(text).ok()?;
    i64::try_from(span.as_millis()).ok()
}

/// Reads a label name from a path: `U__` marks one where `_HEX_` stands for a character and `__`
/// for `_`. A text without the mark, or with a broken escape, is taken as it is.
pub fn unescape_label_name(text: &str) -> String {
    let read = |mut rest: &str| -> Option<String> {
        let mut out = String::new();
        while let Some(at) = rest.find('_') {
            out.push_str(&rest[..at]);
            let (code, after) = rest[at + 1..].split_once('_')?;
            out.push(match code {
                "" => '_',
                _ if code.len() <= 6 && !code.starts_with('+') => {
                    u32::from_str_radix(code, 16).ok().and_then(char::from_u32)?
                }
                _ => return None,
            });
            rest = after;
        }
        out.push_str(rest);
        Some(out)
    };
    text.strip_prefix("U__").and_then(read).unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use model::MetricKind;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_written_like_prometheus_writes_them() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (97.53, "97.53"),
            (1_760_000_000.0, "1760000000"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e-6, "0.000001"),
            (9.99e-7, "9.99e-07"),
            (9_007_199_254_740_991.0, "9007199254740991"),
            (9_007_199_254_740_993.0, "9007199254740992"),
            (-42.0, "-42"),
            (1.0e-5, "0.00001"),
            (123_456_789.125_5, "123456789.1255"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (-1.5e300, "-1.5e+300"),
            (5e-324, "5e-324"),
            // Halfway between two texts of this length, taken from an answer of Prometheus.
            (12_511_696.0 / 1_048_576.0, "11.932083129882812"),
            (-12_511_696.0 / 1_048_576.0, "-11.932083129882812"),
            (0.5, "0.5"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(format_value(value), text);
        }
    }

    #[test]
    fn alert_values_always_have_an_exponent() {
        for (value, text) in [(0.0, "0e+00"), (1.0, "1e+00"), (123.4, "1.234e+02"), (0.05, "5e-02")]
        {
            assert_eq!(format_exponent(value), text);
        }
        assert_eq!(format_exponent(f64::INFINITY), "+Inf");
    }

    #[test]
    fn results_have_prometheus_shape() {
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "a\"b")]);
        let mut vector = String::new();
        put_vector(&mut vector, &[(labels.clone(), Sample::new(1_500, 1.0))]);
        assert_eq!(
            vector,
            r#"{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a\"b"},"value":[1.500,"1"]}]}"#
        );
        let mut matrix = String::new();
        let samples = vec![Sample::new(1_000, 1.0), Sample::new(2_007, f64::NAN)];
        put_matrix(&mut matrix, &[Series { labels: Labels::empty(), samples }]);
        assert_eq!(
            matrix,
            r#"{"resultType":"matrix","result":[{"metric":{},"values":[[1,"1"],[2.007,"NaN"]]}]}"#
        );
        let mut scalar = String::new();
        put_scalar(&mut scalar, &Sample::new(-1_500, 2.0));
        assert_eq!(scalar, r#"{"resultType":"scalar","result":[-1.500,"2"]}"#);
        for (value, written) in
            [(1e-7, "0.0000001"), (1e21, "1000000000000000000000"), (f64::INFINITY, "+Inf")]
        {
            let mut scalar = String::new();
            put_scalar(&mut scalar, &Sample::new(0, value));
            assert_eq!(scalar, format!(r#"{{"resultType":"scalar","result":[0,"{written}"]}}"#));
        }
        let mut text = String::new();
        put_text_result(&mut text, Timestamp(0), "x");
        assert_eq!(text, r#"{"resultType":"string","result":[0,"x"]}"#);
        let mut empty = String::new();
        put_vector(&mut empty, &[]);
        assert_eq!(empty, r#"{"resultType":"vector","result":[]}"#);
    }

    #[test]
    fn the_envelope_says_success_or_what_went_wrong() {
        let notes = Notes { warnings: vec!["w".into(); 12], infos: vec![] };
        let answer: serde_json::Value =
            serde_json::from_str(&success(|out| put_texts(out, ["a"]), &notes))
                .expect("it is JSON");
        assert_eq!(
            (&answer["data"][0], answer["warnings"].as_array().map(Vec::len)),
            (&"a".into(), Some(10))
        );
        assert_eq!(answer.get("infos"), None);
        assert_eq!(
            error(ErrorKind::BadData, "a \"b\""),
            r#"{"status":"error","errorType":"bad_data","error":"a \"b\""}"#
        );
        assert_eq!(
            (ErrorKind::Execution.http_status(), ErrorKind::Timeout.http_status()),
            (422, 503)
        );
    }

    #[test]
    fn metadata_is_a_list_of_one_a_name() {
        let about = Metadata { kind: MetricKind::Gauge, help: "h".into(), unit: "s".into() };
        let mut out = String::new();
        put_metadata(&mut out, [("a", &about), ("b", &Metadata::default())]);
        let json: serde_json::Value = serde_json::from_str(&out).expect("it is JSON");
        assert_eq!(json["a"], serde_json::json!([{"type": "gauge", "help": "h", "unit": "s"}]));
        assert_eq!(json["b"][0]["type"], "unknown");
    }

    #[test]
    fn times_and_durations_are_read_in_both_forms() {
        assert_eq!(parse_time("1760000460.1234"), Some(Timestamp(1_760_000_460_123)));
        assert_eq!(parse_time("2025-10-09T09:01:00.123Z"), Some(Timestamp(1_760_000_460_123)));
        for text in ["", "NaN", "inf", "yesterday"] {
            assert_eq!(parse_time(text), None, "{text}");
        }
        assert_eq!(parse_duration_millis("1.5"), Some(1500));
        assert_eq!(parse_duration_millis("1m30s"), Some(90_000));
        assert_eq!(parse_duration_millis("-5"), Some(-5000));
        for text in ["", "NaN", "inf", "1e12", "5x"] {
            assert_eq!(parse_duration_millis(text), None, "{text}");
        }
    }

    #[test]
    fn escaped_label_names_are_read() {
        for (text, name) in [
            ("job", "job"),
            ("U__http_2e_status", "http.status"),
            ("U__a__b", "a_b"),
            ("U___6e29_", "温"),
            ("U__a_b", "U__a_b"),
            ("U__a_zz_", "U__a_zz_"),
            ("U__a_d800_", "U__a_d800_"),
        ] {
            assert_eq!(unescape_label_name(text), name);
        }
    }

    proptest! {
        #[test]
        fn a_value_is_as_short_as_the_standard_library_writes_it(bits: u64, numerator: i32, power in 0u32..40) {
            for value in [f64::from_bits(bits), f64::from(numerator) / (1u64 << power) as f64, f64::from(numerator) / 1e3] {
                let size = value.abs();
                if (1e-6..1e21).contains(&size) {
                    let (ours, text) = (format_value(value), value.to_string());
                    prop_assert_eq!(ours.len(), text.len(), "{} {}", ours, text);
                    prop_assert_eq!(ours.parse(), Ok(value));
                }
            }
        }

        #[test]
        fn a_timestamp_has_three_decimals_or_none(millis in any::<i64>()) {
            let mut out = String::new();
            put_timestamp(&mut out, Timestamp(millis));
            let (sign, size) = (if millis < 0 { "-" } else { "" }, millis.unsigned_abs());
            let whole = format!("{sign}{}", size / 1000);
            prop_assert_eq!(out, if size.is_multiple_of(1000) { whole } else { format!("{whole}.{:03}", size % 1000) });
        }

        #[test]
        fn every_value_reads_back(value: f64) {
            let text = format_value(value);
            let read: f64 = text.parse().expect("it is a number");
            prop_assert!(read.to_bits() == value.to_bits() || (read.is_nan() && value.is_nan()), "{}", text);
        }

        #[test]
        fn a_text_halfway_between_two_ends_in_an_even_digit(numerator in 1u64 << 47..1 << 53, power in 1u32..53) {
            let value = numerator as f64 / (1u64 << power) as f64;
            let text = format_value(value);
            prop_assert_eq!(text.parse(), Ok(value));
            let digits = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
            let exact = format!("{value:.70}");
            let rest = exact.split_once('.').map_or("", |(_, fraction)| &fraction[digits..]);
            if digits > 0 && rest.trim_end_matches('0') == "5" {
                prop_assert!("02468".contains(&text[text.len() - 1..]), "{}", text);
            }
        }

        #[test]
        fn no_parameter_makes_a_parser_panic(text in ".{0,30}", escaped in "U__[0-9a-f_é]{0,20}") {
            let _ = (parse_time(&text), parse_duration_millis(&text));
            let _ = (unescape_label_name(&text), unescape_label_name(&escaped));
        }
    }
}
