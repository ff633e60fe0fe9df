//! Times and durations in templates, with the methods of Go that templates call. Pure.
//!
//! A time is kept as the text that Go prints for it, so that it can be printed and compared like one; the
//! methods read it back.

use std::time::Duration;

use gotmpl::Value;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use model::Timestamp;

use crate::humanize::humanize_timestamp;
use crate::template_scene::fault;

/// Seconds before and after the epoch that a time with a year of four digits can have.
const YEAR_1: f64 = 62_135_596_800.0;
const YEAR_9999: f64 = 253_402_300_799.0;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const METHODS: [&str; 19] = [
    "Format",
    "String",
    "UTC",
    "Unix",
    "UnixMilli",
    "UnixNano",
    "Year",
    "Month",
    "Day",
    "Hour",
    "Minute",
    "Second",
    "Weekday",
    "YearDay",
    "Seconds",
    "Minutes",
    "Hours",
    "Milliseconds",
    "Nanoseconds",
];
/// The pieces of Go's layouts, longer ones before those that they begin with.
const LAYOUT: [&str; 32] = [
    "January",
    "Jan",
    "Monday",
    "Mon",
    "MST",
    "2006",
    "Z07:00",
    "-07:00",
    "-0700",
    "Z0700",
    "-07",
    "002",
    "01",
    "02",
    "03",
    "04",
    "05",
    "06",
    "15",
    "PM",
    "pm",
    "_2",
    ".000000000",
    ".000000",
    ".000",
    ".999999999",
    ".999",
    "1",
    "2",
    "3",
    "4",
    "5",
];

/// Whether templates may call this on a time or a duration.
pub(crate) fn is_method(name: &str) -> bool {
    METHODS.contains(&name)
}

/// `toTime`: seconds since the epoch as a time.
pub(crate) fn to_time(seconds: f64) -> gotmpl::Result<Value> {
    if !(-YEAR_1..=YEAR_9999).contains(&seconds) {
        return Err(fault(format!("{seconds} is no time")));
    }
    Ok(text(humanize_timestamp(seconds)))
}

/// `toDuration`: seconds as a duration.
pub(crate) fn to_duration(seconds: f64) -> gotmpl::Result<Value> {
    // What Go keeps in 64 bits of nanoseconds.
    if !seconds.is_finite() || seconds.abs() > 9.2e9 {
        return Err(fault(format!("{seconds} s is no duration")));
    }
    Ok(text(write_duration(seconds)))
}

/// Calls a method on a time or duration. On a map it is the field of that name: a label may be called `Day`.
pub(crate) fn call(receiver: &Value, name: &str, args: &[Value]) -> gotmpl::Result<Value> {
    let read = match receiver {
        Value::Map(map) if args.is_empty() => {
            return Ok(map.get(name).cloned().unwrap_or(Value::Nil));
        }
        Value::Nil if args.is_empty() => return Ok(Value::Nil),
        Value::String(text) => text,
        other => return Err(unknown(name, other.type_name())),
    };
    if let Some(time) = read_time(read) {
        return of_time(time, read, name, args);
    }
    match read_duration(read) {
        Some(seconds) if args.is_empty() => of_duration(seconds, read, name),
        _ => Err(unknown(name, "string")),
    }
}

fn unknown(name: &str, kind: &str) -> gotmpl::TemplateError {
    fault(format!("can't evaluate field {name} in type {kind}"))
}

fn of_time(time: DateTime, written: &str, name: &str, args: &[Value]) -> gotmpl::Result<Value> {
    if let ("Format", [Value::String(layout)]) = (name, args) {
        return Ok(text(format(time, layout)));
    }
    if !args.is_empty() {
        return Err(fault(format!("wrong number of args for {name}")));
    }
    let zoned = time.to_zoned(TimeZone::UTC).map_err(|error| fault(error.to_string()))?;
    let since_epoch = zoned.timestamp();
    Ok(match name {
        "String" | "UTC" => text(written.to_owned()),
        "Unix" => Value::Int(since_epoch.as_second()),
        "UnixMilli" => Value::Int(since_epoch.as_millisecond()),
        "UnixNano" => Value::Int(i64::try_from(since_epoch.as_nanosecond()).unwrap_or(i64::MAX)),
        "Year" => Value::Int(time.year().into()),
        "Month" => text(month(time.date()).to_owned()),
        "Day" => Value::Int(time.day().into()),
        "Hour" => Value::Int(time.hour().into()),
        "Minute" => Value::Int(time.minute().into()),
        "Second" => Value::Int(time.second().into()),
        "Weekday" => text(weekday(time.date()).to_owned()),
        "YearDay" => Value::Int(time.day_of_year().into()),
        _ => return Err(unknown(name, "time.Time")),
    })
}

fn of_duration(seconds: f64, written: &str, name: &str) -> gotmpl::Result<Value> {
    Ok(match name {
        "String" => text(written.to_owned()),
        "Seconds" => Value::Float(seconds),
        "Minutes" => Value::Float(seconds / 60.0),
        "Hours" => Value::Float(seconds / 3600.0),
        "Milliseconds" => Value::Int((seconds * 1e3) as i64),
        "Nanoseconds" => Value::Int((seconds * 1e9) as i64),
        _ => return Err(unknown(name, "time.Duration")),
    })
}

/// Reads what [`humanize_timestamp`] wrote.
fn read_time(written: &str) -> Option<DateTime> {
    let stamp = written.strip_suffix(" +0000 UTC")?.replace(' ', "T");
    let moment = Timestamp::parse_rfc3339(&format!("{stamp}Z"))?;
    let moment = jiff::Timestamp::from_millisecond(moment.millis()).ok()?;
    Some(moment.to_zoned(TimeZone::UTC).datetime())
}

/// A duration as Go prints it: `1h2m3.5s`, `250ms`.
fn write_duration(seconds: f64) -> String {
    let sign = if seconds < 0.0 { "-" } else { "" };
    let span = Duration::try_from_secs_f64(seconds.abs()).unwrap_or_default();
    let whole = span.as_secs();
    let nanos = span.subsec_nanos();
    if whole == 0 {
        let (unit, per) = match nanos {
            0 => return "0s".to_owned(),
            1..1_000 => ("ns", 1),
            1_000..1_000_000 => ("µs", 1_000),
            _ => ("ms", 1_000_000),
        };
        return format!("{sign}{}{unit}", f64::from(nanos) / f64::from(per));
    }
    let rest = fraction(whole % 60, nanos);
    match (whole / 3600, whole / 60 % 60) {
        (0, 0) => format!("{sign}{rest}s"),
        (0, minutes) => format!("{sign}{minutes}m{rest}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{rest}s"),
    }
}

fn fraction(whole: u64, nanos: u32) -> String {
    if nanos == 0 {
        return whole.to_string();
    }
    format!("{whole}.{nanos:09}").trim_end_matches('0').to_owned()
}

/// Reads what [`write_duration`] wrote, in seconds.
fn read_duration(written: &str) -> Option<f64> {
    let (sign, mut rest) = written.strip_prefix('-').map_or((1.0, written), |rest| (-1.0, rest));
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let number: f64 = rest.get(..digits)?.parse().ok()?;
        rest = &rest[digits..];
        let units =
            [("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
        let (unit, per) = units.into_iter().find(|(unit, _)| rest.starts_with(unit))?;
        seconds += number * per;
        rest = &rest[unit.len()..];
    }
    (!written.is_empty()).then_some(sign * seconds)
}

/// A time in a layout of Go, where the moment `2006-01-02 15:04:05` stands for all others.
fn format(time: DateTime, layout: &str) -> String {
    let mut written = String::new();
    let mut rest = layout;
    while let Some(letter) = rest.chars().next() {
        if let Some(piece) = LAYOUT.into_iter().find(|piece| rest.starts_with(piece)) {
            written.push_str(&write_piece(time, piece));
            rest = &rest[piece.len()..];
        } else {
            written.push(letter);
            rest = &rest[letter.len_utf8()..];
        }
    }
    written
}

fn write_piece(time: DateTime, piece: &str) -> String {
    let hour = (time.hour() + 11) % 12 + 1;
    match piece {
        "January" => month(time.date()).to_owned(),
        "Jan" => month(time.date())[..3].to_owned(),
        "Monday" => weekday(time.date()).to_owned(),
        "Mon" => weekday(time.date())[..3].to_owned(),
        "MST" => "UTC".to_owned(),
        "2006" => format!("{:04}", time.year()),
        "06" => format!("{:02}", time.year().rem_euclid(100)),
        "01" => format!("{:02}", time.month()),
        "1" => time.month().to_string(),
        "002" => format!("{:03}", time.day_of_year()),
        "02" => format!("{:02}", time.day()),
        "_2" => format!("{:2}", time.day()),
        "2" => time.day().to_string(),
        "15" => format!("{:02}", time.hour()),
        "03" => format!("{hour:02}"),
        "3" => hour.to_string(),
        "04" => format!("{:02}", time.minute()),
        "4" => time.minute().to_string(),
        "05" => format!("{:02}", time.second()),
        "5" => time.second().to_string(),
        "PM" => if time.hour() < 12 { "AM" } else { "PM" }.to_owned(),
        "pm" => if time.hour() < 12 { "am" } else { "pm" }.to_owned(),
        "Z07:00" | "Z0700" => "Z".to_owned(),
        "-07:00" => "+00:00".to_owned(),
        "-0700" => "+0000".to_owned(),
        "-07" => "+00".to_owned(),
        zeros if zeros.starts_with(".0") => {
            format!(".{:09}", time.subsec_nanosecond())[..zeros.len()].to_owned()
        }
        nines => {
            let digits = format!(".{:09}", time.subsec_nanosecond())[..nines.len()].to_owned();
            digits.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
    }
}

fn month(date: Date) -> &'static str {
    MONTHS[usize::try_from(date.month() - 1).unwrap_or(0)]
}

fn weekday(date: Date) -> &'static str {
    DAYS[usize::try_from(date.weekday().to_monday_zero_offset()).unwrap_or(0)]
}

fn text(written: String) -> Value {
    Value::String(written.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time(seconds: f64) -> Value {
        to_time(seconds).expect("a time")
    }

    fn check(receiver: &Value, name: &str, args: &[&str], expected: &str) {
        let args: Vec<Value> = args.iter().map(|arg| text((*arg).to_owned())).collect();
        let found = call(receiver, name, &args).expect("it has this method");
        assert_eq!(found.to_string(), expected, "{receiver} {name} {args:?}");
    }

    #[test]
    fn a_time_is_written_in_layouts_of_go() {
        let time = time(1_427_397_845.25);
        check(&time, "Format", &["2006-01-02T15:04:05Z07:00"], "2015-03-26T19:24:05Z");
        check(&time, "Format", &["Mon Jan _2 3:04:05.000PM 2006"], "Thu Mar 26 7:24:05.250PM 2015");
        check(&time, "Format", &["Monday, 02-Jan-06 15:04 MST"], "Thursday, 26-Mar-15 19:24 UTC");
        check(&time, "Format", &["January 2 002 05.999 -0700"], "March 26 085 05.25 +0000");
    }

    #[test]
    fn a_time_has_parts() {
        let time = time(1_427_397_845.0);
        for (name, expected) in [
            ("Unix", "1427397845"),
            ("Year", "2015"),
            ("Month", "March"),
            ("Day", "26"),
            ("Hour", "19"),
            ("Weekday", "Thursday"),
            ("YearDay", "85"),
            ("UnixMilli", "1427397845000"),
            ("String", "2015-03-26 19:24:05 +0000 UTC"),
        ] {
            check(&time, name, &[], expected);
        }
    }

    #[test]
    fn a_duration_is_written_as_go_does_and_has_parts() {
        for (seconds, written) in [
            (0.0, "0s"),
            (5400.0, "1h30m0s"),
            (-90.5, "-1m30.5s"),
            (0.25, "250ms"),
            (3.0, "3s"),
            (0.000_001_5, "1.5µs"),
        ] {
            assert_eq!(to_duration(seconds).expect("a duration").to_string(), written);
        }
        let duration = to_duration(5400.0).expect("a duration");
        check(&duration, "Hours", &[], "1.5");
        check(&duration, "Seconds", &[], "5400");
    }

    #[test]
    fn what_is_neither_has_no_methods() {
        assert!(to_time(f64::NAN).is_err() && to_duration(f64::INFINITY).is_err());
        assert!(call(&text("web-1".to_owned()), "Year", &[]).is_err());
        assert!(call(&Value::Int(3), "Year", &[]).is_err());
        assert!(call(&time(0.0), "Hours", &[]).is_err());
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(seconds in any::<f64>(), layout in ".{0,30}", word in "[0-9a-zµ.-]{0,12}") {
            if let Ok(time) = to_time(seconds) {
                call(&time, "Format", &[text(layout)]).ok();
                for method in METHODS {
                    call(&time, method, &[]).ok();
                }
            }
            if let Ok(duration) = to_duration(seconds) {
                let back = call(&duration, "Seconds", &[]).expect("a duration").as_float().expect("a number");
                prop_assert!((back - seconds).abs() <= seconds.abs() * 1e-6 + 1e-6);
            }
            call(&text(word), "Hours", &[]).ok();
        }
    }
}
