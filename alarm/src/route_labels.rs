//! Labels of routes: what messages say of the way that alerts took. A value may be a template over the message.

use std::sync::Arc;

use channels::message::cut;
use model::{Labels, LabelsBuilder};
use template::alertmanager::{LIMITS, Reader, data, own};
use template::{Library, Template};

use crate::notification::Notification;
use crate::notify::office::drafts;
use crate::route::Route;

/// What a template may make of a value; the rest is cut off.
const VALUE_BYTES_MAX: usize = 4 << 10;

/// What is wrong with the templates in the labels of a route and its children.
pub(crate) fn faults(route: &Route, library: &Arc<Library>) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, value) in templates(&route.options.labels) {
        if let Err(found) = parsed(name, value, library) {
            faults.extend(found.iter().map(ToString::to_string));
        }
    }
    for child in &route.routes {
        // What is inherited was told of already.
        let found = self::faults(child, library).into_iter();
        let new: Vec<String> = found.filter(|fault| !faults.contains(fault)).collect();
        faults.extend(new);
    }
    faults
}

/// Has the templates among the route labels of a message say what they mean. One that fails leaves its label out: an alert
/// must not be lost for it.
pub(crate) fn fill_in(notification: &mut Notification, library: &Arc<Library>) {
    if templates(&notification.route_labels).next().is_none() {
        return;
    }
    let data = data(&drafts::group(notification), Reader::default());
    let mut filled = notification.route_labels.edit();
    for (name, value) in templates(&notification.route_labels) {
        let written = parsed(name, value, library)
            .map_err(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
        let written = written.and_then(|template| {
            let text = template.render(&data, &own(notification.at, &data), &LIMITS, None);
            text.map_err(|fault| fault.to_string())
        });
        put(&mut filled, name, written);
    }
    notification.route_labels = filled.build();
}

fn put(labels: &mut LabelsBuilder, name: &str, written: Result<String, String>) {
    match written {
        Ok(text) => labels.set(name, &cut(text.trim(), VALUE_BYTES_MAX)),
        Err(fault) => {
            tracing::warn!(label = name, "a label of a route is left out: {fault}");
            labels.remove(name)
        }
    };
}

fn templates(labels: &Labels) -> impl Iterator<Item = (&str, &str)> {
    labels.iter().filter(|(_, value)| value.contains("{{"))
}

fn parsed(
    name: &str,
    value: &str,
    library: &Arc<Library>,
) -> Result<Template, Vec<template::Fault>> {
    Template::parse(library, &format!("labels.{name}"), value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::notification::tests::{alert, notification};
    use crate::route::tests::route;

    fn library() -> Arc<Library> {
        Arc::new(template::alertmanager::library())
    }

    fn filled(labels: &[(&str, &str)]) -> String {
        let mut told = notification(vec![alert(&[("alertname", "x"), ("team", "db")], 2_000)]);
        told.route_labels = Labels::from_pairs(labels.iter().copied());
        fill_in(&mut told, &library());
        told.route_labels.to_string()
    }

    #[test]
    fn a_value_may_be_a_template_over_the_message_and_others_stay_as_they_are() {
        let labels = [("owner", "{{ .CommonLabels.team }} of {{ .Receiver }}"), ("tier", "1")];
        assert_eq!(filled(&labels), r#"{owner="db of ops",tier="1"}"#.replace(",", ", "));
        let fails = [("owner", "{{ index .Alerts 7 }}"), ("tier", "1")];
        assert_eq!(filled(&fails), r#"{tier="1"}"#, "one that fails is left out alone");
    }

    #[test]
    fn a_template_that_cannot_be_read_is_named_once_however_many_inherit_it() {
        let mut root = route("{}", "ops", vec![route("{a=\"b\"}", "ops", Vec::new())]);
        root.options.labels = Labels::from_pairs([("owner", "{{ if }}")]);
        root.routes[0].options.labels = root.options.labels.clone();
        let found = faults(&root, &library());
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("labels.owner"), "{found:?}");
    }

    proptest! {
        #[test]
        fn no_text_in_a_label_stops_a_message(text in "\\PC{0,12}(\\{\\{)?[a-zA-Z. $|()\"]{0,20}(\\}\\})?") {
            let _ = filled(&[("owner", &text)]);
        }
    }
}
