//! The templates that most rules have: texts with `{{ $labels.NAME }}` and `{{ $value }}` in them, and nothing else.
//! They are filled in without the template engine, which would take most of the time of an evaluation: an alert whose
//! condition holds has its texts made at every one.

use std::fmt::Write;

use model::Labels;

/// Longer texts are left to the template engine and its limits.
const SOURCE_BYTES_MAX: usize = 4096;

/// The text, as the template engine would make it. `None` when the template has something else in it.
pub(crate) fn render(source: &str, labels: &Labels, value: f64) -> Option<String> {
    if source.len() > SOURCE_BYTES_MAX {
        return None;
    }
    let mut text = String::with_capacity(source.len() + 32);
    let mut rest = source;
    while let Some((before, action)) = rest.split_once("{{") {
        let (action, after) = action.split_once("}}")?;
        text.push_str(before);
        match action.trim_matches(' ') {
            "$value" => push_number(&mut text, value),
            other => {
                let name = other.strip_prefix("$labels.").filter(|name| is_name(name))?;
                text.push_str(labels.get(name).unwrap_or(""));
            }
        }
        rest = after;
    }
    text.push_str(rest);
    Some(text)
}

fn is_name(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    text.bytes().next().is_some_and(is_letter)
        && text.bytes().all(|byte| is_letter(byte) || byte.is_ascii_digit())
}

/// A number as the template engine prints it: the shortest digits that mean it, with an exponent when it is below
/// 10⁻⁴ or not below 10⁶.
fn push_number(text: &mut String, number: f64) {
    let is_plain = number == 0.0 || (1e-4..1e6).contains(&number.abs());
    let written = if number.is_nan() {
        text.write_str("NaN")
    } else if number.is_infinite() {
        text.write_str(if number > 0.0 { "+Inf" } else { "-Inf" })
    } else if is_plain {
        write!(text, "{number}")
    } else {
        let scientific = format!("{number:e}");
        let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        let (sign, exponent) =
            exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
        write!(text, "{digits}e{sign}{exponent:0>2}")
    };
    written.expect("a String takes whatever is written");
}

#[cfg(test)]
mod tests {
    use model::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::template::{Surroundings, Template};
    use crate::template_scene::{Lookups, Scene};

    /// What the template engine makes of it.
    fn engine(source: &str, labels: &Labels, value: f64) -> String {
        let surroundings = Surroundings::default();
        let lookups = Lookups::default();
        let scene = Scene { surroundings: &surroundings, at: Timestamp(0), lookups };
        let template = Template::parse(source).expect("it is a template");
        template.render(labels, value, &scene).expect("it can be rendered")
    }

    #[test]
    fn whatever_else_is_in_a_template_is_left_to_the_engine() {
        for source in [
            "{{ $value | humanize }}",
            "{{- $value }}",
            "{{ $value -}} x",
            "{{ $labels }}",
            "{{ $labels.a.b }}",
            "{{ $labels.1 }}",
            "{{ .Value }}",
            "{{/* no */}}",
            "{{ $value",
            "{{\"}}\"}}",
            "{{}}",
        ] {
            assert_eq!(render(source, &Labels::empty(), 1.0), None, "{source}");
        }
    }

    proptest! {
        #[test]
        fn texts_are_those_of_the_engine(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "{{ $value }}", "{{$value}}", "{{  $labels.host  }}", "{{$labels.none}}", "{{ $labels._a1 }}",
                " ", "}", "}}", "%", "x{y", "größer\n", "\"", "{",
            ]), 0..6),
            host in "[a-z<&\"{}]{0,5}",
            value in prop_oneof![any::<f64>(), -2e6..2e6, Just(1e6), Just(1e-4), Just(0.0), Just(-0.0), (-9i32..9).prop_map(|e| 10f64.powi(e))],
        ) {
            let source = pieces.concat();
            let labels = Labels::from_pairs([("host", host.as_str()), ("_a1", "1")]);
            // Pieces may join to another action.
            if let (Some(text), true) = (render(&source, &labels, value), !source.contains("{{{")) {
                prop_assert_eq!(text, engine(&source, &labels, value));
            }
        }
    }
}
