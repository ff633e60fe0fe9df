//! Points in time, in milliseconds since the Unix epoch.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in time: milliseconds since 1970-01-01T00:00:00Z. May be negative.
///
/// Milliseconds are the resolution of Prometheus' data model; arithmetic saturates, so a hostile timestamp can
/// never overflow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The earliest timestamp there is.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest timestamp there is.
    pub const MAX: Self = Self(i64::MAX);

    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// From whole seconds since the epoch.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// From seconds with a fraction, rounded to the millisecond; out of range values are clamped.
    pub fn from_seconds_f64(seconds: f64) -> Self {
        Self((seconds * 1000.0).round() as i64)
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Seconds since the epoch, rounded towards minus infinity.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Seconds since the epoch with the fraction.
    pub fn seconds_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// This moment plus `span`.
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }

    /// This moment minus `span`.
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis(span)))
    }

    /// Time passed from `earlier` until this moment; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The latest multiple of `step` that is not after this moment: the slot that the moment falls in.
    /// A zero step leaves the moment as it is.
    pub fn slot(self, step: Duration) -> Self {
        let step = millis(step);
        if step == 0 { self } else { Self(self.0.saturating_sub(self.0.rem_euclid(step))) }
    }

    /// RFC 3339 in UTC with milliseconds: `2026-01-02T15:04:05.000Z`, the form of the Alertmanager API.
    pub fn rfc3339(self) -> String {
        let (days, of_day) = (self.0.div_euclid(86_400_000), self.0.rem_euclid(86_400_000));
        let (year, month, day) = civil_from_days(days);
        let (seconds, millis) = (of_day / 1000, of_day % 1000);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }

    /// Reads RFC 3339, with any offset and any number of fraction digits (cut to milliseconds).
    /// `None` when the text is not a valid moment.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let number = |from: usize, to: usize| -> Option<i64> {
            let digits = bytes.get(from..to)?;
            digits
                .iter()
                .all(u8::is_ascii_digit)
                .then(|| digits.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0')))
        };
        let is = |at: usize, any_of: &[u8]| bytes.get(at).is_some_and(|b| any_of.contains(b));
        if !(is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":")) {
            return None;
        }
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        let in_range = (1..=12).contains(&month) && day >= 1 && day <= days_of_month(year, month);
        if !in_range || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let mut at = 19;
        let mut millis = 0;
        if is(at, b".") {
            let digits = bytes[at + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
            if digits == 0 {
                return None;
            }
            millis = (0..3).fold(0, |n, i| {
                n * 10 + if i < digits { i64::from(bytes[at + 1 + i] - b'0') } else { 0 }
            });
            at += 1 + digits;
        }
        let offset_minutes = match bytes.get(at)? {
            b'Z' | b'z' if bytes.len() == at + 1 => 0,
            sign @ (b'+' | b'-') if bytes.len() == at + 6 && is(at + 3, b":") => {
                let minutes = number(at + 1, at + 3)? * 60 + number(at + 4, at + 6)?;
                if *sign == b'-' { -minutes } else { minutes }
            }
            _ => return None,
        };
        let seconds =
            days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
        Some(Self((seconds - offset_minutes * 60) * 1000 + millis))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

/// Seconds with three decimals, as the Prometheus HTTP API writes a moment.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.seconds_f64())
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

// Both conversions count years from March, so that the leap day is the last of its year
// (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_known_moment_is_written_and_read_as_rfc3339() {
        let moment = Timestamp(1_760_000_460_123);
        assert_eq!(moment.rfc3339(), "2025-10-09T09:01:00.123Z");
        assert_eq!(Timestamp::parse_rfc3339("2025-10-09T09:01:00.123Z"), Some(moment));
        assert_eq!(Timestamp::parse_rfc3339("2025-10-09T17:01:00.1239999+08:00"), Some(moment));
        assert_eq!(
            Timestamp::parse_rfc3339("0001-01-01T00:00:00Z"),
            Some(Timestamp(-62_135_596_800_000))
        );
    }

    #[test]
    fn malformed_moments_are_refused() {
        for text in [
            "",
            "2025-10-09",
            "2025-13-09T09:01:00Z",
            "2025-02-30T00:00:00Z",
            "2025-10-09T09:01:00",
            "2025-10-09T09:01:00.Z",
            "2025-10-09T09:01:00+0800",
            "2025-10-09T09:01:00Zx",
            "２０２５-10-09T09:01:00Z",
        ] {
            assert_eq!(Timestamp::parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn a_slot_is_the_last_multiple_of_the_step() {
        assert_eq!(Timestamp(29_999).slot(Duration::from_secs(10)), Timestamp(20_000));
        assert_eq!(Timestamp(30_000).slot(Duration::from_secs(10)), Timestamp(30_000));
        assert_eq!(Timestamp(-1).slot(Duration::from_secs(10)), Timestamp(-10_000));
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Timestamp::MAX.plus(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp(5).since(Timestamp(9)), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn every_moment_of_four_digit_years_survives_a_round_trip(millis in -62_135_596_800_000i64..253_402_300_800_000) {
            prop_assert_eq!(Timestamp::parse_rfc3339(&Timestamp(millis).rfc3339()), Some(Timestamp(millis)));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,40}") {
            let _ = Timestamp::parse_rfc3339(&text);
        }
    }
}
