//! One object of a file by itself, as the API and the database have it: JSON or YAML. What `global` says in a file
//! is not for it, so that a receiver made by API never gets a secret of the file.

use serde::de::DeserializeOwned;
use serde_saphyr::Spanned;

use super::routes::{Known, RouteSpec};
use super::{Fault, Reader, ReceiverSettings, yaml_fault};
use crate::inhibit::Rule;
use crate::route::{Options, Route};
use crate::times::Interval;

type Read<T> = Result<T, Vec<Fault>>;

/// The root, without children.
pub(crate) fn root(text: &str, known: &Known<'_>) -> Read<Route> {
    let spec: Spanned<RouteSpec> = spec(text)?;
    let mut reader = Reader::default();
    if spec.value.has_children() {
        reader.fault(1, "routes: the children of the root are routes of their own");
    }
    let root = reader.root(spec, known);
    finished(reader, root)
}

/// A child of a root with these options, and its position among its siblings.
pub(crate) fn route(text: &str, parent: &Options, known: &Known<'_>) -> Read<(i64, Route)> {
    let spec: Spanned<RouteSpec> = spec(text)?;
    let mut reader = Reader::default();
    let position = spec.value.position();
    let route = reader.route(spec, parent, known, 1);
    finished(reader, (position, route))
}

/// A receiver that consists of Alertmanager's integrations.
pub(crate) fn receiver(text: &str) -> Read<ReceiverSettings> {
    let mut reader = Reader::default();
    let settings = reader.receivers(vec![spec(text)?], &serde_json::Map::new()).pop();
    let nameless = ReceiverSettings { name: String::new(), integrations: Vec::new() };
    finished(reader, settings.unwrap_or(nameless))
}

/// An inhibition. One that would keep everything quiet, or by anything, is refused.
pub(crate) fn inhibition(text: &str) -> Read<Rule> {
    let mut reader = Reader::default();
    let rule = reader.inhibit_rules(vec![spec(text)?]).pop();
    let rule = rule.unwrap_or_default();
    for (key, matchers) in [("source_matchers", &rule.source), ("target_matchers", &rule.target)] {
        if matchers.is_empty() {
            reader.fault(1, format!("{key}: there are none, which means every alert"));
        }
    }
    finished(reader, rule)
}

/// The times of a time interval.
pub(crate) fn intervals(text: &str) -> Read<Vec<Interval>> {
    let mut reader = Reader::default();
    let read = reader.intervals(vec![spec(text)?]);
    finished(reader, read.into_values().next().unwrap_or_default())
}

fn spec<T: DeserializeOwned>(text: &str) -> Read<T> {
    serde_saphyr::from_str(text).map_err(|error| vec![yaml_fault(&error)])
}

fn finished<T>(reader: Reader, value: T) -> Read<T> {
    if reader.faults.is_empty() { Ok(value) } else { Err(reader.faults) }
}
