//! Functions that the templates of Prometheus and of Alertmanager have in common, and what functions are made of.

use std::sync::Arc;

use model::PatternScope;
use regex::Regex;

use crate::humanize;
use crate::moment;
use crate::print::TEXT_BYTES_MAX;
use crate::value::Value;
use crate::{Answer, Function};

/// Texts to texts, and patterns.
pub const TEXTS: [(&str, Function); 6] = [
    ("title", Function::Pure(|args| text(args, title))),
    ("toUpper", Function::Pure(|args| text(args, str::to_uppercase))),
    ("toLower", Function::Pure(|args| text(args, str::to_lowercase))),
    ("safeHtml", Function::Pure(safe)),
    ("match", Function::Pure(matches)),
    ("reReplaceAll", Function::Pure(replace_all)),
];

/// Numbers for humans.
pub const NUMBERS: [(&str, Function); 8] = [
    ("humanize", Function::Pure(|args| number(args, humanize::humanize))),
    ("humanize1024", Function::Pure(|args| number(args, humanize::humanize1024))),
    ("humanizeDuration", Function::Pure(|args| number(args, humanize::humanize_duration))),
    ("humanizePercentage", Function::Pure(|args| number(args, humanize::humanize_percentage))),
    ("humanizeTimestamp", Function::Pure(|args| number(args, humanize::humanize_timestamp))),
    ("toTime", Function::Pure(|args| moment::to_time(only_number(args)?))),
    ("toDuration", Function::Pure(|args| moment::to_span(only_number(args)?))),
    ("parseDuration", Function::Pure(parse_duration)),
];

/// The texts that a function is given, exactly so many.
pub fn texts<const N: usize>(args: &[Value]) -> Result<[Arc<str>; N], String> {
    let mut found = Vec::with_capacity(N);
    for arg in args {
        match arg {
            Value::Text(text) | Value::Safe(text) => found.push(Arc::clone(text)),
            other => return Err(format!("a text expected, got a {}", other.type_name())),
        }
    }
    found.try_into().map_err(|_| format!("{N} texts expected, got {}", args.len()))
}

/// A text made of the only argument.
pub fn text(args: &[Value], write: fn(&str) -> String) -> Answer {
    let [text] = texts(args)?;
    Ok(Value::text(write(&text)))
}

/// A text made of the only argument, a number or a text that is one.
pub fn number(args: &[Value], write: fn(f64) -> String) -> Answer {
    Ok(Value::text(write(only_number(args)?)))
}

fn only_number(args: &[Value]) -> Result<f64, String> {
    match args {
        [Value::Float(number)] => Ok(*number),
        [Value::Int(number)] => Ok(*number as f64),
        [Value::Span(nanos)] => Ok(*nanos as f64 / 1e9),
        [Value::Text(text) | Value::Safe(text)] => {
            text.parse().map_err(|_| format!("{text:?} is not a number"))
        }
        [other] => Err(format!("a {} is not a number", other.type_name())),
        _ => Err(format!("one number expected, got {} arguments", args.len())),
    }
}

fn safe(args: &[Value]) -> Answer {
    let [text] = texts(args)?;
    Ok(Value::Safe(text))
}

fn matches(args: &[Value]) -> Answer {
    let [pattern, text] = texts(args)?;
    Ok(Value::Bool(regex(&pattern)?.is_match(&text)))
}

fn replace_all(args: &[Value]) -> Answer {
    let [pattern, replacement, text] = texts(args)?;
    let regex = regex(&pattern)?;
    // Every match may become the whole text by `$0`, and there is one more match than letters at most.
    let most = (text.len() + 1).saturating_mul(replacement.len() + 1);
    if most > TEXT_BYTES_MAX {
        let found = regex.find_iter(&text).count();
        if (text.len() + replacement.len()).saturating_mul(found) > TEXT_BYTES_MAX {
            return Err(format!("reReplaceAll: it may give more than {TEXT_BYTES_MAX} bytes"));
        }
    }
    Ok(Value::text(regex.replace_all(&text, replacement.as_ref())))
}

fn regex(pattern: &str) -> Result<Regex, String> {
    model::compile_pattern(pattern, PatternScope::Part).map_err(|error| error.to_string())
}

fn title(text: &str) -> String {
    let mut begins = true;
    let mut titled = String::with_capacity(text.len());
    for letter in text.chars() {
        if begins {
            titled.extend(letter.to_uppercase());
        } else {
            titled.push(letter);
        }
        begins = !(letter.is_alphanumeric() || letter == '_' || letter == '\'');
    }
    titled
}

fn parse_duration(args: &[Value]) -> Answer {
    let [text] = texts(args)?;
    let (sign, span) = text.strip_prefix('-').map_or((1.0, &*text), |span| (-1.0, span));
    let span = model::parse_duration(span).map_err(|error| error.to_string())?;
    Ok(Value::Float(sign * span.as_secs_f64()))
}

/// Escapes for the value of a query parameter, a blank as `+`.
pub fn query_escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            b' ' => escaped.push('+'),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
