//! Series as test files write them: a description and a run of values.

use model::Labels;

use super::histogram::{self, Written};

/// One value of a run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Item {
    Gap,
    Stale,
    Float(f64),
    Histogram(Box<Written>),
}

/// Reads `name{label="value"} 1 2+3x4 _ stale`.
pub(crate) fn read_line(line: &str) -> Result<(Labels, Vec<Item>), String> {
    let (description, values) = split_description(line)?;
    Ok((read_labels(description)?, read_items(values)?))
}

fn split_description(line: &str) -> Result<(&str, &str), String> {
    let mut quote: Option<char> = None;
    let mut escaped = false;
    let mut depth = 0;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some('"' | '\''), '\\') => escaped = true,
            (Some(open), _) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') => {
                depth -= 1;
                if depth == 0 {
                    return Ok((&line[..=at], &line[at + 1..]));
                }
            }
            (None, ' ' | '\t') if depth == 0 => {
                // A blank may stand between the name and the braces.
                let rest = line[at..].trim_start();
                if !rest.starts_with('{') || rest.starts_with("{{") {
                    return Ok((&line[..at], rest));
                }
            }
            (None, _) => {}
        }
    }
    if depth == 0 { Ok((line, "")) } else { Err(format!("braces left open in {line:?}")) }
}

/// Reads the labels of a series from its description.
pub(crate) fn read_labels(description: &str) -> Result<Labels, String> {
    let description = description.trim();
    let inner = description.trim_start_matches('{').trim_end_matches('}').trim();
    if inner.is_empty() {
        return Ok(Labels::empty());
    }
    let expr =
        promql::parse(description).map_err(|error| format!("series {description:?}: {error}"))?;
    let selectors = expr.selectors();
    let [selector] = selectors.as_slice() else {
        return Err(format!("no series: {description:?}"));
    };
    Ok(Labels::from_pairs(selector.matchers.iter().map(|matcher| (&matcher.name, &matcher.value))))
}

fn read_items(text: &str) -> Result<Vec<Item>, String> {
    let mut items = Vec::new();
    for word in words(text) {
        read_item(&word, &mut items).ok_or_else(|| format!("cannot read value {word:?}"))?;
    }
    Ok(items)
}

// Blanks separate values, but not inside of a histogram.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut depth = 0_i32;
    for c in text.chars() {
        depth += i32::from(c == '{' || c == '[') - i32::from(c == '}' || c == ']');
        match words.last_mut() {
            Some(word) if depth > 0 || !c.is_whitespace() => word.push(c),
            _ => words.push(String::new()),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn read_item(word: &str, items: &mut Vec<Item>) -> Option<()> {
    let (value, times) = match word.rsplit_once('x') {
        Some((value, times)) if !times.is_empty() && times.bytes().all(|b| b.is_ascii_digit()) => {
            (value, Some(times.parse::<usize>().ok()?))
        }
        _ => (word, None),
    };
    if value == "_" {
        items.extend(std::iter::repeat_n(Item::Gap, times.unwrap_or(1)));
        return Some(());
    }
    let copies = times.unwrap_or(0) + 1;
    if value == "stale" {
        items.extend(std::iter::repeat_n(Item::Stale, copies));
        return Some(());
    }
    if value.starts_with("{{") {
        let run = histogram::read_run(value, copies)?;
        items.extend(run.into_iter().map(|written| Item::Histogram(Box::new(written))));
        return Some(());
    }
    let (first, step) = split_step(value)?;
    let mut current = first;
    for _ in 0..copies {
        items.push(Item::Float(current));
        current += step;
    }
    Some(())
}

// `a+b` or `a-b`: the signs of the first number and of exponents belong to numbers.
fn split_step(value: &str) -> Option<(f64, f64)> {
    let bytes = value.as_bytes();
    let sign =
        |at: &usize| matches!(bytes[*at], b'+' | b'-') && !matches!(bytes[at - 1], b'e' | b'E');
    match (1..bytes.len()).find(sign) {
        Some(at) => Some((number(&value[..at])?, number(&value[at..])?)),
        None => Some((number(value)?, 0.0)),
    }
}

/// Reads a number with or without a sign.
pub(crate) fn number(text: &str) -> Option<f64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let value = match digits.to_ascii_lowercase().as_str() {
        "inf" => f64::INFINITY,
        "nan" => f64::NAN,
        _ if digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') => match digits.parse() {
            Ok(value) => value,
            Err(_) => model::parse_duration(digits).ok()?.as_secs_f64(),
        },
        _ => return None,
    };
    Some(if negative { -value } else { value })
}
