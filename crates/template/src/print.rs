//! How Go writes values: in a text, and as JSON.

use crate::moment;
use crate::value::{Record, Value};

/// A text that one function makes may have so many bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 1 << 20;

/// A value as `%v` writes it.
pub(crate) fn written(value: &Value) -> Result<String, String> {
    let mut out = String::new();
    write(value, &mut out)?;
    Ok(out)
}

/// Appends a value as `%v` writes it.
pub(crate) fn write(value: &Value, out: &mut String) -> Result<(), String> {
    match value {
        Value::Nil => out.push_str("<nil>"),
        Value::Bool(value) => out.push_str(&value.to_string()),
        Value::Int(value) => out.push_str(&value.to_string()),
        Value::Float(value) => out.push_str(&go_float(*value)),
        Value::Text(text) | Value::Safe(text) => out.push_str(text),
        Value::Time(time) => out.push_str(&moment::write_time(time)),
        Value::Span(nanos) => out.push_str(&moment::write_span(*nanos)),
        Value::Labels(labels) => {
            write_pairs(labels.iter(), out);
        }
        Value::Pairs(pairs) => {
            write_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())), out);
        }
        Value::List(list) => {
            out.push('[');
            write_all(list.items.iter(), out)?;
            out.push(']');
        }
        Value::Map(map) => {
            out.push_str("map[");
            for (at, (name, value)) in map.iter().enumerate() {
                out.push_str(if at > 0 { " " } else { "" });
                out.push_str(name);
                out.push(':');
                write(value, out)?;
            }
            out.push(']');
        }
        Value::Record(record) => {
            out.push('{');
            write_all(record.fields.iter().map(|(_, value)| value), out)?;
            out.push('}');
        }
    }
    if out.len() > TEXT_BYTES_MAX {
        return Err(format!("a text has more than {TEXT_BYTES_MAX} bytes"));
    }
    Ok(())
}

fn write_all<'a>(values: impl Iterator<Item = &'a Value>, out: &mut String) -> Result<(), String> {
    for (at, value) in values.enumerate() {
        out.push_str(if at > 0 { " " } else { "" });
        write(value, out)?;
    }
    Ok(())
}

fn write_pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>, out: &mut String) {
    out.push_str("map[");
    for (at, (name, value)) in pairs.enumerate() {
        out.push_str(if at > 0 { " " } else { "" });
        out.push_str(name);
        out.push(':');
        out.push_str(value);
    }
    out.push(']');
}

/// A number as Go prints it: the shortest digits that mean it, with an exponent when it is below 10⁻⁴ or not
/// below 10⁶.
pub(crate) fn go_float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    if number == 0.0 || exponent.parse().is_ok_and(|exponent: i32| (-4..6).contains(&exponent)) {
        return number.to_string();
    }
    let (sign, exponent) =
        exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

/// A value as Go's `encoding/json` writes it.
pub(crate) fn json(value: &Value) -> Result<String, String> {
    let mut out = String::new();
    write_json(value, &mut out)?;
    Ok(out)
}

fn write_json(value: &Value, out: &mut String) -> Result<(), String> {
    match value {
        Value::Nil => out.push_str("null"),
        Value::Bool(value) => out.push_str(&value.to_string()),
        Value::Int(value) | Value::Span(value) => out.push_str(&value.to_string()),
        Value::Float(value) if !value.is_finite() => {
            return Err(format!("json: unsupported value: {}", go_float(*value)));
        }
        Value::Float(value) => out.push_str(&json_float(*value)),
        Value::Text(text) | Value::Safe(text) => write_json_text(text, out),
        Value::Time(time) => {
            let layout = "2006-01-02T15:04:05.999999999Z07:00";
            write_json_text(&moment::format(time, layout), out);
        }
        Value::Labels(labels) => write_json_pairs(labels.iter(), out),
        Value::Pairs(pairs) => {
            let pairs = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            write_json_pairs(pairs, out);
        }
        Value::List(list) => {
            for (at, item) in list.items.iter().enumerate() {
                out.push(if at > 0 { ',' } else { '[' });
                write_json(item, out)?;
            }
            out.push_str(if list.items.is_empty() { "[]" } else { "]" });
        }
        Value::Map(map) => {
            for (at, (name, value)) in map.iter().enumerate() {
                out.push(if at > 0 { ',' } else { '{' });
                write_json_text(name, out);
                out.push(':');
                write_json(value, out)?;
            }
            out.push_str(if map.is_empty() { "{}" } else { "}" });
        }
        Value::Record(record) => {
            for (at, (name, value)) in record.fields.iter().enumerate() {
                out.push(if at > 0 { ',' } else { '{' });
                write_json_text(&json_name(record, name), out);
                out.push(':');
                write_json(value, out)?;
            }
            out.push('}');
        }
    }
    if out.len() > TEXT_BYTES_MAX {
        return Err(format!("toJson: more than {TEXT_BYTES_MAX} bytes"));
    }
    Ok(())
}

/// Alertmanager's structures have names of their own in JSON, all but a pair.
fn json_name(record: &Record, name: &str) -> String {
    let first = name.chars().next().filter(|_| record.name != "template.Pair");
    first.map_or(name.to_owned(), |first| {
        format!("{}{}", first.to_ascii_lowercase(), &name[first.len_utf8()..])
    })
}

fn write_json_pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>, out: &mut String) {
    out.push('{');
    for (at, (name, value)) in pairs.enumerate() {
        out.push_str(if at > 0 { "," } else { "" });
        write_json_text(name, out);
        out.push(':');
        write_json_text(value, out);
    }
    out.push('}');
}

fn write_json_text(text: &str, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // What could end a script in a page.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            _ => out.push(letter),
        }
    }
    out.push('"');
}

fn json_float(number: f64) -> String {
    let size = number.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        return number.to_string();
    }
    let scientific = format!("{number:e}");
    match scientific.split_once('e') {
        Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
        _ => scientific,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_as_go_prints_them() {
        for (number, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (91.5, "91.5"),
            (123_456.0, "123456"),
            (1e6, "1e+06"),
            (123_456_789.0, "1.23456789e+08"),
            (1.5e-5, "1.5e-05"),
            (0.0001, "0.0001"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(go_float(number), text);
        }
    }

    #[test]
    fn json_is_that_of_go() {
        let value = Value::list([
            Value::Nil,
            Value::Float(1e21),
            Value::Float(0.5),
            Value::text("<a>\"\n\u{1}"),
            Value::list([]),
        ]);
        let expected = r#"[null,1e+21,0.5,"\u003ca\u003e\"\n\u0001",[]]"#;
        assert_eq!(json(&value).as_deref(), Ok(expected));
        assert!(json(&Value::Float(f64::NAN)).is_err());
    }

    #[test]
    fn what_holds_itself_many_times_over_is_not_written_out() {
        let mut value = Value::text("x".repeat(1000));
        for _ in 0..20 {
            value = Value::list([value.clone(), value]);
        }
        assert!(written(&value).is_err() && json(&value).is_err());
    }
}
