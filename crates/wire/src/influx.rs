//! Influx line protocol: `measurement,tag=value field=1,other=2i 1760000400000000000`. Every field
//! becomes a series `<measurement>_<field>`, tags become labels. A text field cannot be a sample;
//! it is left out and the others of its line are kept.

use model::{Sample, Series, Timestamp};

use crate::tags::Tags;

/// What a line's times count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Nanoseconds, unless the client says otherwise.
    #[default]
    Nanoseconds,
    /// Microseconds.
    Microseconds,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// Minutes.
    Minutes,
    /// Hours.
    Hours,
}

impl Precision {
    /// The value of the parameter `precision`, in the words of both versions of the API.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "" | "ns" | "n" => Self::Nanoseconds,
            "us" | "u" | "µ" => Self::Microseconds,
            "ms" => Self::Milliseconds,
            "s" => Self::Seconds,
            "m" => Self::Minutes,
            "h" => Self::Hours,
            _ => return None,
        })
    }

    fn timestamp(self, number: i64) -> Timestamp {
        Timestamp(match self {
            Self::Nanoseconds => number.div_euclid(1_000_000),
            Self::Microseconds => number.div_euclid(1_000),
            Self::Milliseconds => number,
            Self::Seconds => number.saturating_mul(1_000),
            Self::Minutes => number.saturating_mul(60_000),
            Self::Hours => number.saturating_mul(3_600_000),
        })
    }
}

/// Why a line or a field is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LineFault {
    /// The line has no measurement, or a tag without a value.
    Series,
    /// The line has no field, or one without a value.
    Field,
    /// A value that is no number, truth value or text in quotes.
    Value,
    /// The time is no whole number.
    Timestamp,
    /// Two tags that become the same label.
    TagCollision,
    /// A text, which cannot be a sample; the other fields of the line are kept.
    TextField,
}

impl LineFault {
    /// All of them, for metrics that start at zero.
    pub const ALL: [Self; 6] = [
        Self::Series,
        Self::Field,
        Self::Value,
        Self::Timestamp,
        Self::TagCollision,
        Self::TextField,
    ];

    /// The word for metrics and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Series => "influx_series",
            Self::Field => "influx_field",
            Self::Value => "influx_value",
            Self::Timestamp => "influx_timestamp",
            Self::TagCollision => "influx_tag_collision",
            Self::TextField => "influx_text_field",
        }
    }
}

/// More fields than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body has more than {max} fields; send less at once")]
pub struct TooManyFields {
    /// The limit.
    pub max: usize,
}

/// A decoded body.
#[derive(Debug, Default, PartialEq)]
pub struct Decoded {
    /// One series with one sample for every good field.
    pub series: Vec<Series>,
    /// The number of each line with a fault, from 1, and the fault.
    pub refused: Vec<(usize, LineFault)>,
}

/// Decodes lines that arrived at `now`, which is the time of those without one.
pub fn decode(
    body: &str,
    precision: Precision,
    now: Timestamp,
    fields_max: usize,
) -> Result<Decoded, TooManyFields> {
    let mut decoded = Decoded::default();
    let (mut rest, mut number) = (body, 0);
    while !rest.is_empty() {
        number += 1;
        let line = rest.trim_start_matches([' ', '\t', '\r']);
        if line.starts_with(['\n', '#']) || line.is_empty() {
            rest = after_line(line);
            continue;
        }
        let mut fields = Vec::new();
        let read = read_line(line, &mut fields);
        let (end, outcome) = match read {
            Ok(read) => (read.rest, Ok(read)),
            Err((at, fault)) => (after_line(at), Err(fault)),
        };
        // A text in quotes may go over several lines.
        let lines_inside =
            line[..line.len() - end.len()].trim_end_matches('\n').matches('\n').count();
        // A line with a fault counts as well: its refusal takes memory too.
        let findings = fields.len().max(1);
        if decoded.series.len() + decoded.refused.len() + findings > fields_max {
            return Err(TooManyFields { max: fields_max });
        }
        let taken = outcome.and_then(|read| decoded.take(number, &read, &fields, precision, now));
        if let Err(fault) = taken {
            decoded.refused.push((number, fault));
        }
        number += lines_inside;
        rest = end;
    }
    Ok(decoded)
}

impl Decoded {
    fn take(
        &mut self,
        number: usize,
        line: &Line<'_>,
        fields: &[(String, Value)],
        precision: Precision,
        now: Timestamp,
    ) -> Result<(), LineFault> {
        let mut tags = Tags::default();
        for (key, value) in &line.tags {
            if !tags.add(key, value) {
                return Err(LineFault::TagCollision);
            }
        }
        let timestamp = match line.time {
            "" => now,
            time => precision.timestamp(time.parse().map_err(|_| LineFault::Timestamp)?),
        };
        for (field, value) in fields {
            match value {
                Value::Number(value) => {
                    let labels = tags.labels(&format!("{}_{field}", line.measurement));
                    let samples = vec![Sample { timestamp, value: *value }];
                    self.series.push(Series { labels, samples });
                }
                Value::Text => self.refused.push((number, LineFault::TextField)),
            }
        }
        Ok(())
    }
}

struct Line<'a> {
    measurement: String,
    tags: Vec<(String, String)>,
    time: &'a str,
    /// What follows the line.
    rest: &'a str,
}

enum Value {
    Number(f64),
    Text,
}

/// Where a line could not be read on, and why.
type FaultAt<'a> = (&'a str, LineFault);

fn read_line<'a>(
    text: &'a str,
    fields: &mut Vec<(String, Value)>,
) -> Result<Line<'a>, FaultAt<'a>> {
    let (measurement, mut rest) = read_name(text, &[',', ' ']);
    if measurement.is_empty() {
        return Err((rest, LineFault::Series));
    }
    let mut tags = Vec::new();
    while let Some(after) = rest.strip_prefix(',') {
        let (key, after) = read_name(after, &['=', ',', ' ']);
        let after = after.strip_prefix('=').ok_or((after, LineFault::Series))?;
        let (value, after) = read_name(after, &[',', ' ']);
        if key.is_empty() || value.is_empty() {
            return Err((after, LineFault::Series));
        }
        tags.push((key, value));
        rest = after;
    }
    rest = rest.trim_start_matches(' ');
    loop {
        let (key, after) = read_name(rest, &['=', ',', ' ']);
        let after =
            after.strip_prefix('=').filter(|_| !key.is_empty()).ok_or((after, LineFault::Field))?;
        let (value, after) = read_value(after)?;
        fields.push((key, value));
        match after.strip_prefix(',') {
            Some(after) => rest = after,
            None => {
                rest = after;
                break;
            }
        }
    }
    if !rest.is_empty() && !rest.starts_with([' ', '\r', '\n']) {
        return Err((rest, LineFault::Value));
    }
    let (time, _) = rest.split_once('\n').unwrap_or((rest, ""));
    Ok(Line { measurement, tags, time: time.trim(), rest: after_line(rest) })
}

/// Reads up to one of `ends` or the end of the line. A backslash takes the meaning from a comma, a
/// space or an equals sign behind it.
fn read_name<'a>(text: &'a str, ends: &[char]) -> (String, &'a str) {
    let mut name = String::new();
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if escaped {
            if !matches!(c, ',' | ' ' | '=') {
                name.push('\\');
            }
        } else if c == '\\' {
            escaped = true;
            continue;
        } else if ends.contains(&c) {
            return (name, &text[at..]);
        }
        if c == '\n' {
            return (name, &text[at..]);
        }
        name.push(c);
        escaped = false;
    }
    (name, "")
}

fn read_value(text: &str) -> Result<(Value, &str), FaultAt<'_>> {
    if let Some(inside) = text.strip_prefix('"') {
        let mut escaped = false;
        for (at, c) in inside.char_indices() {
            match c {
                '"' if !escaped => return Ok((Value::Text, &inside[at + 1..])),
                _ => escaped = c == '\\' && !escaped,
            }
        }
        return Err((text, LineFault::Value));
    }
    let end = text.find([',', ' ', '\r', '\n']).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let number = match word {
        "t" | "T" | "true" | "True" | "TRUE" => Some(1.0),
        "f" | "F" | "false" | "False" | "FALSE" => Some(0.0),
        _ => match word.strip_suffix('i') {
            Some(whole) => whole.parse::<i64>().ok().map(|n| n as f64),
            None => match word.strip_suffix('u') {
                Some(whole) => whole.parse::<u64>().ok().map(|n| n as f64),
                None => word.parse().ok(),
            },
        },
    };
    number.map(|number| (Value::Number(number), rest)).ok_or((text, LineFault::Value))
}

fn after_line(text: &str) -> &str {
    text.split_once('\n').map_or("", |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_760_000_460);

    fn read(body: &str) -> (Vec<String>, Vec<(usize, LineFault)>) {
        let decoded = decode(body, Precision::Nanoseconds, NOW, 100).expect("there are few");
        let text = |one: &Series| {
            let Sample { timestamp, value } = one.samples[0];
            format!("{} {value} {}", one.labels, timestamp.millis())
        };
        (decoded.series.iter().map(text).collect(), decoded.refused)
    }

    fn check(line: &str, series: &[&str]) {
        let (read, refused) = read(line);
        assert_eq!(
            (read.iter().map(String::as_str).collect::<Vec<_>>(), refused),
            (series.to_vec(), vec![]),
            "{line}"
        );
    }

    fn check_fault(line: &str, fault: LineFault) {
        let (series, refused) = read(&format!("a x=1\n{line}\nb x=1"));
        assert_eq!((series.len(), refused), (2, vec![(2, fault)]), "{line}");
    }

    #[test]
    fn every_field_is_a_series() {
        check(
            "cpu,host=a,cpu=0 idle=97.5,busy=3i,up=t,n=5u 1760000400123456789\n",
            &[
                "cpu_idle{cpu=\"0\", host=\"a\"} 97.5 1760000400123",
                "cpu_busy{cpu=\"0\", host=\"a\"} 3 1760000400123",
                "cpu_up{cpu=\"0\", host=\"a\"} 1 1760000400123",
                "cpu_n{cpu=\"0\", host=\"a\"} 5 1760000400123",
            ],
        );
        check("\n# a remark\r\n  a x=-1e3\r\n\n", &["a_x -1000 1760000460000"]);
    }

    #[test]
    fn escapes_are_taken_off() {
        check(
            r"my\ disk\,a,pa\=th=/a\ b\,c\d used\ pct=1 1760000400000000000",
            &[r#"my_disk_a_used_pct{pa_th="/a b,c\\d"} 1 1760000400000"#],
        );
    }

    #[test]
    fn a_text_field_costs_only_itself() {
        let (series, refused) = read("a s=\"x, \\\" y=2\nz\",n=1 1000000\nb x=1 y");
        assert_eq!(series, ["a_n 1 1"]);
        assert_eq!(refused, [(1, LineFault::TextField), (3, LineFault::Timestamp)]);
    }

    #[test]
    fn bad_lines_cost_only_themselves() {
        check_fault(",a=1 x=1", LineFault::Series);
        check_fault("m,a x=1", LineFault::Series);
        check_fault("m,a= x=1", LineFault::Series);
        check_fault("m", LineFault::Field);
        check_fault("m x", LineFault::Field);
        check_fault("m =1", LineFault::Field);
        check_fault("m x=1,", LineFault::Field);
        check_fault("m x=one", LineFault::Value);
        check_fault("m x=1.5i", LineFault::Value);
        check_fault("m x=\"a\"b", LineFault::Value);
        check_fault("m x=1 soon", LineFault::Timestamp);
        check_fault("m,a-b=1,a.b=2 x=1", LineFault::TagCollision);
    }

    #[test]
    fn precisions_have_the_words_of_both_versions() {
        for (word, millis) in [
            ("", 1),
            ("ns", 1),
            ("u", 1_000),
            ("us", 1_000),
            ("ms", 1_000_000),
            ("s", 1_000_000_000),
        ] {
            let precision = Precision::parse(word).expect("the word is known");
            assert_eq!(precision.timestamp(1_000_000), Timestamp(millis), "{word}");
        }
        assert_eq!(Precision::Hours.timestamp(i64::MAX), Timestamp::MAX);
        assert_eq!(Precision::parse("d"), None);
    }

    #[test]
    fn fields_are_bounded() {
        let decode = |fields_max| decode("a x=1,y=2\nb x=1", Precision::Seconds, NOW, fields_max);
        assert_eq!(decode(2), Err(TooManyFields { max: 2 }));
        assert_eq!(decode(3).map(|decoded| decoded.series.len()), Ok(3));
    }

    #[test]
    fn lines_with_a_fault_count_against_the_limit() {
        let decode = |max| decode("bad\nbad\n", Precision::Nanoseconds, NOW, max);
        assert_eq!(decode(2).expect("two are allowed").refused.len(), 2);
        assert_eq!(decode(1), Err(TooManyFields { max: 1 }));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a,= \"\\\\\n1it#主]{0,60}", more in ".{0,40}") {
            let _ = decode(&text, Precision::Seconds, NOW, 100);
            let _ = decode(&more, Precision::Hours, NOW, 100);
        }

        #[test]
        fn a_written_line_reads_back(name in "[a-z]{1,6}", value in "[a-z ,=]{1,8}", number: i32, time: i64) {
            let escaped = value.replace(',', "\\,").replace(' ', "\\ ").replace('=', "\\=");
            let line = format!("{name},tag={escaped} f={number},text=\"{value}\" {time}");
            let decoded = decode(&line, Precision::Milliseconds, NOW, 10).expect("there are few");
            prop_assert_eq!(decoded.refused, [(1, LineFault::TextField)]);
            let labels = [("__name__", format!("{name}_f")), ("tag", value)];
            prop_assert_eq!(&decoded.series[0].labels, &model::Labels::from_pairs(labels));
            prop_assert_eq!(decoded.series[0].samples[0], Sample::new(time, f64::from(number)));
        }
    }
}
