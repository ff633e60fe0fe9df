//! Reads times in the layouts of Go.

use std::sync::Arc;

use jiff::SignedDuration;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::moment::{DAYS, MONTHS, piece};
use crate::value::Value;

/// Reads a time in a layout of Go, in UTC where it names no offset; `None` when it is not in it.
pub(crate) fn parse(layout: &str, text: &str) -> Option<Value> {
    let mut read = Read { year: 1, month: 1, day: 1, hour: 0, minute: 0, second: 0, nanos: 0 };
    let (mut rest, mut text) = (layout, text);
    let (mut is_late, mut shift) = (None, 0);
    while let Some(letter) = rest.chars().next() {
        let Some(piece) = piece(rest) else {
            text = text.strip_prefix(letter)?;
            rest = &rest[letter.len_utf8()..];
            continue;
        };
        rest = &rest[piece.len()..];
        text = match piece {
            "PM" | "pm" => {
                is_late = Some(text.get(..2)?.eq_ignore_ascii_case("pm"));
                text.get(2..)?
            }
            "MST" => text.strip_prefix("UTC").or_else(|| text.strip_prefix("GMT"))?,
            zone if zone.contains("07") => {
                let (seconds, left) = read_offset(text)?;
                shift = seconds;
                left
            }
            piece => read.piece(piece, text)?,
        };
    }
    if let Some(is_late) = is_late {
        read.hour = read.hour % 12 + if is_late { 12 } else { 0 };
    }
    let Read { year, month, day, hour, minute, second, nanos } = read;
    let time = DateTime::new(year, month, day, hour, minute, second, nanos).ok()?;
    let at = time.to_zoned(TimeZone::UTC).ok()?.checked_sub(SignedDuration::from_secs(shift));
    text.is_empty().then_some(Value::Time(Arc::new(at.ok()?)))
}

/// The parts of a time while it is read.
struct Read {
    year: i16,
    month: i8,
    day: i8,
    hour: i8,
    minute: i8,
    second: i8,
    nanos: i32,
}

impl Read {
    /// Takes a piece off a text; gives what is left.
    fn piece<'a>(&mut self, piece: &str, text: &'a str) -> Option<&'a str> {
        match piece {
            "January" | "Jan" => {
                let length = |name: &str| if piece == "Jan" { 3 } else { name.len() };
                let is_it = |name: &&str| text.starts_with(&name[..length(name)]);
                let at = MONTHS.iter().position(is_it)?;
                self.month = i8::try_from(at).ok()? + 1;
                text.get(length(MONTHS[at])..)
            }
            "Monday" | "Mon" => {
                let length = |name: &str| if piece == "Mon" { 3 } else { name.len() };
                let day = DAYS.iter().find(|name| text.starts_with(&name[..length(name)]))?;
                text.get(length(day)..)
            }
            "2006" => {
                let (year, left) = number(text, 4, 4)?;
                self.year = i16::try_from(year).ok()?;
                Some(left)
            }
            "06" => {
                let (year, left) = number(text, 2, 2)?;
                self.year =
                    i16::try_from(if year >= 69 { 1900 + year } else { 2000 + year }).ok()?;
                Some(left)
            }
            point if point.starts_with(['.', ',']) => {
                let digits = text.strip_prefix(['.', ','])?;
                let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
                self.nanos = format!("{:0<9}", digits.get(..end.min(9))?).parse().ok()?;
                digits.get(end..)
            }
            _ => self.small(piece, text),
        }
    }

    fn small<'a>(&mut self, piece: &str, text: &'a str) -> Option<&'a str> {
        let text = if piece == "_2" { text.trim_start_matches(' ') } else { text };
        let (value, left) = number(text, if piece.starts_with('0') { 2 } else { 1 }, 2)?;
        let value = i8::try_from(value).ok()?;
        match piece {
            "01" | "1" => self.month = value,
            "02" | "2" | "_2" => self.day = value,
            "15" | "03" | "3" => self.hour = value,
            "04" | "4" => self.minute = value,
            "05" | "5" => self.second = value,
            _ => return None,
        }
        Some(left)
    }
}

fn number(text: &str, least: usize, most: usize) -> Option<(i32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()).min(most);
    let digits = text.get(..end).filter(|digits| digits.len() >= least)?;
    Some((digits.parse().ok()?, &text[end..]))
}

/// `Z`, `+08:00`, `+0800` or `+08`, in seconds.
fn read_offset(text: &str) -> Option<(i64, &str)> {
    if let Some(left) = text.strip_prefix('Z') {
        return Some((0, left));
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+')?),
    };
    let (hours, left) = number(digits, 2, 2)?;
    let tail = left.strip_prefix(':').unwrap_or(left);
    let (minutes, left) = number(tail, 2, 2).unwrap_or((0, left));
    Some((sign * i64::from(hours * 3600 + minutes * 60), left))
}
