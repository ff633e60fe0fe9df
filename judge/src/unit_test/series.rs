//! Series as test files write them: a description, and a run of values.

use model::{Labels, MatchOp, is_metric_name};

/// Values that one series may have.
const VALUES_MAX: usize = 1_000_000;

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

/// Reads `1 2+3x4 _x2 stale`; `None` is a gap.
pub(crate) fn read_values(text: &str) -> Result<Vec<Option<f64>>, String> {
    let mut values = Vec::new();
    if text.contains("{{") {
        return Err("native histograms are not kept by Saker's store; test with floats".to_owned());
    }
    for word in text.split_whitespace() {
        let run = read_run(word).ok_or_else(|| {
            format!("{word:?} is no value: write 1, 1x5, 1+2x5, 1-2x5, _, _x5, stale, NaN or Inf")
        })?;
        if run.count > VALUES_MAX - values.len() {
            return Err(format!("more than {VALUES_MAX} values"));
        }
        values.extend((0..run.count).map(|at| Some(run.first? + at as f64 * run.step)));
        // Adding to a marker would make it another NaN.
        if run.first.is_some_and(model::is_stale) {
            let from = values.len() - run.count;
            values[from..].fill(run.first);
        }
    }
    Ok(values)
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
    if times.is_empty() || !times.bytes().all(|byte| byte.is_ascii_digit()) {
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
        let put = |value: &Option<f64>| match value {
            None => "_".to_owned(),
            Some(value) if model::is_stale(*value) => "stale".to_owned(),
            Some(value) => value.to_string(),
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
        assert!(read_values("{{schema:1}}").unwrap_err().contains("histograms"));
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
        fn no_text_makes_it_panic(text in ".{0,40}", near in "[0-9x+_ eNaIinfstale.-]{0,30}") {
            for text in [&text, &near] {
                let _ = read_values(text);
                let _ = read_labels(text);
                let _ = read_labels(&format!("a{{{text}}}"));
            }
        }
    }
}
