//! Times of the day, week, month and year at which receivers are or are not told. Pure.
//!
//! The syntax and its meaning are Alertmanager's: within one [`Interval`] all fields must hold, and of each field
//! any of its ranges; of several intervals under one name any. Without a location UTC counts.

use jiff::tz::TimeZone;
use model::Timestamp;

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: [&str; 7] =
    ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const YEAR_MAX: i32 = 9999;

/// A range of whole numbers, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    from: i32,
    to: i32,
}

impl Range {
    fn holds(self, number: i32) -> bool {
        self.from <= number && number <= self.to
    }
}

/// When something holds; an empty field does not narrow.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Interval {
    /// Minutes of the day, the last one excluded from `to`.
    pub(crate) times: Vec<Range>,
    /// 0 is Sunday.
    pub(crate) weekdays: Vec<Range>,
    /// Negative ones count from the end of the month.
    pub(crate) days_of_month: Vec<Range>,
    /// 1 is January.
    pub(crate) months: Vec<Range>,
    /// Years of our calendar.
    pub(crate) years: Vec<Range>,
    /// Where the clock hangs that the fields are read from.
    pub(crate) zone: TimeZone,
}

impl Interval {
    /// Whether this moment lies in it.
    pub(crate) fn holds(&self, at: Timestamp) -> bool {
        // Beyond what a calendar can say nothing lies in any interval.
        let Ok(instant) = jiff::Timestamp::from_millisecond(at.0) else { return false };
        let there = instant.to_zoned(self.zone.clone());
        let minute = i32::from(there.hour()) * 60 + i32::from(there.minute());
        let weekday = i32::from(there.weekday().to_sunday_zero_offset());
        let (day, days) = (i32::from(there.day()), i32::from(there.days_in_month()));
        let any = |ranges: &[Range], number| {
            ranges.is_empty() || ranges.iter().any(|range| range.holds(number))
        };
        any(&self.times, minute)
            && any(&self.weekdays, weekday)
            && any(&self.months, i32::from(there.month()))
            && any(&self.years, i32::from(there.year()))
            && (self.days_of_month.is_empty()
                || self.days_of_month.iter().any(|range| day_holds(*range, day, days)))
    }
}

fn day_holds(range: Range, day: i32, days_in_month: i32) -> bool {
    let counted = |number: i32| if number < 0 { days_in_month + number + 1 } else { number };
    counted(range.from) <= day && day <= counted(range.to).min(days_in_month)
}

/// Reads `09:00` and `17:30` as a range of minutes; the end may be `24:00`.
pub(crate) fn time_range(start: &str, end: &str) -> Result<Range, String> {
    let (from, to) = (minute_of_day(start)?, minute_of_day(end)?);
    if from >= to {
        return Err(format!("start_time {start:?} is not before end_time {end:?}"));
    }
    Ok(Range { from, to: to - 1 })
}

fn minute_of_day(text: &str) -> Result<i32, String> {
    let fault = || format!("{text:?} is not a time of the day: write it as in 09:30, up to 24:00");
    let (hours, minutes) = text.split_once(':').ok_or_else(fault)?;
    let is_number = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
    if !is_number(hours) || !is_number(minutes) {
        return Err(fault());
    }
    let (hours, minutes): (i32, i32) =
        (hours.parse().map_err(|_| fault())?, minutes.parse().map_err(|_| fault())?);
    let minute = hours * 60 + minutes;
    if minutes > 59 || minute > 24 * 60 { Err(fault()) } else { Ok(minute) }
}

/// Reads `monday` or `monday:friday`.
pub(crate) fn weekdays(text: &str) -> Result<Range, String> {
    range(text, "a weekday such as monday or monday:friday", |part| position(&WEEKDAYS, part, 0))
}

/// Reads `january`, `1` or `january:march`.
pub(crate) fn months(text: &str) -> Result<Range, String> {
    range(text, "a month such as january, 1 or 1:3", |part| {
        position(&MONTHS, part, 1)
            .or_else(|| part.parse().ok().filter(|month| (1..=12).contains(month)))
    })
}

/// Reads `2026` or `2026:2028`.
pub(crate) fn years(text: &str) -> Result<Range, String> {
    range(text, "a year such as 2026 or 2026:2028", |part| {
        part.parse().ok().filter(|year| (0..=YEAR_MAX).contains(year))
    })
}

/// Reads `1`, `1:7`, `-3:-1` or `20:-1`.
pub(crate) fn days_of_month(text: &str) -> Result<Range, String> {
    let what = "a day of the month such as 1, 1:7 or -3:-1";
    let (from, to) = ends(text);
    let day = |part: &str| part.parse::<i32>().ok().filter(|day| (1..=31).contains(&day.abs()));
    let fault = || format!("{text:?} is not {what}");
    let range = Range { from: day(from).ok_or_else(fault)?, to: day(to).ok_or_else(fault)? };
    if range.from < 0 && range.to > 0 {
        return Err(format!(
            "{text:?} ends at a day from the start of the month: give both the same sign"
        ));
    }
    // 20:-1 is in order in every month that has 20 days.
    let is_ordered = range.from.signum() != range.to.signum() || range.from <= range.to;
    // Even in the longest month: 31:-5 never holds.
    let is_possible = range.to > 0 || range.from < 0 || range.from <= 31 + range.to + 1;
    if is_ordered && is_possible { Ok(range) } else { Err(backwards(text)) }
}

/// Reads an IANA name; empty means UTC.
pub(crate) fn location(text: &str) -> Result<TimeZone, String> {
    match text {
        "" | "UTC" => Ok(TimeZone::UTC),
        "Local" => Ok(TimeZone::system()),
        name => TimeZone::get(name).map_err(|_| {
            format!("{name:?} is not a time zone of this system; write an IANA name such as Asia/Shanghai")
        }),
    }
}

fn range(text: &str, what: &str, read: impl Fn(&str) -> Option<i32>) -> Result<Range, String> {
    let (from, to) = ends(text);
    let fault = || format!("{text:?} is not {what}");
    let range = Range { from: read(from).ok_or_else(fault)?, to: read(to).ok_or_else(fault)? };
    if range.from <= range.to { Ok(range) } else { Err(backwards(text)) }
}

fn ends(text: &str) -> (&str, &str) {
    let (from, to) = text.split_once(':').unwrap_or((text, text));
    (from.trim(), to.trim())
}

fn backwards(text: &str) -> String {
    format!("{text:?} ends before it begins")
}

fn position(words: &[&str], word: &str, first: i32) -> Option<i32> {
    let at = words.iter().position(|known| known.eq_ignore_ascii_case(word))?;
    i32::try_from(at).ok().map(|at| at + first)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn always() -> Interval {
        Interval {
            times: Vec::new(),
            weekdays: Vec::new(),
            days_of_month: Vec::new(),
            months: Vec::new(),
            years: Vec::new(),
            zone: TimeZone::UTC,
        }
    }

    pub(crate) fn at(text: &str) -> Timestamp {
        let instant: jiff::Timestamp = text.parse().unwrap();
        Timestamp(instant.as_millisecond())
    }

    fn check(interval: &Interval, moments: &[(&str, bool)]) {
        for (moment, expected) in moments {
            assert_eq!(interval.holds(at(moment)), *expected, "{moment}");
        }
    }

    #[test]
    fn a_time_of_the_day_holds_from_its_start_up_to_its_end() {
        let office = Interval { times: vec![time_range("09:00", "17:00").unwrap()], ..always() };
        check(
            &office,
            &[
                ("2026-11-22T08:59:59Z", false),
                ("2026-11-22T09:00:00Z", true),
                ("2026-11-22T16:59:59Z", true),
                ("2026-11-22T17:00:00Z", false),
            ],
        );
        let evening = Interval { times: vec![time_range("20:00", "24:00").unwrap()], ..always() };
        check(&evening, &[("2026-11-22T23:59:59Z", true), ("2026-11-23T00:00:00Z", false)]);
    }

    #[test]
    fn all_fields_must_hold_and_of_each_any_range() {
        let interval = Interval {
            weekdays: vec![weekdays("monday:friday").unwrap()],
            months: vec![months("march").unwrap(), months("11:12").unwrap()],
            years: vec![years("2026").unwrap()],
            ..always()
        };
        // 2026-11-22 is a Sunday.
        check(
            &interval,
            &[
                ("2026-11-22T12:00:00Z", false),
                ("2026-11-23T12:00:00Z", true),
                ("2026-03-02T12:00:00Z", true),
                ("2026-10-05T12:00:00Z", false),
                ("2027-11-22T12:00:00Z", false),
            ],
        );
    }

    #[test]
    fn days_count_from_either_end_of_the_month() {
        let last_three =
            Interval { days_of_month: vec![days_of_month("-3:-1").unwrap()], ..always() };
        check(
            &last_three,
            &[
                ("2026-02-25T12:00:00Z", false),
                ("2026-02-26T12:00:00Z", true),
                ("2026-02-28T12:00:00Z", true),
                ("2028-02-26T12:00:00Z", false),
                ("2028-02-29T12:00:00Z", true),
            ],
        );
        let long = Interval { days_of_month: vec![days_of_month("31").unwrap()], ..always() };
        check(&long, &[("2026-04-30T12:00:00Z", false), ("2026-05-31T12:00:00Z", true)]);
        let rest = Interval { days_of_month: vec![days_of_month("20:-1").unwrap()], ..always() };
        check(&rest, &[("2026-02-19T12:00:00Z", false), ("2026-02-28T12:00:00Z", true)]);
    }

    #[test]
    fn the_last_days_of_a_month_with_a_change_of_the_clocks_are_found() {
        let last = Interval {
            days_of_month: vec![days_of_month("-1").unwrap()],
            zone: TimeZone::get("Europe/Berlin").unwrap(),
            ..always()
        };
        // Clocks go forward on 2026-03-29 and back on 2026-10-25.
        check(
            &last,
            &[
                ("2026-03-30T21:59:59Z", false),
                ("2026-03-30T22:00:00Z", true),
                ("2026-03-31T21:59:59Z", true),
                ("2026-03-31T22:00:00Z", false),
                ("2026-10-30T22:59:59Z", false),
                ("2026-10-30T23:00:00Z", true),
            ],
        );
    }

    #[test]
    fn a_location_moves_the_day() {
        let sunday = Interval {
            weekdays: vec![weekdays("sunday").unwrap()],
            zone: location("Asia/Shanghai").unwrap(),
            ..always()
        };
        check(&sunday, &[("2026-11-21T16:00:00Z", true), ("2026-11-22T16:00:00Z", false)]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (start, end) in
            [("17:00", "09:00"), ("9:00", "10:00"), ("09:60", "10:00"), ("23:00", "24:01")]
        {
            assert!(time_range(start, end).is_err(), "{start} {end}");
        }
        assert!(weekdays("friday:monday").is_err() && weekdays("someday").is_err());
        assert!(months("13").is_err() && months("march:january").is_err());
        for text in ["0", "32", "-1:1", "7:1", "-1:-3", "31:-5", "x"] {
            assert!(days_of_month(text).is_err(), "{text}");
        }
        assert!(years("2028:2026").is_err());
        assert!(location("Mars/Olympus").is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_readers_panic(text in "[0-9a-z:-]{0,12}") {
            let _ = (time_range(&text, &text), weekdays(&text), months(&text));
            let _ = (years(&text), days_of_month(&text), location(&text));
        }

        #[test]
        fn every_moment_lies_in_the_interval_without_fields(at in any::<i64>()) {
            let is_a_date = jiff::Timestamp::from_millisecond(at).is_ok();
            prop_assert_eq!(always().holds(Timestamp(at)), is_a_date);
        }
    }
}
