//! The functions of Prometheus' templates that only it has; the others are in [`::template`].

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

pub(crate) use ::template::functions::query_escape;
use ::template::functions::{NUMBERS, TEXTS, text, texts};
use ::template::{Answer, Dialect, Function, List, Value};

use crate::template_scene::Scene;

/// All functions by name.
pub(crate) static DIALECT: LazyLock<Dialect> = LazyLock::new(|| {
    let own: [(&'static str, Function); 15] = [
        ("stripPort", Function::Pure(|args| text(args, strip_port))),
        ("stripDomain", Function::Pure(|args| text(args, strip_domain))),
        ("urlQueryEscape", Function::Pure(|args| text(args, query_escape))),
        ("graphLink", Function::Pure(|args| text(args, |expr| link(expr, 0)))),
        ("tableLink", Function::Pure(|args| text(args, |expr| link(expr, 1)))),
        ("first", Function::Pure(first)),
        ("label", Function::Pure(label)),
        ("strvalue", Function::Pure(strvalue)),
        ("value", Function::Pure(value)),
        ("sortByLabel", Function::Pure(sort_by_label)),
        ("args", Function::Builder(named_args)),
        ("query", Function::Own),
        ("now", Function::Own),
        ("externalURL", Function::Own),
        ("pathPrefix", Function::Own),
    ];
    Dialect::go().with(TEXTS).with(NUMBERS).with(own)
});

/// The functions that answer from the moment of the evaluation.
pub(crate) fn own(scene: &Scene<'_>, name: &str, args: &[Value]) -> Answer {
    if name == "query" {
        let [text] = texts(args)?;
        return scene.query(&text);
    }
    let [] = texts(args)?;
    let url = scene.surroundings.external_url.as_str();
    Ok(match name {
        "now" => Value::Float(scene.at.seconds_f64()),
        "externalURL" => Value::text(url),
        _ => {
            let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
            Value::text(after_scheme.find('/').map_or("", |slash| &after_scheme[slash..]))
        }
    })
}

fn link(expr: &str, tab: u8) -> String {
    format!("/graph?g0.expr={}&g0.tab={tab}", query_escape(expr))
}

fn first(args: &[Value]) -> Answer {
    match args {
        [Value::List(samples)] => samples
            .items
            .first()
            .cloned()
            .ok_or_else(|| "first() called on a result without elements".to_owned()),
        _ => Err("first: the result of a query expected".to_owned()),
    }
}

fn label(args: &[Value]) -> Answer {
    match args {
        [Value::Text(name), sample] => label_of(sample, name),
        _ => Err("label: a name and an element of a result expected".to_owned()),
    }
}

fn strvalue(args: &[Value]) -> Answer {
    match args {
        [sample] => label_of(sample, "__value__"),
        _ => Err("strvalue: an element of a result expected".to_owned()),
    }
}

fn value(args: &[Value]) -> Answer {
    match args {
        [sample] if sample.field("Labels").is_some() => {
            Ok(sample.field("Value").unwrap_or(Value::Nil))
        }
        _ => Err("value: an element of a result expected".to_owned()),
    }
}

fn sort_by_label(args: &[Value]) -> Answer {
    let [Value::Text(name), Value::List(samples)] = args else {
        return Err("sortByLabel: a name and the result of a query expected".to_owned());
    };
    let mut keyed = Vec::with_capacity(samples.items.len());
    for sample in samples.items.iter() {
        let key = label_of(sample, name)?.as_text().unwrap_or("").to_owned();
        keyed.push((key, sample));
    }
    keyed.sort_by(|a, b| a.0.cmp(&b.0));
    let items = keyed.into_iter().map(|(_, sample)| sample.to_owned()).collect();
    Ok(Value::List(List { items, kind: samples.kind }))
}

fn label_of(sample: &Value, name: &str) -> Answer {
    let labels = sample.field("Labels").ok_or("an element of a result expected")?;
    Ok(labels.field(name).unwrap_or_else(|| Value::text("")))
}

fn named_args(args: &[Value]) -> Answer {
    let named = args.iter().enumerate();
    let named = named.map(|(at, arg)| (Arc::from(format!("arg{at}")), arg.to_owned()));
    Ok(Value::Map(Arc::new(named.collect::<BTreeMap<_, _>>())))
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
