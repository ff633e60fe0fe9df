//! Moments and spans in words.

use std::time::Duration;

use jiff::tz::TimeZone;
use model::Timestamp;

use crate::page::words::Words;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A span in words, two units at most: `3 min`, `2 h 5 min`, `4 d 1 h`.
pub fn span_words(span: Duration, words: Words) -> String {
    let seconds = span.as_secs();
    let two = |key, big: u64, small: u64| {
        let (n, rest) = ((seconds / big).to_string(), (seconds % big / small).to_string());
        match key {
            // Nobody needs to read the nothing of 6 h 0 min.
            "h" if rest == "0" => words.fill("time.hours.whole", &[("n", &n)]),
            "d" if rest == "0" => words.fill("time.days.whole", &[("n", &n)]),
            "h" => words.fill("time.hours", &[("n", &n), ("m", &rest)]),
            _ => words.fill("time.days", &[("n", &n), ("h", &rest)]),
        }
    };
    match seconds {
        0..MINUTE => words.fill("time.seconds", &[("n", &seconds.to_string())]),
        MINUTE..HOUR => words.fill("time.minutes", &[("n", &(seconds / MINUTE).to_string())]),
        HOUR..DAY => two("h", HOUR, MINUTE),
        _ => two("d", DAY, HOUR),
    }
}

/// How long ago a moment is, in words.
pub fn ago(moment: Timestamp, now: Timestamp, words: Words) -> String {
    words.fill("time.ago", &[("span", &span_words(now.since(moment), words))])
}

/// How far ahead a moment is, in words.
pub fn ahead(moment: Timestamp, now: Timestamp, words: Words) -> String {
    words.fill("time.ahead", &[("span", &span_words(moment.since(now), words))])
}

/// `2026-01-02 15:04:05 +08:00`. A moment that no calendar holds is written as RFC 3339 of the nearest that
/// does.
pub fn absolute(moment: Timestamp, zone: &TimeZone) -> String {
    match jiff::Timestamp::from_millisecond(moment.millis()) {
        Ok(moment) => moment.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string(),
        Err(_) => moment.rfc3339(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::words::Language;
    use crate::page::words::tests::shared;

    fn check(seconds: u64, english: &str, chinese: &str) {
        let span = Duration::from_secs(seconds);
        assert_eq!(span_words(span, shared(Language::English)), english);
        assert_eq!(span_words(span, shared(Language::Chinese)), chinese);
    }

    #[test]
    fn a_span_has_two_units_at_most() {
        check(0, "0 s", "0 秒");
        check(59, "59 s", "59 秒");
        check(60, "1 min", "1 分钟");
        check(6 * 3_600, "6 h", "6 小时");
        check(3 * 86_400 + 59, "3 d", "3 天");
        check(3_600 + 300, "1 h 5 min", "1 小时 5 分");
        check(4 * 86_400 + 3_700, "4 d 1 h", "4 天 1 小时");
    }

    #[test]
    fn a_moment_is_written_in_the_zone_with_its_offset() {
        let zone = TimeZone::get("Asia/Shanghai").unwrap();
        assert_eq!(absolute(Timestamp(1_760_000_460_000), &zone), "2025-10-09 17:01:00 +08:00");
    }

    #[test]
    fn no_moment_makes_the_page_fail() {
        for moment in [Timestamp::MIN, Timestamp::MAX] {
            assert!(!absolute(moment, &TimeZone::UTC).is_empty());
        }
    }
}
