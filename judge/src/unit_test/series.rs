//! Series as test files write them: a description, and a run of values.

use std::sync::Arc;

use model::{Labels, MatchOp, is_metric_name};
use promql::Histogram;

/// Values that one series may have.
const VALUES_MAX: usize = 1_000_000;
/// Native histograms that one word may make, as each is much larger than a number.
const NATIVES_MAX: usize = 10_000;

/// Reads `name{label="value"}`; nothing at all are no labels.
pub(crate) fn read_labels(description: &str) -> Result<Labels, String> {
    let description = description.trim();
    let (name, inner) = match description.split_once('{') {
        Some((name, rest)) => {
            let inner = rest.strip_suffix('}').ok_or("the braces are not closed")?;
            (name.trim(), inner.trim())
        }
        None => (description, ""),
    };
    if !name.is_empty() && !is_metric_name(name) {
        return Err(format!("{name:?} is not a metric name"));
    }
    let named = Labels::from_pairs([(model::METRIC_NAME, name)]);
    if inner.is_empty() {
        return Ok(if name.is_empty() { Labels::empty() } else { named });
    }
    // A selector that only says `=` describes a series.
    let expr =
        promql::parse(&format!("{{{inner}}}")).map_err(|error| error.message().to_owned())?;
    let selectors = expr.selectors();
    let [selector] = selectors.as_slice() else { return Err("not a series".to_owned()) };
    let mut builder = Labels::empty().edit();
    for matcher in selector.matchers.iter() {
        if matcher.op != MatchOp::Equal {
            return Err(format!("label {} must be given with =", matcher.name));
        }
        builder.set(&matcher.name, &matcher.value);
    }
    if !name.is_empty() {
        builder.set(model::METRIC_NAME, name);
    }
    Ok(builder.build())
}

/// A value of a series at a moment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Item {
    /// No sample.
    Gap,
    /// A number, or the marker of the end.
    Float(f64),
    /// A native histogram.
    Native(Arc<Histogram>),
}

/// Reads `1 2+3x4 _x2 stale {{count:1}}x3`.
pub(crate) fn read_values(text: &str) -> Result<Vec<Item>, String> {
    let mut values = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, tail) = rest.split_at(word_len(rest)?);
        rest = tail.trim_start();
        let left = VALUES_MAX - values.len();
        if word.starts_with("{{") {
            values.extend(natives(word, left)?);
            continue;
        }
        let run = read_run(word).ok_or_else(|| {
            format!("{word:?} is no value: write 1, 1x5, 1+2x5, 1-2x5, _, _x5, stale, NaN or Inf")
        })?;
        let Run { first, step, count } = run;
        if count > left {
            return Err(too_many());
        }
        values.extend((0..count).map(|at| match first {
            None => Item::Gap,
            // Adding to a marker would make it another NaN.
            Some(first) if model::is_stale(first) => Item::Float(first),
            Some(first) => Item::Float(first + at as f64 * step),
        }));
    }
    Ok(values)
}

fn too_many() -> String {
    format!("more than {VALUES_MAX} values")
}

/// How long the first word is: up to the next blank that is not within a histogram.
fn word_len(text: &str) -> Result<usize, String> {
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let blank = rest.find(char::is_whitespace).unwrap_or(rest.len());
        match rest.find("{{").filter(|open| *open < blank) {
            None => return Ok(at + blank),
            Some(open) => match rest[open..].find("}}") {
                Some(close) => at += open + close + 2,
                None => return Err("a histogram is not closed by }}".to_owned()),
            },
        }
    }
}

/// Reads `{{…}}`, `{{…}}x3`, `{{…}}+{{…}}x3` or `{{…}}-{{…}}x3`: a histogram, and what is added to or taken from it
/// from one to the next.
fn natives(word: &str, most: usize) -> Result<Vec<Item>, String> {
    let fault = || {
        format!("{word:?} is no histogram: write {{{{…}}}}, {{{{…}}}}x5 or {{{{…}}}}+{{{{…}}}}x5")
    };
    let (all, steps) = match word.rsplit_once("}}").ok_or_else(fault)? {
        (all, "") => (all, 0),
        (all, times) => {
            let digits = times.strip_prefix('x').filter(|digits| is_digits(digits));
            (all, digits.and_then(|digits| digits.parse::<usize>().ok()).ok_or_else(fault)?)
        }
    };
    if steps >= most.min(NATIVES_MAX) {
        return Err(format!("{word:?}: more than {NATIVES_MAX} histograms, or {}", too_many()));
    }
    let read = |inner: &str| Histogram::parse(&format!("{inner}}}}}"));
    let (mut value, step) = match all.split_once("}}") {
        None => (read(all)?, None),
        Some((first, change)) => {
            let (sign, step) = change.split_at_checked(1).ok_or_else(fault)?;
            if !matches!(sign, "+" | "-") {
                return Err(fault());
            }
            (read(first)?, Some((sign == "+", read(step)?)))
        }
    };
    let mut values = Vec::with_capacity(steps + 1);
    for _ in 0..steps {
        let next = match &step {
            None => Some(value.clone()),
            Some((true, step)) => value.plus(step),
            Some((false, step)) => value.minus(step),
        };
        let next =
            next.ok_or_else(|| format!("{word:?}: listed and computed bounds do not mix"))?;
        values.push(Item::Native(Arc::new(std::mem::replace(&mut value, next))));
    }
    values.push(Item::Native(Arc::new(value)));
    Ok(values)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `first`, `first + step`, … ; no `first` for gaps.
struct Run {
    first: Option<f64>,
    step: f64,
    count: usize,
}

fn read_run(word: &str) -> Option<Run> {
    match word {
        "stale" => return Some(Run { first: Some(model::stale_nan()), step: 0.0, count: 1 }),
        "_" => return Some(Run { first: None, step: 0.0, count: 1 }),
        _ => {}
    }
    let Some((value, times)) = word.split_once('x') else {
        return Some(Run { first: Some(number(word)?), step: 0.0, count: 1 });
    };
    if !is_digits(times) {
        return None;
    }
    let times: usize = times.parse().ok()?;
    if value == "_" {
        return Some(Run { first: None, step: 0.0, count: times });
    }
    let (first, step) = match sign_within(value) {
        Some(at) => (number(&value[..at])?, number(&value[at..])?),
        None => (number(value)?, 0.0),
    };
    Some(Run { first: Some(first), step, count: times.checked_add(1)? })
}

/// Where `+` or `-` stands that is neither the sign of the first number nor of an exponent.
fn sign_within(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let is_sign =
        |at: &usize| matches!(bytes[*at], b'+' | b'-') && !matches!(bytes[at - 1], b'e' | b'E');
    (1..bytes.len()).find(is_sign)
}

fn number(text: &str) -> Option<f64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.eq_ignore_ascii_case("inf") {
        return Some(sign * f64::INFINITY);
    }
    if digits.eq_ignore_ascii_case("nan") {
        return Some(f64::NAN);
    }
    let begins = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    begins.then(|| digits.parse::<f64>().ok().map(|value| sign * value))?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(text: &str) -> String {
        let put = |value: &Item| match value {
            Item::Gap => "_".to_owned(),
            Item::Float(value) if model::is_stale(*value) => "stale".to_owned(),
            Item::Float(value) => value.to_string(),
            Item::Native(histogram) => histogram.to_string().replace(' ', ""),
        };
        match read_values(text) {
            Ok(values) => values.iter().map(put).collect::<Vec<_>>().join(" "),
            Err(error) => error,
        }
    }

    #[test]
    fn values_are_written_as_in_promtool() {
        for (text, expected) in [
            ("1 2  -3", "1 2 -3"),
            ("1x3", "1 1 1 1"),
            ("0x2", "0 0 0"),
            ("1+2x3", "1 3 5 7"),
            ("10-2.5x2", "10 7.5 5"),
            ("-1-1x1", "-1 -2"),
            ("1e-1+1e+1x1", "0.1 10.1"),
            ("_ 1 _x3", "_ 1 _ _ _"),
            ("stale 1", "stale 1"),
            ("NaN Inf -inf +Inf", "NaN inf -inf inf"),
            ("", ""),
        ] {
            assert_eq!(values(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_promtool_refuses_is_refused() {
        for text in ["1x", "x3", "1+x3", "1+2", "stalex3", "0x1F", "1,2", "a", "1+-2x3", "_+1x2"] {
            assert!(read_values(text).is_err(), "{text:?}");
        }
        assert!(read_values("1x99999999999").unwrap_err().contains("more than"));
    }

    #[test]
    fn native_histograms_are_values_too() {
        for (text, expected) in [
            ("{{count:2 sum:3}}", "{count:2,sum:3}"),
            ("1 {{count:2}} _ stale", "1 {count:2,sum:0} _ stale"),
            ("{{count:1}}x2", "{count:1,sum:0} {count:1,sum:0} {count:1,sum:0}"),
            (
                "{{count:2 buckets:[1 1]}}+{{count:1 buckets:[1]}}x1",
                "{count:2,sum:0,(0.5,1]:1,(1,2]:1} {count:3,sum:0,(0.5,1]:2,(1,2]:1}",
            ),
            (
                "{{count:5 sum:9}}-{{count:1 sum:2}}x2 7",
                "{count:5,sum:9} {count:4,sum:7} {count:3,sum:5} 7",
            ),
        ] {
            assert_eq!(values(text), expected, "{text}");
        }
        for text in [
            "{{count:1",
            "{{count:1}}y",
            "{{count:1}}x",
            "{{count:1}}+3x2",
            "{{count:1}}*{{count:1}}x2",
            "{{width:1}}",
            "{{count:1}}{{count:1}}",
            "{{schema:-53 custom_values:[1]}}+{{count:1}}x1",
            "x{{count:1}}",
            "{{count:1}}x99999999999",
        ] {
            assert!(read_values(text).is_err(), "{text:?}: {:?}", read_values(text));
        }
    }

    #[test]
    fn a_series_is_a_name_and_labels() {
        for (text, expected) in [
            ("up", "up"),
            ("up{}", "up"),
            (r#"up{b="2",a="1"}"#, r#"up{a="1", b="2"}"#),
            (r#"{__name__="up", a='x'}"#, r#"up{a="x"}"#),
            ("sum{by=\"x\"}", r#"sum{by="x"}"#),
            ("{}", "{}"),
            ("", "{}"),
        ] {
            assert_eq!(read_labels(text).map(|l| l.to_string()).as_deref(), Ok(expected), "{text}");
        }
        for text in ["up{a=~\"x\"}", "up{", "2up", "up{a=1}", "a b"] {
            assert!(read_labels(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(
            text in ".{0,40}",
            near in "[0-9x+_ eNaIinfstale.-]{0,30}",
            native in "(\\{\\{|\\}\\}|count:1|sum:2|buckets:\\[1 2\\]|x[0-9]|[ +-]|é){0,12}",
        ) {
            for text in [&text, &near, &native] {
                let _ = read_values(text);
                let _ = read_labels(text);
                let _ = read_labels(&format!("a{{{text}}}"));
            }
        }
    }
}
