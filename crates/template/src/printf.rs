//! Go's `printf`.

use crate::print::{TEXT_BYTES_MAX, go_float, write};
use crate::value::Value;

/// The widest field and the most decimals.
const WIDTH_MAX: usize = 10_000;

/// Flags, width and precision of one verb.
#[derive(Debug, Default, Clone, Copy)]
struct Form {
    minus: bool,
    plus: bool,
    sharp: bool,
    blank: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Fills the arguments into the format, which is the first of them.
pub(crate) fn printf(args: &[Value]) -> Result<String, String> {
    let [format, args @ ..] = args else { return Err("printf takes a format".to_owned()) };
    let format = format.as_text().ok_or("printf takes a format")?;
    let mut out = String::new();
    let (mut next, mut rest) = (0, format);
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let (form, verb, after) = spec(&rest[at + 1..], args, &mut next)?;
        rest = after;
        match verb {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match args.get(next) {
                None => out.push_str(&format!("%!{verb}(MISSING)")),
                Some(arg) => {
                    next += 1;
                    field(form, verb, arg, &mut out)?;
                }
            },
        }
        if out.len() > TEXT_BYTES_MAX {
            return Err(format!("printf: more than {TEXT_BYTES_MAX} bytes"));
        }
    }
    out.push_str(rest);
    if next < args.len() {
        out.push_str("%!(EXTRA ");
        for (at, arg) in args[next..].iter().enumerate() {
            out.push_str(if at > 0 { ", " } else { "" });
            out.push_str(&format!("{}=", arg.type_name()));
            write(arg, &mut out)?;
        }
        out.push(')');
    }
    Ok(out)
}

/// Reads what stands between `%` and its verb.
fn spec<'a>(
    text: &'a str,
    args: &[Value],
    next: &mut usize,
) -> Result<(Form, Option<char>, &'a str), String> {
    let mut form = Form::default();
    let mut rest = text;
    while let Some(flag) = rest.chars().next() {
        match flag {
            '-' => form.minus = true,
            '+' => form.plus = true,
            '#' => form.sharp = true,
            ' ' => form.blank = true,
            '0' => form.zero = true,
            _ => break,
        }
        rest = &rest[1..];
    }
    let mut number = |rest: &mut &'a str| -> Result<Option<i64>, String> {
        if let Some(after) = rest.strip_prefix('*') {
            *rest = after;
            let Some(Value::Int(number)) = args.get(*next) else {
                return Err("printf: * takes a whole number".to_owned());
            };
            *next += 1;
            return Ok(Some(*number));
        }
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (digits, after) = rest.split_at(end);
        *rest = after;
        if digits.is_empty() { Ok(None) } else { Ok(Some(digits.parse().unwrap_or(i64::MAX))) }
    };
    let limited = |number: i64| match usize::try_from(number.unsigned_abs()) {
        Ok(number) if number <= WIDTH_MAX => Ok(number),
        _ => Err(format!("printf: a width of {number}; {WIDTH_MAX} is the most")),
    };
    if let Some(width) = number(&mut rest)? {
        form.minus |= width < 0;
        form.width = Some(limited(width)?);
    }
    if let Some(after) = rest.strip_prefix('.') {
        rest = after;
        form.precision = Some(limited(number(&mut rest)?.unwrap_or(0))?);
    }
    let verb = rest.chars().next();
    Ok((form, verb, &rest[verb.map_or(0, char::len_utf8)..]))
}

fn field(form: Form, verb: char, arg: &Value, out: &mut String) -> Result<(), String> {
    let done = match (arg, verb) {
        (Value::Nil, 'v') => Some("<nil>".to_owned()),
        (Value::Nil, verb) => Some(format!("%!{verb}(<nil>)")),
        (Value::Bool(value), verb) => matches!(verb, 'v' | 't').then(|| value.to_string()),
        (Value::Int(value), verb) => integer(form, verb, *value),
        (Value::Span(nanos), 'd') => integer(form, 'd', *nanos),
        (Value::Float(value), verb) => float(form, verb, *value),
        (Value::List(list), verb) if verb != 'v' => {
            return each(form, verb, &list.items, out);
        }
        (other, verb) => textual(form, verb, other)?,
    };
    match done {
        Some(text) => pad(form, &text, out),
        None => {
            out.push_str(&format!("%!{verb}({}=", arg.type_name()));
            write(arg, out)?;
            out.push(')');
        }
    }
    Ok(())
}

/// A list under a verb for its elements.
fn each(form: Form, verb: char, items: &[Value], out: &mut String) -> Result<(), String> {
    out.push('[');
    for (at, item) in items.iter().enumerate() {
        out.push_str(if at > 0 { " " } else { "" });
        if let Value::List(_) = item {
            write(item, out)?;
        } else {
            field(form, verb, item, out)?;
        }
        if out.len() > TEXT_BYTES_MAX {
            return Err(format!("printf: more than {TEXT_BYTES_MAX} bytes"));
        }
    }
    out.push(']');
    Ok(())
}

fn textual(form: Form, verb: char, value: &Value) -> Result<Option<String>, String> {
    let mut text = String::new();
    write(value, &mut text)?;
    if let Some(most) = form.precision
        && matches!(verb, 's' | 'q' | 'v')
    {
        text = text.chars().take(most).collect();
    }
    let is_text = value.as_text().is_some();
    Ok(match verb {
        'v' | 's' => Some(text),
        'q' if is_text => Some(quoted(&text, form.sharp)),
        'x' if is_text => Some(text.bytes().map(|byte| format!("{byte:02x}")).collect()),
        'X' if is_text => Some(text.bytes().map(|byte| format!("{byte:02X}")).collect()),
        _ => None,
    })
}

/// A text as a literal of Go.
fn quoted(text: &str, is_raw: bool) -> String {
    if is_raw && !text.contains('`') {
        return format!("`{text}`");
    }
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            letter if letter.is_ascii_control() => {
                quoted.push_str(&format!("\\x{:02x}", u32::from(letter)));
            }
            letter if letter.is_control() => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

fn integer(form: Form, verb: char, value: i64) -> Option<String> {
    let size = value.unsigned_abs();
    let digits = match verb {
        'v' | 'd' => size.to_string(),
        'b' => format!("{size:b}"),
        'o' => format!("{}{size:o}", if form.sharp { "0" } else { "" }),
        'x' => format!("{}{size:x}", if form.sharp { "0x" } else { "" }),
        'X' => format!("{}{size:X}", if form.sharp { "0X" } else { "" }),
        'c' => return letter(value).map(String::from),
        'q' => return letter(value).map(|letter| format!("'{letter}'")),
        'U' => return Some(format!("U+{size:04X}")),
        _ => return None,
    };
    let digits = match form.precision {
        Some(least) => format!("{digits:0>least$}"),
        None => digits,
    };
    Some(signed(form, value < 0, digits))
}

fn letter(value: i64) -> Option<char> {
    u32::try_from(value).ok().and_then(char::from_u32)
}

fn float(form: Form, verb: char, value: f64) -> Option<String> {
    let size = value.abs();
    let is_negative = value.is_sign_negative() && !value.is_nan();
    let decimals = form.precision.unwrap_or(6);
    let digits = match verb {
        _ if value.is_nan() => return Some("NaN".to_owned()),
        'v' | 'g' | 'G' | 'e' | 'E' | 'f' | 'F' if value.is_infinite() => {
            return Some(if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned());
        }
        'v' | 'g' if form.precision.is_none() => go_float(size),
        'v' | 'g' => significant(size, decimals),
        'G' => significant(size, form.precision.unwrap_or(17)).to_uppercase(),
        'f' | 'F' => format!("{size:.decimals$}"),
        'e' => exponential(size, decimals),
        'E' => exponential(size, decimals).to_uppercase(),
        _ => return None,
    };
    Some(signed(form, is_negative, digits))
}

/// `1.500000e+03`.
fn exponential(size: f64, decimals: usize) -> String {
    let text = format!("{size:.decimals$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |left| ('-', left));
    format!("{digits}e{sign}{exponent:0>2}")
}

/// So many digits that count, the zeros at the end left out.
fn significant(size: f64, digits: usize) -> String {
    let digits = digits.max(1);
    let text = exponential(size, digits - 1);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "+00"));
    let shift: i64 = exponent.parse().unwrap_or(0);
    let most = i64::try_from(digits).unwrap_or(i64::MAX);
    let bare = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if shift < -4 || shift >= most {
        return format!("{}e{exponent}", bare(mantissa));
    }
    let decimals = usize::try_from(most - 1 - shift).unwrap_or(0);
    bare(&format!("{size:.decimals$}"))
}

/// The number with its sign, and with zeros up to the width when so asked.
fn signed(form: Form, is_negative: bool, digits: String) -> String {
    let sign = match (is_negative, form.plus, form.blank) {
        (true, ..) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        _ => "",
    };
    match form.width {
        Some(width) if form.zero && !form.minus => {
            let least = width.saturating_sub(sign.len());
            format!("{sign}{digits:0>least$}")
        }
        _ => format!("{sign}{digits}"),
    }
}

fn pad(form: Form, text: &str, out: &mut String) {
    let fill = form.width.unwrap_or(0).saturating_sub(text.chars().count());
    let fill = std::iter::repeat_n(' ', fill);
    if form.minus {
        out.push_str(text);
        out.extend(fill);
    } else {
        out.extend(fill);
        out.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(format: &str, args: &[Value], expected: &str) {
        let all: Vec<Value> =
            [Value::text(format)].into_iter().chain(args.iter().cloned()).collect();
        assert_eq!(printf(&all).as_deref(), Ok(expected), "{format}");
    }

    #[test]
    fn verbs_are_those_of_go() {
        let (million, list) = (Value::Float(1e6), Value::list([Value::Float(1e7)]));
        check("%d %v", &[Value::Int(1), million.clone()], "1 1e+06");
        check(
            "%*d|%8v|%v",
            &[Value::Int(3), Value::Int(1), million.clone(), list],
            "  1|   1e+06|[1e+07]",
        );
        check("100%% %.1f", &[million], "100% 1000000.0");
        check(
            "%05d|%+d|%-4d|%x|%#x|%o",
            &[-42, 7, 7, 255, 255, 8].map(Value::Int),
            "-0042|+7|7   |ff|0xff|10",
        );
        check(
            "%6.2f|%e|%g|%.3g",
            &[1.0, 1234.5, 0.1, 1234.5].map(Value::Float),
            "  1.00|1.234500e+03|0.1|1.23e+03",
        );
        check(
            "%s|%q|%-5s|%5s|%.2s|%x",
            &["a", "b\"\n", "c", "d", "émü", "hi"].map(Value::text),
            "a|\"b\\\"\\n\"|c    |    d|ém|6869",
        );
        check(
            "%t %v %s",
            &[Value::Bool(true), Value::Nil, Value::list([Value::text("x")])],
            "true <nil> [x]",
        );
        check("%d %s", &[Value::Span(5), Value::Span(90_000_000_000)], "5 1m30s");
        check("%c%U", &[Value::Int(65), Value::Int(0x4e2d)], "AU+4E2D");
    }

    #[test]
    fn mistakes_are_written_out_as_go_does() {
        check("%d", &[], "%!d(MISSING)");
        check("%d", &[Value::text("x")], "%!d(string=x)");
        check("x", &[Value::Int(1)], "x%!(EXTRA int=1)");
        check("%z %", &[Value::Int(1)], "%!z(int=1) %!(NOVERB)");
        check("%s %s", &[Value::Bool(true), Value::Nil], "%!s(bool=true) %!s(<nil>)");
        assert!(printf(&[Value::text("%99999999d"), Value::Int(1)]).is_err());
    }

    proptest! {
        #[test]
        fn no_format_makes_it_panic(format in "[%a-zA-Z0-9.*+# -]{0,20}", number: i64, float: f64, text in ".{0,8}") {
            let args = [Value::text(format), Value::Int(number), Value::Float(float), Value::text(text),
                Value::Span(number), Value::Nil, Value::list([Value::Int(number)])];
            let _ = printf(&args);
        }
    }
}
