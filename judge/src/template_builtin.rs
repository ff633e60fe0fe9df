//! Go's own functions that make texts, with their work counted, and Go's way to print a number.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use gotmpl::{FuncMap, Value};

use crate::template_functions::add;
use crate::template_scene::fault;

/// The functions of Go that make texts out of their arguments and that the crate is asked for.
const NAMES: [&str; 4] = ["printf", "html", "js", "urlquery"];
/// Arguments that one of them may be given.
const ARGUMENTS_MAX: usize = 32;

/// The crate does not hand out its functions, so each is called through a template that does nothing else,
/// one for every number of arguments.
static CALLS: LazyLock<BTreeMap<(&str, usize), gotmpl::Template>> = LazyLock::new(|| {
    let counts =
        NAMES.into_iter().flat_map(|name| (0..=ARGUMENTS_MAX).map(move |count| (name, count)));
    let calling = |(name, count): (&'static str, usize)| {
        let args: String = (0..count).map(|at| format!(" .a{at}")).collect();
        let parsed = gotmpl::Template::new("").parse(&format!("{{{{{name}{args}}}}}")).ok()?;
        Some(((name, count), parsed))
    };
    counts.filter_map(calling).collect()
});

/// Puts functions whose work is counted in the place of those that would write texts of any length.
pub(crate) fn bounded(map: &mut FuncMap) {
    add(map, "print", |args| Ok(text(print(args))));
    add(map, "println", |args| {
        let words: Vec<String> = args.iter().map(written).collect();
        Ok(text(words.join(" ") + "\n"))
    });
    add(map, "printf", |args| match args {
        [Value::String(format), rest @ ..] => call("printf", &prepared(format, rest)),
        _ => Err(fault("printf: a format expected".to_owned())),
    });
    for name in ["html", "js", "urlquery"] {
        add(map, name, move |args| match args {
            [number @ Value::Float(_)] => call(name, &[text(written(number))]),
            _ => call(name, args),
        });
    }
}

/// A value as an action prints it.
pub(crate) fn printed(value: &Value) -> Value {
    match value {
        Value::Nil | Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::String(_) => {
            value.clone()
        }
        _ => text(written(value)),
    }
}

/// As `fmt.Sprint`: a blank between operands of which neither is a text.
fn print(args: &[Value]) -> String {
    let mut joined = String::new();
    for (at, arg) in args.iter().enumerate() {
        let is_text = |value: &Value| matches!(value, Value::String(_));
        if at > 0 && !is_text(arg) && !is_text(&args[at - 1]) {
            joined.push(' ');
        }
        joined.push_str(&written(arg));
    }
    joined
}

/// The format and its arguments, where numbers with a fraction and lists under `%v` are already texts: the
/// crate writes the numbers in them as Rust does.
fn prepared(format: &Arc<str>, args: &[Value]) -> Vec<Value> {
    let mut all = vec![Value::String(format.clone())];
    all.extend(args.iter().cloned());
    let mut next = 1;
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            continue;
        }
        for letter in letters.by_ref() {
            match letter {
                '*' => next += 1,
                '0'..='9' | '.' | '+' | '-' | '#' | ' ' => {}
                '%' => break,
                verb => {
                    let arg = all.get_mut(next).filter(|arg| {
                        matches!(arg, Value::Float(_) | Value::List(_) | Value::Map(_))
                    });
                    if let (Some(arg), 'v') = (arg, verb) {
                        *arg = text(written(arg));
                    }
                    next += 1;
                    break;
                }
            }
        }
    }
    all
}

/// A value as Go's `%v` writes it.
fn written(value: &Value) -> String {
    match value {
        Value::Float(number) => go_float(*number),
        Value::List(items) => {
            format!("[{}]", items.iter().map(written).collect::<Vec<_>>().join(" "))
        }
        Value::Map(map) => {
            let pairs: Vec<String> =
                map.iter().map(|(key, value)| format!("{key}:{}", written(value))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}

/// A number as Go prints it: the shortest digits that mean it, with an exponent when it is below 10⁻⁴ or not
/// below 10⁶.
fn go_float(number: f64) -> String {
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

fn text(written: String) -> Value {
    Value::String(written.into())
}

fn call(name: &'static str, args: &[Value]) -> gotmpl::Result<Value> {
    let Some(template) = CALLS.get(&(name, args.len())) else {
        return Err(fault(format!("{name}: more than {ARGUMENTS_MAX} arguments")));
    };
    let named = args.iter().enumerate().map(|(at, arg)| (Arc::from(format!("a{at}")), arg.clone()));
    let data = Value::Map(Arc::new(named.collect()));
    template.execute_to_string(&data).map(|text| Value::String(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_find_their_arguments() {
        let written = |format: &str, args: &[Value]| {
            let args = prepared(&Arc::from(format), args);
            call("printf", &args).expect("a format").to_string()
        };
        let (million, list) = (Value::Float(1e6), Value::List(Arc::from([Value::Float(1e7)])));
        assert_eq!(written("%d %v", &[Value::Int(1), million.clone()]), "1 1e+06");
        assert_eq!(
            written("%*d|%8v|%v", &[Value::Int(3), Value::Int(1), million.clone(), list]),
            "  1|   1e+06|[1e+07]"
        );
        assert_eq!(written("100%% %.1f", &[million]), "100% 1000000.0");
    }

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
}
