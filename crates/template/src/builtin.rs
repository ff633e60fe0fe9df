//! Go's own functions of templates.

use std::cmp::Ordering;

use crate::print::write;
use crate::printf::printf;
use crate::value::Value;
use crate::{Answer, Function};

/// All of them by name.
pub(crate) fn all() -> impl Iterator<Item = (&'static str, Function)> {
    type Pure = fn(&[Value]) -> Answer;
    let pure: [(&str, Pure); 17] = [
        ("not", not),
        ("eq", eq),
        ("ne", |args| Ok(Value::Bool(!equal(two("ne", args)?)?))),
        ("lt", |args| ordered("lt", args, Ordering::is_lt)),
        ("le", |args| ordered("le", args, Ordering::is_le)),
        ("gt", |args| ordered("gt", args, Ordering::is_gt)),
        ("ge", |args| ordered("ge", args, Ordering::is_ge)),
        ("len", len),
        ("index", index),
        ("slice", slice),
        ("print", |args| Ok(Value::text(print(args)?))),
        ("println", |args| Ok(Value::text(println(args)?))),
        ("printf", |args| Ok(Value::text(printf(args)?))),
        ("html", |args| escaped(args, gotmpl::html_escape)),
        ("js", |args| escaped(args, gotmpl::js_escape)),
        ("urlquery", |args| escaped(args, gotmpl::url_encode)),
        ("call", |_| Err("call: no value here is a function".to_owned())),
    ];
    let pure = pure.into_iter().map(|(name, function)| (name, Function::Pure(function)));
    pure.chain([("and", Function::Lazy), ("or", Function::Lazy)])
}

fn not(args: &[Value]) -> Answer {
    match args {
        [value] => Ok(Value::Bool(!value.is_true())),
        _ => Err("not takes one argument".to_owned()),
    }
}

fn two<'a>(name: &str, args: &'a [Value]) -> Result<(&'a Value, &'a Value), String> {
    match args {
        [left, right] => Ok((left, right)),
        _ => Err(format!("{name} takes two arguments, not {}", args.len())),
    }
}

/// Whether the first is equal to any of the others.
fn eq(args: &[Value]) -> Answer {
    let [first, others @ ..] = args else { return Err("eq takes two arguments".to_owned()) };
    if others.is_empty() {
        return Err("missing argument for comparison".to_owned());
    }
    for other in others {
        if equal((first, other))? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn equal((left, right): (&Value, &Value)) -> Result<bool, String> {
    match (left, right) {
        (Value::Nil, other) | (other, Value::Nil) => Ok(matches!(other, Value::Nil)),
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Float(a), Value::Float(b)) => Ok(a == b),
        (Value::Int(a) | Value::Span(a), Value::Int(b) | Value::Span(b)) => Ok(a == b),
        (Value::Time(a), Value::Time(b)) => Ok(a == b),
        (a, b) => match (a.as_text(), b.as_text()) {
            (Some(a), Some(b)) => Ok(a == b),
            _ => Err(incompatible(a, b)),
        },
    }
}

fn incompatible(a: &Value, b: &Value) -> String {
    format!("incompatible types for comparison: {} and {}", a.type_name(), b.type_name())
}

fn ordered(name: &str, args: &[Value], is_so: fn(Ordering) -> bool) -> Answer {
    let order = match two(name, args)? {
        (Value::Int(a) | Value::Span(a), Value::Int(b) | Value::Span(b)) => a.cmp(b),
        (Value::Float(a), Value::Float(b)) => match a.partial_cmp(b) {
            Some(order) => order,
            // Nothing is smaller or larger than what is no number.
            None => return Ok(Value::Bool(false)),
        },
        (a, b) => match (a.as_text(), b.as_text()) {
            (Some(a), Some(b)) => a.cmp(b),
            _ => return Err(incompatible(a, b)),
        },
    };
    Ok(Value::Bool(is_so(order)))
}

fn len(args: &[Value]) -> Answer {
    let [value] = args else { return Err("len takes one argument".to_owned()) };
    let len = value.len().ok_or_else(|| format!("len of type {}", value.type_name()))?;
    Ok(Value::Int(i64::try_from(len).unwrap_or(i64::MAX)))
}

fn index(args: &[Value]) -> Answer {
    let [value, keys @ ..] = args else { return Err("index takes a value".to_owned()) };
    let mut found = value.to_owned();
    for key in keys {
        found = entry(&found, key)?;
    }
    Ok(found)
}

fn entry(value: &Value, key: &Value) -> Answer {
    match (value, key) {
        (Value::List(list), Value::Int(at)) => {
            let found = usize::try_from(*at).ok().and_then(|at| list.items.get(at));
            found.cloned().ok_or_else(|| format!("index out of range: {at}"))
        }
        (Value::Text(text) | Value::Safe(text), Value::Int(at)) => {
            let found = usize::try_from(*at).ok().and_then(|at| text.as_bytes().get(at));
            let byte = found.ok_or_else(|| format!("index out of range: {at}"))?;
            Ok(Value::Int(i64::from(*byte)))
        }
        (Value::Labels(_) | Value::Pairs(_), Value::Text(name)) => {
            Ok(value.field(name).unwrap_or_else(|| Value::text("")))
        }
        (Value::Map(map), Value::Text(name)) => Ok(map.get(name).cloned().unwrap_or(Value::Nil)),
        (Value::Nil, _) => Err("index of untyped nil".to_owned()),
        _ => Err(format!("cannot index {} with {}", value.type_name(), key.type_name())),
    }
}

fn slice(args: &[Value]) -> Answer {
    let [value, bounds @ ..] = args else { return Err("slice takes a value".to_owned()) };
    let whole = value.len().ok_or_else(|| format!("can't slice {}", value.type_name()))?;
    let bound = |at: usize, usual: usize| match bounds.get(at) {
        None => Ok(usual),
        Some(Value::Int(bound)) => usize::try_from(*bound)
            .ok()
            .filter(|bound| *bound <= whole)
            .ok_or_else(|| format!("index out of range: {bound}")),
        Some(other) => Err(format!("cannot index slice with type {}", other.type_name())),
    };
    let (from, to) = (bound(0, 0)?, bound(1, whole)?);
    if bounds.len() > 2 || from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    match value {
        Value::List(list) => {
            let items = list.items[from..to].into();
            Ok(Value::List(crate::List { items, kind: list.kind }))
        }
        Value::Text(text) => {
            let part = text.get(from..to);
            let part = part.ok_or_else(|| "slice: it would cut a letter in two".to_owned())?;
            Ok(Value::text(part))
        }
        other => Err(format!("can't slice {}", other.type_name())),
    }
}

/// As `fmt.Sprint`: a blank between operands of which neither is a text.
fn print(args: &[Value]) -> Result<String, String> {
    let mut joined = String::new();
    for (at, arg) in args.iter().enumerate() {
        let is_text = |value: &Value| value.as_text().is_some();
        if at > 0 && !is_text(arg) && !is_text(&args[at - 1]) {
            joined.push(' ');
        }
        write(arg, &mut joined)?;
    }
    Ok(joined)
}

fn println(args: &[Value]) -> Result<String, String> {
    let mut joined = String::new();
    for (at, arg) in args.iter().enumerate() {
        joined.push_str(if at > 0 { " " } else { "" });
        write(arg, &mut joined)?;
    }
    joined.push('\n');
    Ok(joined)
}

fn escaped(args: &[Value], escape: fn(&str) -> String) -> Answer {
    Ok(Value::text(match args {
        [Value::Text(text) | Value::Safe(text)] => escape(text),
        args => escape(&print(args)?),
    }))
}
