//! What templates work on.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Zoned;
use model::Labels;

use crate::moment;
use crate::{Answer, NESTING_MAX};

/// A value. Clones are cheap.
#[derive(Debug, Clone)]
pub enum Value {
    /// Nothing.
    Nil,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A text.
    Text(Arc<str>),
    /// A text that stands in markup as it is.
    Safe(Arc<str>),
    /// A moment in a time zone.
    Time(Arc<Zoned>),
    /// A duration in nanoseconds.
    Span(i64),
    /// Labels as Prometheus has them: an absent one is an empty text.
    Labels(Labels),
    /// Names and texts as Alertmanager has them: as labels, with methods.
    Pairs(Arc<BTreeMap<String, String>>),
    /// Values in order.
    List(List),
    /// Values by name: an absent one is nothing.
    Map(Arc<BTreeMap<Arc<str>, Value>>),
    /// Values by name, where an absent one is a mistake.
    Record(Arc<Record>),
}

/// Values in order.
#[derive(Debug, Clone)]
pub struct List {
    /// The values.
    pub items: Arc<[Value]>,
    /// What methods they have together.
    pub kind: ListKind,
}

/// What a list is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListKind {
    /// Anything.
    Plain,
    /// Alerts: `Firing` and `Resolved`.
    Alerts,
    /// Names with values: `Names` and `Values`.
    Pairs,
}

/// A structure: its name for messages, and its fields in order.
#[derive(Debug)]
pub struct Record {
    /// As Go calls the type.
    pub name: &'static str,
    /// The fields.
    pub fields: Vec<(&'static str, Value)>,
}

impl Record {
    /// A field.
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

impl Value {
    /// A text.
    pub fn text(text: impl Into<Arc<str>>) -> Self {
        Self::Text(text.into())
    }

    /// A list of anything.
    pub fn list(items: impl IntoIterator<Item = Self>) -> Self {
        Self::List(List { items: items.into_iter().collect(), kind: ListKind::Plain })
    }

    /// The text in it.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Safe(text) => Some(text),
            _ => None,
        }
    }

    /// A field of a structure, or an entry.
    pub fn field(&self, name: &str) -> Option<Self> {
        match self {
            Self::Labels(labels) => labels.get(name).map(Self::text),
            Self::Pairs(pairs) => pairs.get(name).map(|text| Self::text(text.as_str())),
            Self::Map(map) => map.get(name).cloned(),
            Self::Record(record) => record.field(name).cloned(),
            _ => None,
        }
    }

    /// As Go calls its type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) | Self::Safe(_) => "string",
            Self::Time(_) => "time.Time",
            Self::Span(_) => "time.Duration",
            Self::Labels(_) => "map[string]string",
            Self::Pairs(_) => "template.KV",
            Self::List(list) => match list.kind {
                ListKind::Plain => "list",
                ListKind::Alerts => "template.Alerts",
                ListKind::Pairs => "template.Pairs",
            },
            Self::Map(_) => "map",
            Self::Record(record) => record.name,
        }
    }

    /// Whether `if` takes it for true: it is not the zero of its type.
    pub fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) | Self::Span(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Time(_) | Self::Record(_) => true,
            other => other.len().is_some_and(|len| len > 0),
        }
    }

    /// Bytes of a text, entries of everything else that has some.
    pub fn len(&self) -> Option<usize> {
        match self {
            Self::Text(text) | Self::Safe(text) => Some(text.len()),
            Self::Labels(labels) => Some(labels.len()),
            Self::Pairs(pairs) => Some(pairs.len()),
            Self::List(list) => Some(list.items.len()),
            Self::Map(map) => Some(map.len()),
            _ => None,
        }
    }

    /// Whether it has entries, and none of them is there.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// What work it is to hand it to a function.
    pub(crate) fn cost(&self) -> usize {
        match self {
            Self::Labels(labels) => labels.byte_len() + 1,
            other => other.len().unwrap_or(8) + 1,
        }
    }

    /// How many values are in it, itself included; `None` when they nest too deep or are more than `most`.
    pub(crate) fn count(&self, most: usize) -> Option<usize> {
        let mut left = most;
        self.counted(NESTING_MAX, &mut left)?;
        Some(most - left)
    }

    fn counted(&self, depth_left: usize, left: &mut usize) -> Option<()> {
        *left = left.checked_sub(1)?;
        let depth_left = depth_left.checked_sub(1)?;
        match self {
            Self::List(list) => {
                list.items.iter().try_for_each(|item| item.counted(depth_left, left))
            }
            Self::Map(map) => map.values().try_for_each(|item| item.counted(depth_left, left)),
            Self::Record(record) => {
                record.fields.iter().try_for_each(|(_, item)| item.counted(depth_left, left))
            }
            _ => Some(()),
        }
    }

    /// What `.name` gives: a method's answer, a field, or an entry.
    pub(crate) fn member(&self, name: &str, args: &[Self]) -> Answer {
        if let Some(answer) = self.method(name, args) {
            return answer;
        }
        if !args.is_empty() {
            return Err(format!("{name} has arguments but cannot be invoked as a function"));
        }
        let absent = match self {
            Self::Labels(_) | Self::Pairs(_) => Some(Self::text("")),
            Self::Map(_) => Some(Self::Nil),
            Self::Nil => return Err(format!("nil has no field {name}")),
            _ => None,
        };
        let found = self.field(name).or(absent);
        found.ok_or_else(|| format!("can't evaluate field {name} in type {}", self.type_name()))
    }

    fn method(&self, name: &str, args: &[Self]) -> Option<Answer> {
        match (self, name) {
            (Self::Pairs(pairs), "SortedPairs") => Some(none(name, args, || sorted(pairs))),
            (Self::Pairs(pairs), "Names") => {
                let names = || Self::list(order(pairs).into_iter().map(|(name, _)| text(name)));
                Some(none(name, args, names))
            }
            (Self::Pairs(pairs), "Values") => {
                let values = || Self::list(order(pairs).into_iter().map(|(_, value)| text(value)));
                Some(none(name, args, values))
            }
            (Self::Pairs(pairs), "Remove") => Some(without(pairs, args)),
            (Self::List(list), _) => list.method(name, args),
            (Self::Time(time), _) => moment::of_time(time, name, args),
            (Self::Span(nanos), _) => moment::of_span(*nanos, name, args),
            _ => None,
        }
    }
}

impl List {
    fn method(&self, name: &str, args: &[Value]) -> Option<Answer> {
        let each = |field: &str| {
            let fields = self.items.iter().map(|item| item.field(field).unwrap_or(Value::Nil));
            Value::list(fields)
        };
        let with_status = |status: &str| {
            let is_such = |item: &&Value| match item {
                Value::Record(alert) => {
                    alert.field("Status").and_then(Value::as_text) == Some(status)
                }
                _ => false,
            };
            let items = self.items.iter().filter(is_such).cloned().collect();
            Value::List(Self { items, kind: ListKind::Alerts })
        };
        match (self.kind, name) {
            (ListKind::Alerts, "Firing") => Some(none(name, args, || with_status("firing"))),
            (ListKind::Alerts, "Resolved") => Some(none(name, args, || with_status("resolved"))),
            (ListKind::Pairs, "Names") => Some(none(name, args, || each("Name"))),
            (ListKind::Pairs, "Values") => Some(none(name, args, || each("Value"))),
            _ => None,
        }
    }
}

fn none(name: &str, args: &[Value], answer: impl FnOnce() -> Value) -> Answer {
    if args.is_empty() { Ok(answer()) } else { Err(format!("{name} takes no arguments")) }
}

fn text(text: &str) -> Value {
    Value::text(text)
}

/// By name, `alertname` first.
fn order(pairs: &BTreeMap<String, String>) -> Vec<(&String, &String)> {
    let mut ordered: Vec<_> = pairs.iter().collect();
    ordered.sort_by_key(|(name, _)| name.as_str() != "alertname");
    ordered
}

fn sorted(pairs: &BTreeMap<String, String>) -> Value {
    let pair = |(name, value): (&String, &String)| {
        let fields = vec![("Name", text(name)), ("Value", text(value))];
        Value::Record(Arc::new(Record { name: "template.Pair", fields }))
    };
    Value::List(List { items: order(pairs).into_iter().map(pair).collect(), kind: ListKind::Pairs })
}

fn without(pairs: &BTreeMap<String, String>, args: &[Value]) -> Answer {
    let [Value::List(names)] = args else {
        return Err("Remove takes one list of names".to_owned());
    };
    let mut left = pairs.to_owned();
    for name in names.items.iter() {
        let name = name.as_text().ok_or("Remove takes a list of texts")?;
        left.remove(name);
    }
    Ok(Value::Pairs(Arc::new(left)))
}
