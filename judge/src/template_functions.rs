//! The functions of Prometheus' templates.

use std::collections::BTreeMap;
use std::sync::Arc;

use gotmpl::{FuncMap, Value};
use model::PatternScope;
use regex::Regex;

use crate::humanize;
use crate::template_builtin;
use crate::template_scene::{self as scene, charge, charge_for, fault};
use crate::template_time;
use crate::template_tree::{METHOD, OUT, TICK};

type Answer = gotmpl::Result<Value>;

/// All functions by name.
pub(crate) fn all() -> FuncMap {
    let mut map = FuncMap::new();
    numbers(&mut map);
    texts_to_texts(&mut map);
    patterns(&mut map);
    queries(&mut map);
    surroundings(&mut map);
    template_builtin::bounded(&mut map);
    map
}

/// What the rewritten tree calls; see [`crate::template_tree`].
pub(crate) fn hidden(map: &mut FuncMap) {
    let call_cost = scene::WORK_BYTES_MAX / scene::CALLS_MAX;
    add(map, TICK, move |_| charge(call_cost).map(|()| string("")));
    add(map, OUT, |args| match args {
        [value] => Ok(template_builtin::printed(value)),
        _ => Err(fault("an action without a value".to_owned())),
    });
    add(map, METHOD, |args| match args {
        [receiver, Value::String(name), rest @ ..] => template_time::call(receiver, name, rest),
        _ => Err(fault("a method without a value".to_owned())),
    });
}

fn numbers(map: &mut FuncMap) {
    number(map, "humanize", humanize::humanize);
    number(map, "humanize1024", humanize::humanize1024);
    number(map, "humanizeDuration", humanize::humanize_duration);
    number(map, "humanizePercentage", humanize::humanize_percentage);
    number(map, "humanizeTimestamp", humanize::humanize_timestamp);
    add(map, "toTime", |args| template_time::to_time(only_number(args)?));
    add(map, "toDuration", |args| template_time::to_duration(only_number(args)?));
    add(map, "now", |args| {
        let [] = texts(args)?;
        scene::now().map(|at| Value::Float(at.seconds_f64()))
    });
    add(map, "parseDuration", |args| {
        let [text] = texts(args)?;
        parse_duration(&text).map(Value::Float)
    });
}

fn texts_to_texts(map: &mut FuncMap) {
    text(map, "title", title);
    text(map, "toUpper", str::to_uppercase);
    text(map, "toLower", str::to_lowercase);
    text(map, "stripPort", strip_port);
    text(map, "stripDomain", strip_domain);
    text(map, "urlQueryEscape", query_escape);
    text(map, "safeHtml", str::to_owned);
    text(map, "graphLink", |expr| format!("/graph?g0.expr={}&g0.tab=0", query_escape(expr)));
    text(map, "tableLink", |expr| format!("/graph?g0.expr={}&g0.tab=1", query_escape(expr)));
}

fn patterns(map: &mut FuncMap) {
    add(map, "match", |args| {
        let [pattern, text] = texts(args)?;
        Ok(Value::Bool(regex(&pattern)?.is_match(&text)))
    });
    add(map, "reReplaceAll", |args| {
        let [pattern, replacement, text] = texts(args)?;
        let regex = regex(&pattern)?;
        // Every match may become the whole text by `$0`, and there is one more match than letters at most.
        let most = (text.len() + 1).saturating_mul(replacement.len() + 1);
        if most > scene::WORK_BYTES_MAX {
            let found = regex.find_iter(&text).count();
            charge((text.len() + replacement.len()).saturating_mul(found))?;
        }
        Ok(string(&regex.replace_all(&text, replacement.as_ref())))
    });
}

fn queries(map: &mut FuncMap) {
    add(map, "query", |args| {
        let [text] = texts(args)?;
        scene::query(&text)
    });
    add(map, "first", |args| match args {
        [Value::List(samples)] => samples
            .first()
            .cloned()
            .ok_or_else(|| fault("first() called on a result without elements".to_owned())),
        _ => Err(fault("first: the result of a query expected".to_owned())),
    });
    add(map, "label", |args| match args {
        [Value::String(name), sample] => label_of(sample, name),
        _ => Err(fault("label: a name and an element of a result expected".to_owned())),
    });
    add(map, "strvalue", |args| match args {
        [sample] => label_of(sample, "__value__"),
        _ => Err(fault("strvalue: an element of a result expected".to_owned())),
    });
    add(map, "value", |args| match args {
        [sample] if sample.field("Labels").is_some() => {
            Ok(sample.field("Value").cloned().unwrap_or(Value::Nil))
        }
        _ => Err(fault("value: an element of a result expected".to_owned())),
    });
    add(map, "sortByLabel", |args| match args {
        [Value::String(name), Value::List(samples)] => {
            let mut keyed = Vec::with_capacity(samples.len());
            for sample in samples.iter() {
                keyed.push((label_of(sample, name)?.to_string(), sample.clone()));
            }
            keyed.sort_by(|a, b| a.0.cmp(&b.0));
            Ok(Value::List(keyed.into_iter().map(|(_, sample)| sample).collect()))
        }
        _ => Err(fault("sortByLabel: a name and the result of a query expected".to_owned())),
    });
}

fn surroundings(map: &mut FuncMap) {
    add(map, "args", |args| {
        let named =
            args.iter().enumerate().map(|(i, arg)| (Arc::from(format!("arg{i}")), arg.clone()));
        Ok(Value::Map(Arc::new(named.collect::<BTreeMap<_, _>>())))
    });
    add(map, "externalURL", |args| {
        let [] = texts(args)?;
        scene::external_url().map(|url| string(&url))
    });
    add(map, "pathPrefix", |args| {
        let [] = texts(args)?;
        let url = scene::external_url()?;
        let after_scheme = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        Ok(string(after_scheme.find('/').map_or("", |slash| &after_scheme[slash..])))
    });
}

fn label_of(sample: &Value, name: &str) -> Answer {
    let Some(labels) = sample.field("Labels") else {
        return Err(fault("an element of a result expected".to_owned()));
    };
    Ok(labels.field(name).cloned().unwrap_or_else(|| string("")))
}

/// Adds a function whose work is counted.
pub(crate) fn add(
    map: &mut FuncMap,
    name: &str,
    function: impl Fn(&[Value]) -> Answer + Send + Sync + 'static,
) {
    let counted = move |args: &[Value]| {
        charge_for(args)?;
        let answer = function(args)?;
        charge_for(std::slice::from_ref(&answer))?;
        Ok(answer)
    };
    map.insert(name.to_owned(), Arc::new(counted));
}

fn number(map: &mut FuncMap, name: &str, write: fn(f64) -> String) {
    add(map, name, move |args| Ok(string(&write(only_number(args)?))));
}

fn only_number(args: &[Value]) -> gotmpl::Result<f64> {
    match args {
        [value] => as_number(value),
        _ => Err(fault(format!("one number expected, got {} arguments", args.len()))),
    }
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
    use model::{Labels, Timestamp};

    use crate::template::{Surroundings, Template};
    use crate::template_scene::{Lookups, Scene};

    fn check(source: &str, text: &str) {
        let template = Template::parse(source).expect("the template is valid");
        let surroundings = Surroundings::default();
        let scene =
            Scene { surroundings: &surroundings, at: Timestamp(0), lookups: Lookups::default() };
        assert_eq!(template.render(&Labels::empty(), 0.0, &scene).as_deref(), Ok(text), "{source}");
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
