//! Templates as Alertmanager has them: its functions, its data, and the definitions that its files may call.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use model::Timestamp;
use wire::alert::{FiringStatus, WebhookAlert, WebhookMessage};

use crate::functions::{NUMBERS, TEXTS, text, texts};
use crate::value::{List, ListKind, Record, Value};
use crate::{Answer, Dialect, Function, Library, Limits, date, moment, print};

/// What a rendering of one text of a message may use up.
pub const LIMITS: Limits = Limits {
    output_bytes_max: 256 << 10,
    work_bytes_max: 8 << 20,
    rounds_max: 100_000,
    steps_max: 1_000_000,
    calls_max: 20_000,
};

const ROUTE_LABELS: &str = "RouteLabels";

/// Definitions of Alertmanager's names that files may call.
const DEFAULTS: &str = include_str!("../defaults.tmpl");

/// All functions.
pub static DIALECT: LazyLock<Dialect> = LazyLock::new(|| {
    let own: [(&'static str, Function); 18] = [
        ("trimSpace", Function::Pure(|args| text(args, |text| text.trim().to_owned()))),
        ("join", Function::Pure(join)),
        ("safeUrl", Function::Pure(safe_url)),
        ("urlUnescape", Function::Pure(url_unescape)),
        ("stringSlice", Function::Pure(string_slice)),
        ("date", Function::Pure(formatted)),
        ("tz", Function::Pure(tz)),
        ("toDate", Function::Pure(|args| to_date(args).or_else(|_| Ok(moment::no_time())))),
        ("mustToDate", Function::Pure(to_date)),
        ("since", Function::Own),
        ("toJson", Function::Pure(to_json)),
        ("base64encode", Function::Pure(|args| text(args, |text| STANDARD.encode(text)))),
        ("base64decode", Function::Pure(base64_decode)),
        ("list", Function::Builder(|args| Ok(Value::list(args.iter().cloned())))),
        ("append", Function::Builder(append)),
        ("dict", Function::Builder(dict)),
        ("now", Function::Own),
        ("routeLabels", Function::Own),
    ];
    Dialect::go().with(TEXTS).with(NUMBERS).with(own)
});

/// A library with the definitions that Alertmanager brings along.
pub fn library() -> Library {
    let mut library = Library::new(&DIALECT);
    library.add("defaults.tmpl", DEFAULTS).expect("the defaults are tested");
    library
}

/// The functions that look at the clock, and the one that looks at the [`data`] of the whole message wherever the dot is.
pub fn own(now: Timestamp, data: &Value) -> impl Fn(&str, &[Value]) -> Answer {
    move |name, args| match (name, args) {
        ("routeLabels", []) => {
            Ok(data.field(ROUTE_LABELS).unwrap_or_else(|| pairs([].into_iter())))
        }
        ("since", [Value::Time(time)]) => Ok(moment::since(time, now)),
        ("now", []) => Ok(moment::time_of(now)),
        ("since", _) => Err("since takes a time".to_owned()),
        _ => Err(format!("{name} takes no arguments")),
    }
}

/// To whom a message goes; templates see it beside the alerts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reader<'a> {
    /// `.Recipient`: the name of a person, or of the receiver.
    pub name: &'a str,
    /// `.Language`: `en` or `zh-CN`.
    pub language: &'a str,
}

/// What a template sees of a group of alerts.
pub fn data(group: &WebhookMessage, reader: Reader<'_>) -> Value {
    let alerts = group.alerts.iter().map(alert).collect();
    record(
        "template.Data",
        vec![
            ("Receiver", Value::text(group.receiver.as_str())),
            ("Status", status(group.status)),
            ("Alerts", Value::List(List { items: alerts, kind: ListKind::Alerts })),
            ("GroupLabels", pairs(group.group_labels.iter())),
            ("CommonLabels", pairs(group.common_labels.iter())),
            ("CommonAnnotations", texts_of(&group.common_annotations)),
            (ROUTE_LABELS, pairs(group.route_labels.iter())),
            (
                "NotificationReason",
                Value::text(group.notification_reason.map_or("", |r| r.as_str())),
            ),
            ("ExternalURL", Value::text(group.external_url.as_str())),
            ("GroupKey", Value::text(group.group_key.as_str())),
            (
                "TruncatedAlerts",
                Value::Int(i64::try_from(group.truncated_alerts).unwrap_or(i64::MAX)),
            ),
            ("Recipient", Value::text(reader.name)),
            ("Language", Value::text(reader.language)),
        ],
    )
}

fn alert(alert: &WebhookAlert) -> Value {
    record(
        "template.Alert",
        vec![
            ("Status", status(alert.status)),
            ("Labels", pairs(alert.labels.iter())),
            ("Annotations", texts_of(&alert.annotations)),
            ("StartsAt", moment::time_of(alert.starts_at)),
            ("EndsAt", alert.ends_at.map_or_else(moment::no_time, moment::time_of)),
            ("GeneratorURL", Value::text(alert.generator_url.as_str())),
            ("Fingerprint", Value::text(alert.fingerprint.as_str())),
        ],
    )
}

fn record(name: &'static str, fields: Vec<(&'static str, Value)>) -> Value {
    Value::Record(Arc::new(Record { name, fields }))
}

fn status(status: FiringStatus) -> Value {
    Value::text(if status == FiringStatus::Resolved { "resolved" } else { "firing" })
}

fn pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Value {
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Value::Pairs(Arc::new(pairs.collect()))
}

fn texts_of(texts: &BTreeMap<String, String>) -> Value {
    Value::Pairs(Arc::new(texts.to_owned()))
}

fn join(args: &[Value]) -> Answer {
    let [separator, Value::List(list)] = args else {
        return Err("a separator and a list expected".to_owned());
    };
    let separator = separator.as_text().ok_or("a separator and a list expected")?;
    let mut joined = String::new();
    for (at, item) in list.items.iter().enumerate() {
        joined.push_str(if at > 0 { separator } else { "" });
        joined.push_str(item.as_text().ok_or("a list of texts expected")?);
        if joined.len() > print::TEXT_BYTES_MAX {
            return Err(format!("more than {} bytes", print::TEXT_BYTES_MAX));
        }
    }
    Ok(Value::text(joined))
}

fn safe_url(args: &[Value]) -> Answer {
    let [text] = texts(args)?;
    Ok(Value::Safe(text))
}

fn url_unescape(args: &[Value]) -> Answer {
    let [text] = texts(args)?;
    let wrong = || format!("{text:?} is not escaped as the value of a query");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'%' => {
                let (digits, tail) = rest.split_at_checked(2).ok_or_else(wrong)?;
                let digits = str::from_utf8(digits).map_err(|_| wrong())?;
                bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
                rest = tail;
            }
            b'+' => bytes.push(b' '),
            byte => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).map(Value::text).map_err(|_| wrong())
}

fn string_slice(args: &[Value]) -> Answer {
    match args.iter().find(|arg| arg.as_text().is_none()) {
        Some(other) => Err(format!("texts expected, got a {}", other.type_name())),
        None => Ok(Value::list(args.iter().cloned())),
    }
}

fn formatted(args: &[Value]) -> Answer {
    match args {
        [Value::Text(layout), Value::Time(time)] => Ok(Value::text(moment::format(time, layout))),
        _ => Err("a layout and a time expected".to_owned()),
    }
}

fn tz(args: &[Value]) -> Answer {
    match args {
        [Value::Text(zone), Value::Time(time)] => moment::in_zone(time, zone),
        _ => Err("the name of a time zone and a time expected".to_owned()),
    }
}

fn to_date(args: &[Value]) -> Answer {
    let [layout, text] = texts(args)?;
    let read = date::parse(&layout, &text);
    read.ok_or_else(|| format!("{text:?} is no time in the layout {layout:?}"))
}

fn to_json(args: &[Value]) -> Answer {
    match args {
        [value] => print::json(value).map(Value::text),
        _ => Err("one value expected".to_owned()),
    }
}

fn base64_decode(args: &[Value]) -> Answer {
    let [text] = texts(args)?;
    let bytes = STANDARD.decode(&*text).or_else(|_| URL_SAFE.decode(&*text));
    let bytes = bytes.map_err(|error| format!("{text:?} is not base64: {error}"))?;
    String::from_utf8(bytes).map(Value::text).map_err(|_| "it holds no text".to_owned())
}

fn append(args: &[Value]) -> Answer {
    let [Value::List(list), rest @ ..] = args else {
        return Err("a list expected".to_owned());
    };
    let items = list.items.iter().chain(rest).cloned().collect();
    Ok(Value::List(List { items, kind: list.kind }))
}

fn dict(args: &[Value]) -> Answer {
    let mut map: BTreeMap<Arc<str>, Value> = BTreeMap::new();
    for pair in args.chunks(2) {
        let [Value::Text(name), value] = pair else {
            return Err("names and values in turn expected".to_owned());
        };
        map.insert(Arc::clone(name), value.to_owned());
    }
    Ok(Value::Map(Arc::new(map)))
}
