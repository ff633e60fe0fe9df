//! Routes, receivers, inhibitions, time intervals and templates as objects of the database: changed by
//! API, without a file and without a restart, and followed by all instances.

pub(crate) mod document;
pub(crate) mod edit;
pub(crate) mod http;
pub(crate) mod secrets;
pub(crate) mod store;

use serde_json::{Map, Value};

use crate::amconfig::yaml_fault;

/// The name of the route that all others are children of.
pub(crate) const ROOT: &str = "root";
/// How many objects there may be.
pub(crate) const OBJECTS_MAX: usize = 2_000;
/// The longest object in bytes.
pub(crate) const OBJECT_BYTES_MAX: usize = 256 << 10;
const NAME_CHARS_MAX: usize = 120;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ObjectKind {
    Route,
    Receiver,
    Inhibition,
    TimeInterval,
    Template,
}

impl ObjectKind {
    pub(crate) const ALL: [Self; 5] =
        [Self::Route, Self::Receiver, Self::Inhibition, Self::TimeInterval, Self::Template];

    /// The word in the store, in the audit and in metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Receiver => "receiver",
            Self::Inhibition => "inhibition",
            Self::TimeInterval => "time_interval",
            Self::Template => "template",
        }
    }

    /// The word in addresses.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Route => "routes",
            Self::Receiver => "receivers",
            Self::Inhibition => "inhibitions",
            Self::TimeInterval => "time-intervals",
            Self::Template => "templates",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    pub(crate) fn of_path(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.path() == word)
    }
}

/// What is wrong with a name.
pub(crate) fn name_fault(name: &str) -> Option<String> {
    let is_long = name.chars().count() > NAME_CHARS_MAX;
    if name.is_empty() || is_long || name.trim() != name || name.contains(char::is_control) {
        let rule = "no blanks around it and no control characters";
        return Some(format!("{name:?} is no name: 1 to {NAME_CHARS_MAX} characters, {rule}"));
    }
    None
}

/// Reads the body of an object that is no template: JSON or YAML.
pub(crate) fn read_body(text: &str) -> Result<Map<String, Value>, String> {
    if text.len() > OBJECT_BYTES_MAX {
        return Err(format!("has {} bytes, more than {OBJECT_BYTES_MAX}", text.len()));
    }
    let value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(_) => read_yaml(text)?,
    };
    match value {
        Value::Object(fields) => Ok(fields),
        Value::Null => Ok(Map::new()),
        _ => Err("is no object; write keys and values, in JSON or YAML".to_owned()),
    }
}

/// YAML as plain values.
pub(crate) fn read_yaml(text: &str) -> Result<Value, String> {
    serde_saphyr::from_str(text).map_err(|fault| {
        let fault = yaml_fault(&fault);
        let line = fault.line.max(1);
        format!("not JSON and not YAML, line {line}: {}", fault.message)
    })
}
