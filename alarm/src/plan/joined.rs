//! A plan with what the database holds beside the settings or the file. The rule: **what the settings and
//! the file say stands by itself; what the database says may build on it, never the other way round.** So
//! nothing in the database can keep alarm from starting, and an object that cannot be used is left out
//! alone.
//!
//! Names are unique over both. Routes of the database stand before those of the file, so that a new one
//! has effect.

use std::collections::BTreeMap;
use std::sync::Arc;

use db::RoutingRow;
use serde_json::{Map, Value};
use template::Library;

use super::{INTEGRATIONS_MAX, Plan, Stored, integrations_of, written};
use crate::amconfig::{Fault, Known, objects};
use crate::config::ReceiverConfig;
use crate::inhibit::Rule;
use crate::notify::Receiver;
use crate::route::Route;
use crate::route_labels;
use crate::routing::{ObjectKind, ROOT, name_fault, read_body, secrets};
use crate::texts::DEFAULTS;
use crate::times::Interval;

impl Plan {
    /// This plan, which comes from the settings or a file, with the objects of the database.
    pub(crate) fn joined(&self, rows: &[RoutingRow]) -> Self {
        let mut faults: Vec<Option<String>> = rows.iter().map(row_fault).collect();
        let library = Arc::new(self.join_templates(rows, &mut faults));
        let mut joining = Joining {
            base: self,
            intervals: self.intervals.clone(),
            receivers: self.receivers.clone(),
            named: self.named(),
            inhibit_rules: self.inhibit_rules.clone(),
            root: None,
            routes: Vec::new(),
        };
        // What routes name comes before them, and the root before its children, which inherit from it.
        let is_root = |row: &RoutingRow| row.name == ROOT;
        for (kind, wants_root) in [
            (ObjectKind::TimeInterval, None),
            (ObjectKind::Receiver, None),
            (ObjectKind::Inhibition, None),
            (ObjectKind::Route, Some(true)),
            (ObjectKind::Route, Some(false)),
        ] {
            for (row, fault) in rows.iter().zip(&mut faults).filter(|(row, fault)| {
                fault.is_none()
                    && row.kind == kind.as_str()
                    && wants_root.is_none_or(|wanted| wanted == is_root(row))
            }) {
                *fault = joining.add(kind, row, &library).err();
            }
        }
        let stored = rows.iter().zip(faults).map(|(row, fault)| Stored {
            kind: row.kind.clone(),
            name: row.name.clone(),
            version: row.version,
            changed_at: row.changed_at,
            changed_by: row.changed_by.clone(),
            fault: fault.unwrap_or_default(),
        });
        let stored = stored.collect();
        joining.plan(library, stored)
    }

    /// All integrations with the names of their receivers.
    fn named(&self) -> Vec<(String, Receiver)> {
        let mut names = vec![String::new(); self.integrations.len()];
        for (name, positions) in &self.of_receiver {
            positions.iter().for_each(|at| names[*at].clone_from(name));
        }
        names.into_iter().zip(self.integrations.iter().cloned()).collect()
    }

    /// The definitions with those of the database. A text that calls what is not there is left out, and so
    /// in turn is who calls its definitions.
    fn join_templates(&self, rows: &[RoutingRow], faults: &mut [Option<String>]) -> Library {
        loop {
            let mut library = (*self.library).clone();
            for (row, fault) in rows.iter().zip(faults.iter_mut()) {
                if row.kind == ObjectKind::Template.as_str() && fault.is_none() {
                    *fault = self.add_template(&mut library, row).err();
                }
            }
            let mut is_whole = true;
            for missing in library.missing() {
                let is_in = |row: &RoutingRow| {
                    row.kind == ObjectKind::Template.as_str() && row.name == missing.source
                };
                if let Some(at) = rows.iter().position(is_in) {
                    faults[at].get_or_insert_with(|| missing.to_string());
                    is_whole = false;
                }
            }
            if is_whole {
                return library;
            }
        }
    }

    fn add_template(&self, library: &mut Library, row: &RoutingRow) -> Result<(), String> {
        let mut with = library.clone();
        let told = |faults: Vec<template::Fault>| {
            faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        with.add(&row.name, &row.body).map_err(told)?;
        let names = with.names_in(&row.name);
        if names.is_empty() {
            return Err("it defines nothing; write {{ define \"name\" }}…{{ end }}".to_owned());
        }
        for name in names {
            if let Some(origin) = library.origin(name).filter(|origin| *origin != DEFAULTS) {
                return Err(format!("{name:?} is defined in {origin} already; take another name"));
            }
        }
        *library = with;
        Ok(())
    }
}

/// What is wrong with a row whatever else there is.
fn row_fault(row: &RoutingRow) -> Option<String> {
    if ObjectKind::parse(&row.kind).is_none() {
        let kinds = ObjectKind::ALL.map(ObjectKind::as_str).join(", ");
        return Some(format!("there is no kind {:?}; kinds are {kinds}", row.kind));
    }
    name_fault(&row.name)
}

struct Joining<'a> {
    base: &'a Plan,
    intervals: BTreeMap<String, Vec<Interval>>,
    receivers: Vec<String>,
    named: Vec<(String, Receiver)>,
    inhibit_rules: Vec<Rule>,
    root: Option<Route>,
    /// With position and name, which order them.
    routes: Vec<(i64, String, Route)>,
}

impl Joining<'_> {
    fn add(
        &mut self,
        kind: ObjectKind,
        row: &RoutingRow,
        library: &Arc<Library>,
    ) -> Result<(), String> {
        let mut object = read_body(&row.body)?;
        object.insert("name".to_owned(), Value::String(row.name.clone()));
        let (origin, name) = (&self.base.origin, row.name.clone());
        let taken = |is_taken: bool| match is_taken {
            true => Err(format!("the name is taken in {origin}; take another or change it there")),
            false => Ok(()),
        };
        match kind {
            ObjectKind::TimeInterval => {
                taken(self.base.intervals.contains_key(&name))?;
                let read = objects::intervals(&text_of(object)).map_err(told)?;
                self.intervals.insert(name, read);
            }
            ObjectKind::Receiver => {
                taken(self.base.receivers.contains(&name))?;
                let made = self.receiver(object, library)?;
                self.named.extend(made.into_iter().map(|receiver| (name.clone(), receiver)));
                self.receivers.push(name);
            }
            ObjectKind::Inhibition => {
                taken(self.base.inhibit_rules.iter().any(|rule| rule.name == name))?;
                let rule = objects::inhibition(&text_of(object)).map_err(told)?;
                self.inhibit_rules.push(rule);
            }
            ObjectKind::Route if name == ROOT => {
                let is_open = self.base.root.options.receiver.is_none();
                taken(!is_open)?;
                let root = objects::root(&text_of(object), &self.known()).map_err(told)?;
                labels_are_good(&root, library)?;
                self.root = Some(root);
            }
            ObjectKind::Route => {
                let parent = &self.root.as_ref().unwrap_or(&self.base.root).options;
                let read = objects::route(&text_of(object), parent, &self.known());
                let (position, route) = read.map_err(told)?;
                if route.options.receiver.is_none() {
                    return Err("receiver: there is none, and none to inherit".to_owned());
                }
                labels_are_good(&route, library)?;
                self.routes.push((position, name, route));
            }
            ObjectKind::Template => {}
        }
        Ok(())
    }

    fn known(&self) -> Known<'_> {
        let receivers = self.receivers.iter().map(String::as_str).collect();
        Known { receivers, intervals: &self.intervals }
    }

    /// The integrations of a receiver in the words of Alertmanager or of our settings.
    fn receiver(
        &self,
        object: Map<String, Value>,
        library: &Arc<Library>,
    ) -> Result<Vec<Receiver>, String> {
        secrets::check(&object)?;
        let made = match is_ours(&object) {
            true => vec![ours(object, library)?],
            false => {
                let settings = objects::receiver(&text_of(object)).map_err(told)?;
                let made = integrations_of(settings, library).into_iter();
                let made =
                    made.map(|(key, _, made)| made.map_err(|fault| format!("{key}: {fault}")));
                made.collect::<Result<Vec<_>, _>>()?
            }
        };
        if self.named.len() + made.len() > INTEGRATIONS_MAX {
            return Err(format!("there are {INTEGRATIONS_MAX} integrations, which is the most"));
        }
        let twin =
            made.iter().find(|one| self.named.iter().any(|(_, other)| other.name == one.name));
        match twin {
            Some(twin) => Err(format!("{:?} is told by another receiver already", twin.name)),
            None => Ok(made),
        }
    }

    fn plan(mut self, library: Arc<Library>, stored: Vec<Stored>) -> Plan {
        let base = self.base;
        self.routes.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        let mut root =
            self.root.unwrap_or_else(|| Route { routes: Vec::new(), ..base.root.clone() });
        root.routes = self.routes.into_iter().map(|(_, _, route)| route).collect();
        root.routes.extend(base.root.routes.iter().cloned());
        let original = written::original(&root, &self.receivers, &self.inhibit_rules);
        let plan = Plan::new(root, self.named, base.resolve_timeout);
        Plan {
            inhibit_rules: self.inhibit_rules,
            intervals: self.intervals,
            receivers: self.receivers,
            groups_max: base.groups_max,
            warnings: base.warnings.clone(),
            library,
            original,
            origin: base.origin.clone(),
            document: base.document.clone(),
            stored,
            ..plan
        }
    }
}

fn labels_are_good(route: &Route, library: &Arc<Library>) -> Result<(), String> {
    let faults = route_labels::faults(route, library);
    if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
}

/// Whether a receiver is in the words of `[[alarm.receivers]]` and not of Alertmanager.
fn is_ours(object: &Map<String, Value>) -> bool {
    let is_of_alertmanager = object.keys().any(|key| key.ends_with("_configs"));
    !is_of_alertmanager && object.keys().any(|key| key != "name")
}

fn ours(object: Map<String, Value>, library: &Arc<Library>) -> Result<Receiver, String> {
    let config: ReceiverConfig =
        serde_json::from_value(Value::Object(object)).map_err(|fault| fault.to_string())?;
    let mut faults = config.faults();
    if !config.matchers.is_empty() {
        faults.push(("matchers".to_owned(), "are for saker.toml; make a route".to_owned()));
    }
    if !faults.is_empty() {
        let lines = faults.iter().map(|(field, fault)| format!("{field}: {fault}"));
        return Err(lines.collect::<Vec<_>>().join("; "));
    }
    Receiver::from_config(&config, library).map_err(|fault| format!("{fault:#}"))
}

fn text_of(object: Map<String, Value>) -> String {
    Value::Object(object).to_string()
}

/// Lines say nothing in an object, which may be stored as one.
fn told(faults: Vec<Fault>) -> String {
    faults.into_iter().map(|fault| fault.message).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use model::{Labels, Timestamp};
    use proptest::prelude::*;

    use super::*;
    use crate::config::Config;
    use crate::plan::tests::plan;

    const FILE: &str = "route: {receiver: all, group_by: [team], routes: [{matchers: [team=db], receiver: dba}]}\n\
        time_intervals: [{name: night, time_intervals: [{}]}]\n\
        receivers: [{name: all, webhook_configs: [{url: 'http://x/'}]}, {name: dba}]\n";

    pub(crate) fn row(kind: &str, name: &str, body: &str) -> RoutingRow {
        let (kind, name, body) = (kind.to_owned(), name.to_owned(), body.to_owned());
        RoutingRow {
            kind,
            name,
            body,
            version: 1,
            changed_at: Timestamp(0),
            changed_by: "ann".to_owned(),
        }
    }

    fn left_out(plan: &Plan) -> Vec<(&str, &str)> {
        let bad = plan.stored.iter().filter(|stored| !stored.fault.is_empty());
        bad.map(|stored| (stored.name.as_str(), stored.fault.as_str())).collect()
    }

    fn told_of<'a>(plan: &'a Plan, pairs: &[(&str, &str)]) -> Vec<&'a str> {
        plan.tree.receivers_of(&Labels::from_pairs(pairs.iter().copied()))
    }

    const HOOK: &str = r#"{"webhook_configs":[{"url":"http://hook/"}]}"#;

    #[test]
    fn routes_of_the_database_come_before_those_of_the_file_in_the_order_of_their_positions() {
        let rows = [
            row("receiver", "hook", HOOK),
            row("receiver", "late", HOOK),
            row("route", "a", r#"{"matchers":["team=db"],"receiver":"late","position":20}"#),
            row(
                "route",
                "b",
                "matchers: [team=db]\nreceiver: hook\ncontinue: true\nposition: 10\n",
            ),
        ];
        let joined = plan(FILE).joined(&rows);
        assert_eq!(left_out(&joined), []);
        assert_eq!(told_of(&joined, &[("team", "db")]), ["hook", "late"]);
        assert_eq!(told_of(&joined, &[("team", "web")]), ["all"], "the root of the file");
        assert_eq!(joined.keys(), ["all", "hook", "late"]);
        let reread = crate::amconfig::read(&joined.original).expect("amtool reads it");
        assert_eq!(reread.route.routes.len(), 3);
    }

    #[test]
    fn one_bad_row_costs_itself_and_who_names_it_and_nobody_else() {
        let rows = [
            row("receiver", "bad", "{"),
            row("receiver", "good", HOOK),
            row("receiver", "dba", HOOK),
            row("receiver", "spy", r#"{"webhook_configs":[{"url_file":"/etc/shadow"}]}"#),
            row(
                "receiver",
                "shell",
                r#"{"bots":[{"name":"x","kind":"exec","program":"/bin/sh"}]}"#,
            ),
            row("route", "to bad", r#"{"matchers":["a=b"],"receiver":"bad"}"#),
            row("route", "to good", r#"{"matchers":["a=b"],"receiver":"good"}"#),
            row("route", "someday", r#"{"receiver":"good","mute_time_intervals":["gone"]}"#),
            row("route", "root", r#"{"receiver":"good"}"#),
            row("time_interval", "night", "{}"),
            row(
                "time_interval",
                "noon",
                r#"{"time_intervals":[{"times":[{"start_time":"12:00","end_time":"13:00"}]}]}"#,
            ),
            row("inhibition", "all", "{}"),
            row("template", "t", "{{ if }}"),
            row("weather", "x", "{}"),
        ];
        let joined = plan(FILE).joined(&rows);
        let faults = left_out(&joined);
        let names: Vec<&str> = faults.iter().map(|(name, _)| *name).collect();
        let expected =
            ["bad", "dba", "spy", "shell", "to bad", "someday", "root", "night", "all", "t", "x"];
        assert_eq!(names, expected, "{faults:#?}");
        assert!(faults[1].1.contains("taken"), "{faults:?}");
        assert!(faults[4].1.contains("receiver \"bad\" is not defined"), "{faults:?}");
        assert!(faults[5].1.contains("time interval \"gone\" is not defined"), "{faults:?}");
        assert_eq!(told_of(&joined, &[("a", "b")]), ["good"]);
        assert!(joined.intervals.contains_key("noon"));
    }

    #[test]
    fn beside_saker_toml_the_root_may_be_in_the_database_and_children_inherit_from_it() {
        let config: Config = toml::from_str(
            "[[receivers]]\nname = \"own\"\nwebhook_url = \"http://x/\"\nmatchers = ['team=own']\n",
        )
        .unwrap();
        let base = Plan::load(&config).unwrap();
        let hook = row("receiver", "hook", HOOK);
        let route = row("route", "r", r#"{"matchers":["team=db"],"receiver":"hook"}"#);
        let without = base.joined(&[hook.clone(), route.clone()]);
        assert_eq!(told_of(&without, &[("team", "web")]), Vec::<&str>::new());
        let leaf = &without.tree.leaves()
            [without.tree.leaves_of(&Labels::from_pairs([("team", "db")]))[0]];
        assert!(leaf.options.group_wait.is_zero(), "as the root of saker.toml: at once");
        let root =
            row("route", "root", r#"{"receiver":"hook","group_by":["team"],"group_wait":"5s"}"#);
        let with = base.joined(&[hook, route, root]);
        assert_eq!(left_out(&with), []);
        assert_eq!(told_of(&with, &[("team", "web")]), ["hook"]);
        assert_eq!(told_of(&with, &[("team", "own")]), ["own"]);
        let leaf =
            &with.tree.leaves()[with.tree.leaves_of(&Labels::from_pairs([("team", "db")]))[0]];
        assert_eq!(leaf.options.group_wait.as_secs(), 5);
    }

    #[test]
    fn a_receiver_of_the_database_calls_its_templates_and_has_texts_by_channel_and_language() {
        let rows = [
            row(
                "template",
                "ops.tmpl",
                "{{ define \"ops.title\" }}{{ template \"ops.who\" . }}!{{ end }}",
            ),
            row("template", "who.tmpl", "{{ define \"ops.who\" }}{{ .Recipient }}{{ end }}"),
            row("template", "twin.tmpl", "{{ define \"ops.who\" }}again{{ end }}"),
            row("template", "lost.tmpl", "{{ define \"lost\" }}{{ template \"gone\" . }}{{ end }}"),
            row("template", "empty.tmpl", "nothing"),
            row(
                "receiver",
                "bots",
                r#"{"bots":[{"name":"m","kind":"telegram","token":"t","chat":"1"}],
                "texts":[{"kind":"telegram","language":"zh-CN","title":"{{ template \"ops.title\" . }}"}]}"#,
            ),
            row(
                "receiver",
                "odd",
                r#"{"bots":[{"name":"m","kind":"telegram","token":"t","chat":"1"}],
                "texts":[{"title":"{{ template \"lost\" . }}"}],"matchers":["a=b"]}"#,
            ),
        ];
        let joined = plan(FILE).joined(&rows);
        let names: Vec<&str> = left_out(&joined).into_iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            ["twin.tmpl", "lost.tmpl", "empty.tmpl", "odd"],
            "{:?}",
            left_out(&joined)
        );
        assert!(joined.integration("bots").is_some());
    }

    proptest! {
        #[test]
        fn no_row_makes_the_plan_fail_or_costs_the_good_one(kind in "route|receiver|inhibition|time_interval|template|x",
            name in "\\PC{0,8}", body in "\\PC{0,60}|[\\[\\]{}:,\"a-z ]{0,60}") {
            let rows = [row("receiver", "hook", HOOK), row(&kind, &name, &body),
                row("route", "r", r#"{"matchers":["team=db"],"receiver":"hook"}"#)];
            let joined = plan(FILE).joined(&rows);
            prop_assert!(joined.keys().contains(&"hook".to_owned()));
            prop_assert!(joined.tree.leaves().iter().any(|leaf| leaf.receiver == "hook"));
        }

        #[test]
        fn any_route_is_read_or_refused(key in "[a-z_]{0,14}", value in "\\PC{0,20}") {
            let body = serde_json::json!({ "receiver": "all", key: value }).to_string();
            let _ = plan(FILE).joined(&[row("route", "r", &body)]);
        }
    }
}
