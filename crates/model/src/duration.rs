//! Durations as Prometheus writes them: `1h30m`, `250ms`, `1w`.

use std::time::Duration;

use thiserror::Error;

const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{text:?} is not a duration: write numbers with units from y to ms in falling order, as in 1h30m or 250ms"
)]
pub struct DurationError {
    text: String,
}

/// Reads a Prometheus duration: `0`, or numbers with the units y, w, d, h, m, s, ms in falling order, each at most
/// once. A year has 365 days. Spans beyond 292 years are refused, as Prometheus refuses them.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let fault = || DurationError { text: text.chars().take(64).collect() };
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut millis: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().map_err(|_| fault())?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_lowercase).count();
        let (_, factor) = units.find(|(unit, _)| *unit == &rest[..letters]).ok_or_else(fault)?;
        rest = &rest[letters..];
        millis = number
            .checked_mul(*factor)
            .and_then(|part| millis.checked_add(part))
            .ok_or_else(fault)?;
    }
    if text.is_empty() || millis > i64::MAX as u64 / 1_000_000 {
        return Err(fault());
    }
    Ok(Duration::from_millis(millis))
}

/// Writes a duration as Prometheus does: whole weeks, days or years only when they divide evenly, `0s` for zero.
/// What is below a millisecond is dropped.
pub fn format_duration(span: Duration) -> String {
    let mut millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, factor) in UNITS {
        let exact_only = matches!(unit, "y" | "w" | "d");
        if millis == 0 || (exact_only && !millis.is_multiple_of(factor)) {
            continue;
        }
        let count = millis / factor;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
            millis -= count * factor;
        }
    }
    text
}

/// Serde adapter for a config field that is a duration as text: `#[serde(with = "model::duration_text")]`.
pub mod duration_text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes the duration as text.
    pub fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format_duration(*span))
    }

    /// Reads the duration from text.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse_duration(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_add_up() {
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("1y2w3d4h5m6s7ms"), Ok(Duration::from_millis(33_019_506_007)));
        assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
    }

    #[test]
    fn what_prometheus_refuses_is_refused() {
        for text in [
            "",
            "1",
            "m",
            "1m1h",
            "1m1m",
            "-1m",
            "1.5h",
            "5 m",
            "1mm",
            "293y",
            "99999999999999999999s",
            "1分",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_duration_is_written_like_prometheus_writes_it() {
        for (millis, text) in [
            (0, "0s"),
            (90_000, "1m30s"),
            (604_800_000, "1w"),
            (608_400_000, "169h"),
            (1500, "1s500ms"),
        ] {
            assert_eq!(format_duration(Duration::from_millis(millis)), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(millis in 0u64..9_000_000_000_000) {
            let span = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(span)), Ok(span));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,24}") {
            let _ = parse_duration(&text);
        }
    }
}
