//! Times and durations with the methods of Go that templates call.

use std::sync::Arc;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Zoned};
use model::Timestamp;

use crate::Answer;
use crate::value::Value;

/// Seconds before and after the epoch that a time with a year of four digits can have.
const YEAR_1: f64 = 62_135_596_800.0;
const YEAR_9999: f64 = 253_402_300_799.0;
const NANOS: i64 = 1_000_000_000;

pub(crate) const MONTHS: [&str; 12] = [
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
pub(crate) const DAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
/// The pieces of Go's layouts, longer ones before those that they begin with.
const LAYOUT: [&str; 29] = [
    "January", "Jan", "Monday", "Mon", "MST", "2006", "Z07:00", "-07:00", "-0700", "Z0700", "Z07",
    "-07", "002", "01", "02", "03", "04", "05", "06", "15", "PM", "pm", "_2006", "_2", "1", "2",
    "3", "4", "5",
];

/// A moment, in UTC.
pub fn time_of(at: Timestamp) -> Value {
    let at = jiff::Timestamp::from_millisecond(at.millis()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    Value::Time(Arc::new(at.to_zoned(TimeZone::UTC)))
}

/// The time that Go has for none: the first moment of the year 1.
pub(crate) fn no_time() -> Value {
    let first = DateTime::constant(1, 1, 1, 0, 0, 0, 0).to_zoned(TimeZone::UTC);
    first.map_or(Value::Nil, |time| Value::Time(Arc::new(time)))
}

/// Seconds since the epoch as a time.
pub(crate) fn to_time(seconds: f64) -> Answer {
    if !(-YEAR_1..=YEAR_9999).contains(&seconds) {
        return Err(format!("{seconds} is no time"));
    }
    // Milliseconds are what Prometheus keeps.
    let nanos = (seconds * 1e3).round() as i128 * 1_000_000;
    let at = jiff::Timestamp::from_nanosecond(nanos).map_err(|error| error.to_string())?;
    Ok(Value::Time(Arc::new(at.to_zoned(TimeZone::UTC))))
}

/// Seconds as a duration.
pub(crate) fn to_span(seconds: f64) -> Answer {
    // What Go keeps in 64 bits of nanoseconds.
    if !seconds.is_finite() || seconds.abs() > 9.2e9 {
        return Err(format!("{seconds} s is no duration"));
    }
    Ok(Value::Span((seconds * 1e9).round() as i64))
}

/// How long ago a time was.
pub(crate) fn since(time: &Zoned, now: Timestamp) -> Value {
    let nanos = i128::from(now.millis()) * 1_000_000 - time.timestamp().as_nanosecond();
    let limit = |nanos: i128| nanos.clamp(i64::MIN.into(), i64::MAX.into());
    Value::Span(i64::try_from(limit(nanos)).unwrap_or(i64::MAX))
}

/// The same moment in a time zone of this system, by its IANA name.
pub(crate) fn in_zone(time: &Zoned, name: &str) -> Answer {
    let zone = match name {
        "" | "UTC" => TimeZone::UTC,
        name => TimeZone::get(name).map_err(|_| format!("unknown time zone {name}"))?,
    };
    Ok(Value::Time(Arc::new(time.with_time_zone(zone))))
}

/// A method of a time; `None` when it has none of that name.
pub(crate) fn of_time(time: &Zoned, name: &str, args: &[Value]) -> Option<Answer> {
    let answer = match (name, args) {
        ("Format", [layout]) => {
            let layout = layout.as_text().ok_or_else(|| "Format takes a layout".to_owned());
            return Some(layout.map(|layout| Value::text(format(time, layout))));
        }
        ("Add", [Value::Span(nanos)]) => return Some(moved(time, *nanos)),
        ("Sub", [Value::Time(other)]) => {
            let nanos = time.timestamp().duration_since(other.timestamp()).as_nanos();
            Value::Span(i64::try_from(nanos).unwrap_or(i64::MAX))
        }
        ("After", [Value::Time(other)]) => Value::Bool(time.timestamp() > other.timestamp()),
        ("Before", [Value::Time(other)]) => Value::Bool(time.timestamp() < other.timestamp()),
        ("Equal", [Value::Time(other)]) => Value::Bool(time.timestamp() == other.timestamp()),
        (name, []) => return part(time, name).map(Ok),
        (name, _) if part(time, name).is_some() || METHODS.contains(&name) => {
            return Some(Err(format!("wrong arguments for {name}")));
        }
        _ => return None,
    };
    Some(Ok(answer))
}

/// Methods of a time that take arguments.
const METHODS: [&str; 6] = ["Format", "Add", "Sub", "After", "Before", "Equal"];

fn moved(time: &Zoned, nanos: i64) -> Answer {
    let span = SignedDuration::from_nanos(nanos);
    let moved = time.checked_add(span).map_err(|error| error.to_string())?;
    Ok(Value::Time(Arc::new(moved)))
}

fn part(time: &Zoned, name: &str) -> Option<Value> {
    let at = time.timestamp();
    Some(match name {
        "String" => Value::text(write_time(time)),
        "UTC" => Value::Time(Arc::new(time.with_time_zone(TimeZone::UTC))),
        "Unix" => Value::Int(at.as_second()),
        "UnixMilli" => Value::Int(at.as_millisecond()),
        "UnixNano" => Value::Int(i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX)),
        "Year" => Value::Int(time.year().into()),
        "Month" => Value::text(month(time.date())),
        "Day" => Value::Int(time.day().into()),
        "Hour" => Value::Int(time.hour().into()),
        "Minute" => Value::Int(time.minute().into()),
        "Second" => Value::Int(time.second().into()),
        "Nanosecond" => Value::Int(time.subsec_nanosecond().into()),
        "Weekday" => Value::text(weekday(time.date())),
        "YearDay" => Value::Int(time.day_of_year().into()),
        "IsZero" => Value::Bool(time.year() == 1 && time.day_of_year() == 1 && time.hour() == 0),
        _ => return None,
    })
}

/// A method of a duration; `None` when it has none of that name.
pub(crate) fn of_span(nanos: i64, name: &str, args: &[Value]) -> Option<Answer> {
    let seconds = nanos as f64 / 1e9;
    let answer = match name {
        "String" => Value::text(write_span(nanos)),
        "Seconds" => Value::Float(seconds),
        "Minutes" => Value::Float(seconds / 60.0),
        "Hours" => Value::Float(seconds / 3600.0),
        "Milliseconds" => Value::Int(nanos / 1_000_000),
        "Microseconds" => Value::Int(nanos / 1_000),
        "Nanoseconds" => Value::Int(nanos),
        "Round" | "Truncate" => return Some(whole(nanos, name == "Round", args)),
        _ => return None,
    };
    let is_bare = args.is_empty();
    Some(if is_bare { Ok(answer) } else { Err(format!("wrong arguments for {name}")) })
}

fn whole(nanos: i64, rounds: bool, args: &[Value]) -> Answer {
    let [Value::Span(unit) | Value::Int(unit)] = args else {
        return Err("a duration expected".to_owned());
    };
    if *unit <= 0 {
        return Ok(Value::Span(nanos));
    }
    let left = nanos % unit;
    let down = nanos - left;
    let is_half = left.unsigned_abs() >= unit.unsigned_abs().div_ceil(2);
    let up = if rounds && is_half { unit.saturating_mul(nanos.signum()) } else { 0 };
    Ok(Value::Span(down.saturating_add(up)))
}

/// A time as Go prints it: `2026-01-02 15:04:05.5 +0000 UTC`.
pub(crate) fn write_time(time: &Zoned) -> String {
    format(time, "2006-01-02 15:04:05.999999999 -0700 MST")
}

/// A duration as Go prints it: `1h2m3.5s`, `250ms`.
pub(crate) fn write_span(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let size = nanos.unsigned_abs();
    let second = NANOS.unsigned_abs();
    let (whole, rest) = (size / second, size % second);
    if whole == 0 {
        return match rest {
            0 => "0s".to_owned(),
            1..1_000 => format!("{sign}{rest}ns"),
            1_000..1_000_000 => format!("{sign}{}µs", fraction(rest, 1_000)),
            _ => format!("{sign}{}ms", fraction(rest, 1_000_000)),
        };
    }
    let (hours, minutes) = (whole / 3600, whole / 60 % 60);
    let seconds = fraction(size % (60 * second), second);
    match (hours, minutes) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, _) => format!("{sign}{minutes}m{seconds}s"),
        _ => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// A number of units with what is left as decimals.
fn fraction(value: u64, unit: u64) -> String {
    let (whole, rest) = (value / unit, value % unit);
    if rest == 0 {
        return whole.to_string();
    }
    let digits = unit.ilog10() as usize;
    format!("{whole}.{rest:0digits$}").trim_end_matches('0').to_owned()
}

/// The piece that a layout begins with.
pub(crate) fn piece(layout: &str) -> Option<&str> {
    if let Some(point) = layout.strip_prefix(['.', ',']) {
        let digit = point.chars().next().filter(|digit| matches!(digit, '0' | '9'))?;
        let end = point.find(|other| other != digit).unwrap_or(point.len());
        let goes_on = point[end..].starts_with(|next: char| next.is_ascii_digit());
        return (!goes_on).then(|| &layout[..=end]);
    }
    let found = LAYOUT.into_iter().find(|piece| layout.starts_with(piece))?;
    let is_word = matches!(found, "Jan" | "Mon");
    let rest = &layout[found.len()..];
    if is_word && rest.starts_with(|next: char| next.is_ascii_lowercase()) {
        return None;
    }
    // A blank before a year is no day of the month.
    let end = if found == "_2006" { 1 } else { found.len() };
    Some(&layout[..end])
}

/// A time in a layout of Go, where the moment `2006-01-02 15:04:05` stands for all others.
pub(crate) fn format(time: &Zoned, layout: &str) -> String {
    let mut written = String::new();
    let mut rest = layout;
    while let Some(letter) = rest.chars().next() {
        if let Some(piece) = piece(rest) {
            written.push_str(&write_piece(time, piece));
            rest = &rest[piece.len()..];
        } else {
            written.push(letter);
            rest = &rest[letter.len_utf8()..];
        }
    }
    written
}

fn write_piece(time: &Zoned, piece: &str) -> String {
    let hour = (time.hour() + 11) % 12 + 1;
    match piece {
        "January" => month(time.date()).to_owned(),
        "Jan" => month(time.date())[..3].to_owned(),
        "Monday" => weekday(time.date()).to_owned(),
        "Mon" => weekday(time.date())[..3].to_owned(),
        "MST" => {
            let info = time.time_zone().to_offset_info(time.timestamp());
            info.abbreviation().to_owned()
        }
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
        zone if zone.ends_with("07") || zone.ends_with("00") && zone.contains("07") => {
            offset(time.offset().seconds(), zone)
        }
        digits => decimals(time, digits),
    }
}

fn offset(seconds: i32, piece: &str) -> String {
    if piece.starts_with('Z') && seconds == 0 {
        return "Z".to_owned();
    }
    let sign = if seconds < 0 { '-' } else { '+' };
    let (hours, minutes) = (seconds.abs() / 3600, seconds.abs() / 60 % 60);
    match &piece[1..] {
        "07:00" => format!("{sign}{hours:02}:{minutes:02}"),
        "0700" => format!("{sign}{hours:02}{minutes:02}"),
        _ => format!("{sign}{hours:02}"),
    }
}

/// Parts of a second, as `.000` or `.999`; other pieces stand for themselves.
fn decimals(time: &Zoned, piece: &str) -> String {
    let Some(digits) = piece.strip_prefix(['.', ',']) else { return piece.to_owned() };
    let nanos = format!("{:09}", time.subsec_nanosecond());
    let shown = &nanos[..digits.len().min(nanos.len())];
    if digits.starts_with('0') {
        return format!("{}{shown}", &piece[..1]);
    }
    match shown.trim_end_matches('0') {
        "" => String::new(),
        shown => format!("{}{shown}", &piece[..1]),
    }
}

fn month(date: Date) -> &'static str {
    MONTHS[usize::try_from(date.month() - 1).unwrap_or(0)]
}

fn weekday(date: Date) -> &'static str {
    DAYS[usize::try_from(date.weekday().to_monday_zero_offset()).unwrap_or(0)]
}
