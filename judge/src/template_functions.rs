//! The functions of Prometheus' templates.

use std::collections::BTreeMap;
use std::sync::Arc;

use gotmpl::{FuncMap, TemplateError, Value};
use model::PatternScope;
use regex::Regex;

use crate::humanize;

type Answer = gotmpl::Result<Value>;

/// All functions by name.
pub(crate) fn all() -> FuncMap {
    let mut map = FuncMap::new();
    number(&mut map, "humanize", humanize::humanize);
    number(&mut map, "humanize1024", humanize::humanize1024);
    number(&mut map, "humanizeDuration", humanize::humanize_duration);
    number(&mut map, "humanizePercentage", humanize::humanize_percentage);
    number(&mut map, "humanizeTimestamp", humanize::humanize_timestamp);
    text(&mut map, "title", title);
    text(&mut map, "toUpper", str::to_uppercase);
    text(&mut map, "toLower", str::to_lowercase);
    text(&mut map, "stripPort", strip_port);
    text(&mut map, "stripDomain", strip_domain);
    text(&mut map, "urlQueryEscape", query_escape);
    text(&mut map, "safeHtml", str::to_owned);
    text(&mut map, "graphLink", |expr| format!("/graph?g0.expr={}&g0.tab=0", query_escape(expr)));
    text(&mut map, "tableLink", |expr| format!("/graph?g0.expr={}&g0.tab=1", query_escape(expr)));
    add(&mut map, "match", |args| {
        let [pattern, text] = texts(args)?;
        Ok(Value::Bool(regex(&pattern)?.is_match(&text)))
    });
    add(&mut map, "reReplaceAll", |args| {
        let [pattern, replacement, text] = texts(args)?;
        Ok(string(&regex(&pattern)?.replace_all(&text, replacement.as_ref())))
    });
    add(&mut map, "parseDuration", |args| {
        let [text] = texts(args)?;
        parse_duration(&text).map(Value::Float)
    });
    add(&mut map, "args", |args| {
        let named =
            args.iter().enumerate().map(|(i, arg)| (Arc::from(format!("arg{i}")), arg.clone()));
        Ok(Value::Map(Arc::new(named.collect::<BTreeMap<_, _>>())))
    });
    map
}

fn add(
    map: &mut FuncMap,
    name: &str,
    function: impl Fn(&[Value]) -> Answer + Send + Sync + 'static,
) {
    map.insert(name.to_owned(), Arc::new(function));
}

fn number(map: &mut FuncMap, name: &str, write: fn(f64) -> String) {
    add(map, name, move |args| match args {
        [value] => Ok(string(&write(as_number(value)?))),
        _ => Err(fault(format!("one number expected, got {} arguments", args.len()))),
    });
}

fn text(map: &mut FuncMap, name: &str, write: fn(&str) -> String) {
    add(map, name, move |args| {
        let [text] = texts(args)?;
        Ok(string(&write(&text)))
    });
}

fn as_number(value: &Value) -> gotmpl::Result<f64> {
    match value {
        Value::Float(number) => Ok(*number),
        Value::Int(number) => Ok(*number as f64),
        Value::Uint(number) => Ok(*number as f64),
        Value::String(text) => text.parse().map_err(|_| fault(format!("{text:?} is not a number"))),
        other => Err(fault(format!("a {} is not a number", other.type_name()))),
    }
}

fn texts<const N: usize>(args: &[Value]) -> gotmpl::Result<[Arc<str>; N]> {
    let mut found = Vec::with_capacity(N);
    for arg in args {
        match arg {
            Value::String(text) => found.push(text.clone()),
            other => return Err(fault(format!("a text expected, got a {}", other.type_name()))),
        }
    }
    found.try_into().map_err(|_| fault(format!("{N} texts expected, got {}", args.len())))
}

fn regex(pattern: &str) -> gotmpl::Result<Regex> {
    model::compile_pattern(pattern, PatternScope::Part).map_err(|error| fault(error.to_string()))
}

fn string(text: &str) -> Value {
    Value::String(Arc::from(text))
}

fn fault(message: String) -> TemplateError {
    TemplateError::Exec(message)
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

fn strip_port(address: &str) -> String {
    let bare = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) if port.starts_with(':') => host,
        // More than one colon without brackets is an IPv6 address without a port.
        None if address.matches(':').count() == 1 => address.split(':').next().unwrap_or(address),
        _ => address,
    };
    bare.to_owned()
}

fn strip_domain(address: &str) -> String {
    let host = strip_port(address);
    let port = address.strip_prefix(host.as_str()).unwrap_or("");
    if host.parse::<std::net::IpAddr>().is_ok() || address.starts_with('[') {
        return address.to_owned();
    }
    let short = host.split('.').next().unwrap_or(&host);
    format!("{short}{port}")
}

/// Escapes for the value of a query parameter, a blank as `+`.
pub(crate) fn query_escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte))
            }
            b' ' => escaped.push('+'),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

fn parse_duration(text: &str) -> gotmpl::Result<f64> {
    let (sign, span) = text.strip_prefix('-').map_or((1.0, text), |span| (-1.0, span));
    let span = model::parse_duration(span).map_err(|error| fault(error.to_string()))?;
    Ok(sign * span.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use model::Labels;

    use crate::template::{Surroundings, Template};

    fn check(source: &str, text: &str) {
        let template = Template::parse(source).expect("the template is valid");
        assert_eq!(
            template.render(&Labels::empty(), 0.0, &Surroundings::default()),
            text,
            "{source}"
        );
    }

    #[test]
    fn numbers_are_made_readable_from_numbers_and_texts() {
        check(
            "{{ humanize 1234567.0 }} {{ humanize \"0.05\" }} {{ 2048 | humanize1024 }}",
            "1.235M 50m 2ki",
        );
        check("{{ humanizeDuration 93784.0 }} {{ humanizePercentage 0.5 }}", "1d 2h 3m 4s 50%");
        check("{{ humanizeTimestamp 1427397845 }}", "2015-03-26 19:24:05 +0000 UTC");
        check("{{ parseDuration \"1h30m\" }} {{ parseDuration \"-5m\" }}", "5400 -300");
    }

    #[test]
    fn texts_change_their_case() {
        check("{{ title \"disk full on web-1\" }}", "Disk Full On Web-1");
        check("{{ toUpper \"ä1\" }}{{ \"ÄB\" | toLower }}", "Ä1äb");
    }

    #[test]
    fn ports_and_domains_are_stripped() {
        for (address, bare) in
            [("web-1:9100", "web-1"), ("[::1]:80", "::1"), ("::1", "::1"), ("web", "web")]
        {
            check(&format!("{{{{ stripPort {address:?} }}}}"), bare);
        }
        for (address, short) in
            [("web.example.org:80", "web:80"), ("10.1.2.3:80", "10.1.2.3:80"), ("a.b", "a")]
        {
            check(&format!("{{{{ stripDomain {address:?} }}}}"), short);
        }
    }

    #[test]
    fn patterns_match_and_replace() {
        check("{{ match \"a.c\" \"xabcx\" }} {{ match \"^b\" \"abc\" }}", "true false");
        check("{{ reReplaceAll \"(.*)-(.*)\" \"$2/$1\" \"web-1\" }}", "1/web");
    }

    #[test]
    fn links_are_escaped() {
        check(
            "{{ graphLink \"rate(x[5m]) > 1\" }}",
            "/graph?g0.expr=rate%28x%5B5m%5D%29+%3E+1&g0.tab=0",
        );
        check("{{ tableLink \"up\" }}", "/graph?g0.expr=up&g0.tab=1");
        check("{{ urlQueryEscape \"ü&\" }}", "%C3%BC%26");
    }

    #[test]
    fn args_pass_several_values_to_a_definition() {
        check(
            "{{ define \"two\" }}{{ .arg0 }}-{{ .arg1 }}{{ end }}{{ template \"two\" (args 1 \"b\") }}",
            "1-b",
        );
    }
}
